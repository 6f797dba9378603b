"""Steps as CUDA graphs: on a GPU they give the weights that steps done kernel by kernel give, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models import train as training
from models.data import ImageSet
from models.graphed import WARM_UP_STEPS, GraphedStep
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, batches, calibrate, train

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU: CUDA graphs were not tried")
RECIPE = Recipe(n_images=60 * 32, batch_size=32, lr=0.02)


def images(n: int) -> ImageSet:
    """Made-up images for a narrow CNV."""
    generator = torch.Generator().manual_seed(0)
    return ImageSet(torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8), torch.arange(n) % 10)


def trained(n_worth: int, monkeypatch: pytest.MonkeyPatch, on_step: Callable[[int, int, float], None]) -> list[Tensor]:
    monkeypatch.setattr(training, "WORTH_STEPS", n_worth)
    info = get_model("cnv:0.25")
    torch.manual_seed(0)
    specs = probe_layers(info.build(), info.input_shape)
    network = info.build(BitPolicy.uniform(specs, 2, 2)).to("cuda")
    calibrate(network, images(256))
    train(network, images(256), RECIPE, 0, on_step)
    return [p.detach().cpu() for p in network.parameters()]


@needs_gpu
def test_recorded_steps_give_the_weights_of_steps_done_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[float] = []
    plain: list[float] = []
    first = trained(1, monkeypatch, lambda step, n, loss: recorded.append(loss))
    second = trained(10**9, monkeypatch, lambda step, n, loss: plain.append(loss))
    assert recorded == plain
    assert len(recorded) == RECIPE.n_steps
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_gpu
@pytest.mark.parametrize("waits", [False, True])
def test_what_cannot_be_recorded_is_done_as_it_is(waits: bool) -> None:
    device = torch.device("cuda")
    total = torch.zeros((), device=device)

    def step(pixels: Tensor, labels: Tensor) -> Tensor:
        total.add_(pixels.sum() * (float(labels.sum().item()) if waits else labels.sum()))
        return total.clone()

    graphed = GraphedStep(step, device)
    n, ones = WARM_UP_STEPS + 5, torch.ones(2, 1, 1, 1, device=device)
    losses = [graphed(ones, torch.ones(2, device=device)).item() for _ in range(n)]
    assert losses == [4.0 * (i + 1) for i in range(n)]
    assert graphed.is_recorded is not waits
    assert graphed(ones[:1], torch.ones(1, device=device)).item() == 4.0 * n + 1  # of another shape


def test_the_images_of_batches_are_the_same_wherever_they_come_from() -> None:
    recipe = Recipe(n_images=300, batch_size=50)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = batches(images(100), recipe, torch.Generator().manual_seed(1))
    there = batches(images(100), recipe, torch.Generator().manual_seed(1), device)
    for (x, y), (x_there, y_there) in zip(here, there, strict=True):
        assert x_there.device.type == device.type
        assert torch.equal(x, x_there.cpu())
        assert torch.equal(y, y_there.cpu())
