"""Where networks are trained, and what makes that fast there."""

from __future__ import annotations

import contextlib
import ctypes
from contextlib import AbstractContextManager

import torch
from torch import nn

from models.errors import DeviceError

CPU = torch.device("cpu")
# glibc, malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MALLOC = {_M_MMAP_THRESHOLD: 2**31 - 1, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 1 << 26}


def resolve_device(name: str = "auto") -> torch.device:
    """The device of a name: `auto` is the GPU where there is one, else the CPU.

    Args:
        name: auto, cpu, cuda, or cuda:1 for the second GPU, and so on.

    Raises:
        DeviceError: no such name, or no such GPU here.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n_gpus else "cpu")
    kind, colon, number = name.partition(":")
    if name != "cpu" and (kind != "cuda" or (colon and not (number.isascii() and number.isdigit()))):
        raise DeviceError(f"unknown device {name!r}; there are auto, cpu, cuda and cuda:<number>")
    if kind == "cuda" and int(number or 0) >= n_gpus:
        raise DeviceError(f"device {name!r} is not there: torch sees {n_gpus} GPUs; use DEVICE=auto or DEVICE=cpu")
    return torch.device(name)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's parameters are; the CPU where it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def runs_ahead(device: torch.device) -> bool:
    """Whether the processor goes on while the device computes, so that it has to wait where it looks at a value."""
    return device.type == "cuda"


def mixed_precision(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 for convolutions and linear layers on a GPU that has it; on a CPU nothing: most emulate it, slowly."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def prepare_process(n_threads: int) -> bool:
    """Let this process train on `n_threads` threads, and keep the memory it frees.

    A training step frees what the next one takes again. glibc hands blocks of many megabytes back to the kernel and
    then waits for it to clear them page by page, which can take half of an evaluation's time. Of no other effect
    than that the process does not shrink.

    Returns:
        Whether the memory is kept; not so where the C library is not glibc.
    """
    torch.set_num_threads(n_threads)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(parameter, value) == 1 for parameter, value in _MALLOC.items()])
