"""Steps as CUDA graphs: on a GPU they give the weights that steps done kernel by kernel give, bit for bit.

When steps are recorded, and when a loss is looked at, is tried without a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import resumption
from models import train as training
from models.convergence import Effort, converge
from models.data import ImageSet
from models.errors import TrainingError
from models.graphed import WARM_UP_STEPS, GraphedStep
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.resumption import train_resumably
from models.train import Recipe, batches, calibrate, train
from tests.tiny import equal, state, tiny_images, tiny_network

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
    by_kernels = 0

    def step(pixels: Tensor, labels: Tensor) -> Tensor:
        nonlocal by_kernels
        by_kernels += 1
        total.add_(pixels.sum() * (float(labels.sum().item()) if waits else labels.sum()))
        return total.clone()

    graphed = GraphedStep(step, device)
    n, ones = WARM_UP_STEPS + 5, torch.ones(2, 1, 1, 1, device=device)
    losses = [graphed(ones, torch.ones(2, device=device)).item() for _ in range(n)]
    assert losses == [4.0 * (i + 1) for i in range(n)]
    assert by_kernels == (n if waits else WARM_UP_STEPS) + 1  # one more for the recording
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


# --- without a GPU: a device that is waited for where a value is looked at -------------------------------------------


class Recorded:
    """Stands in for `GraphedStep`: counts the recordings and does the steps as they are."""

    n_steps: list[int]  # of every recording

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> None:
        self._step = step
        self.n_steps.append(0)

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        self.n_steps[-1] += 1
        return self._step(pixels, labels)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Training takes the CPU for a device that runs ahead; how many steps each recording served."""
    monkeypatch.setattr(training, "runs_ahead", lambda device: True)
    monkeypatch.setattr(training, "GraphedStep", Recorded)
    Recorded.n_steps = []
    return Recorded.n_steps


SHORT = Recipe(n_images=1, batch_size=16, lr=0.05)
EPOCH_STEPS = 5  # of 70 images
EFFORT = Effort(max_epochs=3, patience_epochs=3)


@pytest.mark.parametrize(("n_worth", "n_recordings"), [(10**9, 0), (3 * EPOCH_STEPS, 0), (EPOCH_STEPS, 3)])
def test_every_epoch_of_a_retraining_is_looked_at_and_recorded_where_it_is_long_enough(
    n_worth: int, n_recordings: int, recordings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No epoch but the first begins with a step that is looked at anyway, and each is recorded anew."""
    monkeypatch.setattr(training, "WORTH_STEPS", n_worth)
    ahead, plain = tiny_network(None), tiny_network(None)
    found = converge(ahead, tiny_images(70), tiny_images(50, seed=1), SHORT, EFFORT, seed=2)
    assert recordings == [EPOCH_STEPS] * n_recordings
    monkeypatch.setattr(training, "runs_ahead", lambda device: False)
    assert converge(plain, tiny_images(70), tiny_images(50, seed=1), SHORT, EFFORT, seed=2) == found
    assert equal(state(ahead), state(plain))


@pytest.mark.parametrize("n_worth", [10**9, 11, 3])
def test_a_pretraining_goes_on_at_a_step_that_is_not_looked_at_anyway(
    n_worth: int, recordings: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "WORTH_STEPS", n_worth)
    monkeypatch.setattr(resumption, "EVERY_STEPS", 3)
    recipe = Recipe(n_images=11 * 16, batch_size=16, lr=0.05)
    losses: list[float] = []

    def interrupt(done: int, _: int, loss: float) -> None:
        losses.append(loss)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_resumably(tiny_network(None), tiny_images(70), recipe, 2, tmp_path / "kept.pt", interrupt)
    resumed, whole = tiny_network(None), tiny_network(None)
    recordings.clear()
    train_resumably(resumed, tiny_images(70), recipe, 2, tmp_path / "kept.pt", lambda _, __, loss: losses.append(loss))
    assert recordings == ([3, 3] if n_worth == 3 else [])  # the last two steps are too few
    train(whole, tiny_images(70), recipe, 2)
    assert equal(state(resumed), state(whole))
    assert all(math.isfinite(loss) for loss in losses)


def test_a_loss_that_explodes_is_found_at_the_end_of_an_epoch(recordings: list[int]) -> None:
    recipe = Recipe(n_images=1, batch_size=16, lr=1e7)
    told = r"^(the loss became .*|weights or statistics of layer .* are no longer finite, though the loss is .*), "
    with pytest.raises(TrainingError, match=told + "at step 5 of 15 with learning rate"):
        converge(tiny_network(None), tiny_images(70), tiny_images(50, seed=1), recipe, EFFORT, seed=2)
