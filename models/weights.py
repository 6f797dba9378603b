"""Float weights: pretraining them, keeping them in a file, finding those that ship with bitloop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.data import SearchSplits
from models.device import CPU
from models.errors import WeightsError
from models.own_network import is_asked_for, is_own, plain_name
from models.policy import BitPolicy
from models.quant import set_bits
from models.registry import ModelInfo, get_model
from models.resumption import train_resumably
from models.state_file import read_state, unreadable, write_state
from models.train import accuracy, fitted

SHIPPED = Path(__file__).with_name("pretrained")
MAX_EPOCHS = 25  # of a pretraining: a data set as small as digits needs no more
FORMAT = 1
REMEDY = "make it anew with `make pretrain` or remove it"
MANY_CLASSES = 1000  # of more there must be weights before a network is made for them


@dataclass(frozen=True)
class Pretrained:
    """A float network's weights and where they come from.

    Attributes:
        model, dataset: the names they belong to.
        n_classes: outputs of the last layer.
        seed: of initial weights, order and augmentation.
        search_accuracy: the float network's, 0..1, on the search split.
        state: the network's state dict.
        digest: of the architecture of a user's own network (`ModelInfo.digest`); empty for bitloop's.
    """

    model: str
    dataset: str
    n_classes: int
    seed: int
    search_accuracy: float
    state: dict[str, Tensor]
    digest: str = ""

    def network(self) -> nn.Sequential:
        """The float network with these weights.

        Raises:
            WeightsError: they are another network's, or those of a user's own that has changed since.
        """
        info = get_model(self.model)
        if self.digest and self.digest != info.digest:
            raise WeightsError(f"is of {self.model}, which is another network now than these weights were trained for")
        network = info.build(None, self.n_classes)
        if difference := _difference(network.state_dict(), self.state):
            raise WeightsError(f"does not fit {self.model} with {self.n_classes} classes: {difference}; {REMEDY}")
        network.load_state_dict(self.state)
        return network.eval()

    def quantized(self, policy: BitPolicy) -> nn.Sequential:
        """The network with a policy's bits and these weights, its quantizers not yet calibrated."""
        network = get_model(self.model).build(policy, self.n_classes)
        own = network.state_dict()
        network.load_state_dict({**own, **self.state})
        return network.eval()

    @torch.no_grad()
    def requantize(self, network: nn.Module, policy: BitPolicy) -> None:
        """Make of a network that `quantized` gave what `quantized(policy)` gives, in place, whatever became of it.

        Args:
            network: with any policy's bits, trained or not, on any device; left in eval mode.
            policy: the bits it gets; its quantizers are not yet calibrated then.

        Raises:
            PolicyError: the policy does not fit; the network is unchanged.
        """
        set_bits(network, policy)
        own = network.state_dict()
        for name, value in self.state.items():
            own[name].copy_(value)
        network.eval().zero_grad()


def _difference(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """The first tensor of a network that a file has not, or has in another shape, or that only the file has; or nothing."""
    for name, value in wanted.items():
        if name not in found:
            return f"it lacks {name}"
        if found[name].shape != value.shape:
            return f"its {name} has the shape {tuple(found[name].shape)}, where {tuple(value.shape)} is wanted"
    return next((f"it has {str(name)[:60]!r}, which that network has not" for name in found if name not in wanted), "")


def pretrain(
    info: ModelInfo,
    splits: SearchSplits,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    device: torch.device = CPU,
    checkpoint: Path | None = None,
    n_images: int | None = None,
) -> Pretrained:
    """Train a float network from scratch with its own recipe and the data set's augmentation.

    Interrupted, it goes on from its checkpoint and ends with the same weights on the same machine.

    Args:
        info: which network.
        splits: the train images are trained on, the search images scored; there is no test split here.
        seed: of everything random.
        progress: called after every step with steps done, steps in all, the step's loss.
        device: where; the weights come back to the CPU.
        checkpoint: a file written now and then and begun from if it is there; None for none. Removing it is the caller's.
        n_images: that are seen, 1 or more; None for as many as the recipe says, at most `MAX_EPOCHS` epochs.

    Raises:
        WeightsError: the checkpoint cannot be read, or is of another training.
        TrainingError: see `models.train.train`.
    """
    recipe = fitted(info.pretraining, splits, MAX_EPOCHS)
    if n_images is not None:
        recipe = replace(recipe, n_images=n_images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = info.build(None, splits.n_classes).to(device)
    belongs_to = f"{info.name} {info.digest}".strip()
    train_resumably(network, splits.train, recipe, seed, checkpoint, progress, belongs_to)
    score = accuracy(network, splits.search)
    return Pretrained(info.name, splits.dataset, splits.n_classes, seed, score, network.cpu().state_dict(), info.digest)


def write_pretrained(weights: Pretrained, path: Path) -> None:
    """Keep pretrained weights in a file, whole or not at all."""
    write_state({"format": FORMAT, **vars(weights)}, path)


def read_pretrained(path: Path) -> Pretrained:
    """Read what `write_pretrained` wrote; nothing is unpickled.

    Raises:
        WeightsError: missing, corrupt, of another format, or not fitting the network it names.
    """
    what = "pretrained weights"
    content = read_state(path, what, REMEDY)
    try:
        if content.pop("format") != FORMAT:
            raise WeightsError(f"is not of format {FORMAT}; {REMEDY}")
        weights = Pretrained(**content)
        if is_own(weights.model) and not is_asked_for(weights.model):
            raise WeightsError(f"belongs to {weights.model}, which was not asked for and is not executed for that; {REMEDY}")
        if weights.n_classes > max([MANY_CLASSES, *(value.shape[0] for value in weights.state.values() if value.ndim)]):
            raise ValueError(f"{weights.n_classes} classes, and no weights for them")  # before there is a network of so many
        weights.network()
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from error
    except Exception as error:  # torch has errors of its own
        raise unreadable(path, error, what, REMEDY) from error
    return weights


def shipped_path(model: str, dataset: str) -> Path:
    """Where the weights of a model on a data set ship, if they do; those of a user's own network lie beside its file."""
    folder = Path(model).parent if is_own(model) else SHIPPED
    return folder / f"{plain_name(model)}-{dataset}.pt"


def shipped_weights(model: str, dataset: str) -> Path | None:
    """The file of pretrained weights that comes with bitloop for a model and its data set, if any."""
    path = shipped_path(model, dataset)
    return path if path.is_file() else None
