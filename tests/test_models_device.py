"""Which device a name means, and how a process is prepared."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from models.device import device_of, mixed_precision, prepare_process, resolve_device
from models.errors import DeviceError, ModelError


def with_gpus(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


@pytest.mark.parametrize(
    ("n_gpus", "name", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, n_gpus: int, name: str, device: str) -> None:
    with_gpus(monkeypatch, n_gpus)
    assert resolve_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cuda:0:1", "mps", "meta"])
def test_unknown_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with_gpus(monkeypatch, 1)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"unknown device {name!r}; there are auto, cpu, cuda and cuda:<number>"
    assert isinstance(caught.value, ModelError)


@pytest.mark.parametrize(("n_gpus", "name"), [(0, "cuda"), (0, "cuda:0"), (1, "cuda:1")])
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch, n_gpus: int, name: str) -> None:
    with_gpus(monkeypatch, n_gpus)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == (f"device {name!r} is not there: torch sees {n_gpus} GPUs; use DEVICE=auto or DEVICE=cpu")


def test_a_network_is_where_its_parameters_are() -> None:
    assert device_of(nn.Linear(2, 2)) == torch.device("cpu")
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")


def test_no_mixed_precision_on_a_cpu() -> None:
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_prepares_threads_and_memory() -> None:
    # In a process of its own: what it sets cannot be taken back.
    code = (
        "import torch; from models.device import prepare_process; "
        "kept = prepare_process(1); print(torch.get_num_threads(), type(kept) is bool); x = torch.ones(10**7).add(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.device.ctypes.CDLL", lambda name: object())
    assert prepare_process(torch.get_num_threads()) is False
