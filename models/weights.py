"""Float weights: pretraining them, keeping them in a file, finding those that ship with bitloop."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.data import SearchSplits
from models.errors import WeightsError
from models.files import whole_file
from models.own_network import is_asked_for, is_own, plain_name
from models.policy import BitPolicy
from models.quant import set_bits
from models.registry import ModelInfo, get_model
from models.train import accuracy, fitted, train

SHIPPED = Path(__file__).with_name("pretrained")
MAX_EPOCHS = 25  # of a pretraining: a data set as small as digits needs no more
FORMAT = 1
CPU = torch.device("cpu")


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
            WeightsError: a user's own network that has changed since.
        """
        info = get_model(self.model)
        if self.digest and self.digest != info.digest:
            raise WeightsError(f"{self.model} is another network now than these weights were trained for")
        network = info.build(None, self.n_classes)
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


def pretrain(
    info: ModelInfo,
    splits: SearchSplits,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    device: torch.device = CPU,
) -> Pretrained:
    """Train a float network from scratch with its own recipe and the data set's augmentation.

    Args:
        info: which network.
        splits: the train images are trained on, the search images scored; there is no test split here.
        seed: of everything random.
        progress: called after every step with steps done, steps in all, the step's loss.
        device: where; the weights come back to the CPU.
    """
    recipe = fitted(info.pretraining, splits, MAX_EPOCHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = info.build(None, splits.n_classes).to(device)
    train(network, splits.train, recipe, seed, progress)
    score = accuracy(network, splits.search)
    return Pretrained(info.name, splits.dataset, splits.n_classes, seed, score, network.cpu().state_dict(), info.digest)


def write_state(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values with `torch.save`, whole or not at all."""
    with whole_file(path) as part, part.open("wb") as file:
        torch.save(content, file)


def write_pretrained(weights: Pretrained, path: Path) -> None:
    """Keep pretrained weights in a file, whole or not at all."""
    write_state({"format": FORMAT, **vars(weights)}, path)


def read_state(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """Read what `write_state` wrote, on the CPU; nothing is unpickled.

    Args:
        path: of the file.
        what: it ought to be, for the error's text.
        remedy: what to do where it cannot be read, the same.

    Raises:
        WeightsError: missing or corrupt.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise WeightsError(f"{path} is damaged: the checksum of {damaged} in it is wrong; {remedy}")
        content = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not names and values")
    except WeightsError:
        raise
    except Exception as error:  # zipfile, zlib, pickle and torch each have errors of their own
        raise _unreadable(path, error, what, remedy) from error
    return content


def _unreadable(path: Path, error: Exception, what: str, remedy: str) -> WeightsError:
    reason = str(error) or type(error).__name__
    return WeightsError(f"{path} cannot be read as {what} ({reason.splitlines()[0][:120]}); {remedy}")


def read_pretrained(path: Path) -> Pretrained:
    """Read what `write_pretrained` wrote; nothing is unpickled.

    Raises:
        WeightsError: missing, corrupt, of another format, or not fitting the network it names.
    """
    what, remedy = "pretrained weights", "make it anew with `make pretrain` or remove it"
    content = read_state(path, what, remedy)
    try:
        if content.pop("format") != FORMAT:
            raise WeightsError(f"{path} is not of format {FORMAT}; {remedy}")
        weights = Pretrained(**content)
        if is_own(weights.model) and not is_asked_for(weights.model):
            raise WeightsError(f"they belong to {weights.model}, which was not asked for and is not executed for their sake")
        weights.network()
    except WeightsError:
        raise
    except Exception as error:  # torch has errors of its own
        raise _unreadable(path, error, what, remedy) from error
    return weights


def shipped_path(model: str, dataset: str) -> Path:
    """Where the weights of a model on a data set ship, if they do; those of a user's own network lie beside its file."""
    folder = Path(model).parent if is_own(model) else SHIPPED
    return folder / f"{plain_name(model)}-{dataset}.pt"


def shipped_weights(model: str, dataset: str) -> Path | None:
    """The file of pretrained weights that comes with bitloop for a model and its data set, if any."""
    path = shipped_path(model, dataset)
    return path if path.is_file() else None
