"""Every pair of weight and activation bits: calibrates, trains, evaluates, exports, and FINN builds it."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
from torch import nn

from boards.pynq_z2 import PYNQ_Z2
from hls.finn_backend import hardware_graph
from models import quant
from models.export import write_qonnx
from models.train import Recipe, accuracy, calibrate, train
from tests.qonnx_graph import graph_of
from tests.tiny import INPUT_SHAPE, tiny_images, tiny_network, uniform

PAIRS = list(product(range(1, 9), range(1, 9)))
QUICK = [(1, 1), (1, 4), (2, 2), (4, 1), (3, 5), (8, 8)]  # FINN takes 0.8 s a pair
# FINN refuses none. Where one is refused some day, it belongs here with FINN's reason, and into models.policy.
INFEASIBLE: dict[tuple[int, int], str] = {}


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    return tiny_network(uniform(8, 8))  # one for all pairs


def trained(network: nn.Sequential, weight: int, act: int) -> nn.Sequential:
    images = tiny_images(48)
    quant.set_bits(network, uniform(weight, act))
    network.load_state_dict(tiny_network(None).state_dict(), strict=False)
    calibrate(network, images)
    losses: list[float] = []
    train(network, images, Recipe(n_images=48, batch_size=16), seed=0, progress=lambda i, n, loss: losses.append(loss))
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert all(p.isfinite().all() for p in network.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)
    assert 0 <= accuracy(network, images) <= 1
    return network


@pytest.mark.parametrize(("weight", "act"), PAIRS)
def test_trains_evaluates_and_exports(network: nn.Sequential, weight: int, act: int, tmp_path: Path) -> None:
    write_qonnx(trained(network, weight, act), INPUT_SHAPE, tmp_path / "model.onnx")
    nodes = graph_of(tmp_path / "model.onnx")
    operators = [operator for operator, *_ in nodes]
    n_bipolar = 3 * (weight == 1) + 2 * (act == 1)
    assert operators.count("BipolarQuant") == n_bipolar
    assert operators.count("Quant") == 6 - n_bipolar  # three layers, two activations, the image
    assert operators.count("Relu") == (0 if act == 1 else 2)


def check_with_finn(network: nn.Sequential, weight: int, act: int, folder: Path) -> None:
    if (weight, act) in INFEASIBLE:
        pytest.skip(INFEASIBLE[weight, act])
    write_qonnx(trained(network, weight, act), INPUT_SHAPE, folder / "model.onnx")
    units = [op.attributes for op in hardware_graph(folder / "model.onnx", PYNQ_Z2).ops if "MVAU" in type(op).__name__]
    assert len(units) == 3
    bipolar = {"BIPOLAR", "BINARY"}  # BINARY where weights and inputs are bipolar both: FINN then counts equal bits
    narrower = {f"INT{b}" for b in range(2, weight + 1)}  # where no weight needs them all, FINN drops bits
    assert all(u["weightDataType"] in (bipolar if weight == 1 else narrower) for u in units)
    assert all(u["outputDataType"] in (bipolar if act == 1 else {f"UINT{act}"}) for u in units[:2])


@pytest.mark.parametrize(("weight", "act"), QUICK)
def test_finn_builds_a_few(network: nn.Sequential, weight: int, act: int, tmp_path: Path) -> None:
    check_with_finn(network, weight, act, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "act"), [pair for pair in PAIRS if pair not in QUICK])
def test_finn_builds_all_others(network: nn.Sequential, weight: int, act: int, tmp_path: Path) -> None:
    check_with_finn(network, weight, act, tmp_path)
