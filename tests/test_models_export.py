"""A network and its QONNX export give the same numbers; the file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model
from torch import nn

from models import export
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits
from models.train import Recipe, calibrate, scale_images, train
from tests.tiny import INPUT_SHAPE, tiny_images, tiny_network, uniform

POLICIES = {
    "mixed, one bit and more": BitPolicy({"conv0": LayerBits(1, 3), "fc0": LayerBits(4, 1), "fc1": LayerBits(1, None)}),
    "one bit": uniform(1, 1),
    "two bits": uniform(2, 2),
    "eight bits": uniform(8, 8),
}


def trained(policy: BitPolicy) -> nn.Sequential:
    network = tiny_network(policy)
    images = tiny_images()
    calibrate(network, images)
    train(network, images, Recipe(n_images=256, batch_size=32), seed=0)
    return network


@pytest.mark.parametrize("name", POLICIES)
def test_qonnx_gives_what_the_network_gives(name: str, tmp_path: Path) -> None:
    network = trained(POLICIES[name])
    path = tmp_path / "model.onnx"
    write_qonnx(network, INPUT_SHAPE, path)
    model = cleanup_model(ModelWrapper(str(path)))
    x = scale_images(tiny_images(6, seed=5).x).contiguous()
    for image in x.split(1):
        (out,) = execute_onnx(model, {model.graph.input[0].name: image.numpy()}).values()
        expected = network(image).detach().numpy()
        # Both compute in float32, their sums in another order: the last bits of the logits may differ.
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_qonnx_carries_the_bits_of_every_layer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_qonnx(trained(POLICIES["mixed, one bit and more"]), INPUT_SHAPE, path)
    model = cleanup_model(ModelWrapper(str(path)))
    bits = sorted(float(model.get_initializer(n.input[3])) for n in model.get_nodes_by_op_type("Quant"))
    assert bits == [3, 4, 8]  # conv0's activation, fc0's weights, the image
    assert len(model.get_nodes_by_op_type("BipolarQuant")) == 3  # conv0's and fc1's weights, fc0's activation
    assert model.get_tensor_shape(model.graph.input[0].name) == [1, *INPUT_SHAPE]


def test_the_network_is_the_same_afterwards_and_trains_on(tmp_path: Path) -> None:
    network = trained(uniform(2, 2))
    x = scale_images(tiny_images(6).x)
    before = network(x)
    write_qonnx(network, INPUT_SHAPE, tmp_path / "model.onnx")
    assert torch.equal(network(x), before)
    train(network, tiny_images(), Recipe(n_images=32, batch_size=16), seed=0)


def test_a_failed_export_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old one")

    def half(network: nn.Module, x: torch.Tensor, name: str, dynamo: bool) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "export_qonnx", half)
    with pytest.raises(KeyboardInterrupt):
        write_qonnx(trained(uniform(2, 2)), INPUT_SHAPE, path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_qonnx(trained(uniform(2, 1)), INPUT_SHAPE, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
