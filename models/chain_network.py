"""The network of a chain, with a policy's bits or in float, under the names that a user's modules have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models import quant
from models.chain import Step
from models.errors import NetworkError
from models.policy import BitPolicy


class Bias(nn.Module):
    """Adds a number a channel, (B, C, …) to the same: the bias of a layer without a norm, taken up by thresholds.

    Args:
        n: channels, C.
        n_dimensions: of an image, C included.
    """

    def __init__(self, n: int, n_dimensions: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n))
        self._shape = (1, n) + (1,) * (n_dimensions - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Sums (B, C, …)."""
        return x + self.bias.view(self._shape)


class Chain(nn.Sequential):
    """Modules one behind the other under qualified names such as `features.0`, which need not be in order.

    By these names they are found (`get_submodule`) and stand in the state dict: it is the user's own. Whoever walks
    through the modules meets them in the order of the data, and no module that only holds others.

    Args:
        modules: qualified names and modules, in the order of the data.
    """

    def __init__(self, modules: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        for path, module in modules:
            holder: nn.Module = self
            *parents, name = path.split(".")
            for parent in parents:
                if parent not in holder._modules:
                    holder.add_module(parent, nn.Module())
                holder = holder.get_submodule(parent)
            holder.add_module(name, module)
        self._in_order = [(path, module) for path, module in modules]

    def forward(self, input: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        for module in self:
            input = module(input)
        return input

    def __iter__(self) -> Iterator[nn.Module]:
        return (module for _, module in self._in_order)

    def __len__(self) -> int:
        return len(self._in_order)

    def __getitem__(self, index: Any) -> Any:
        return [module for _, module in self._in_order][index]

    def named_children(self) -> Iterator[tuple[str, nn.Module]]:
        """Qualified names and modules in the order of the data."""
        return iter(self._in_order)

    def children(self) -> Iterator[nn.Module]:
        """Modules in the order of the data."""
        return iter(self)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """The network itself and all in it, in the order of the data."""
        yield prefix, self
        for path, module in self._in_order:
            yield from module.named_modules(memo, f"{prefix}.{path}" if prefix else path, remove_duplicate)


def build(steps: Sequence[Step], policy: BitPolicy | None) -> Chain:
    """The network of a chain with a policy's bits, or in float without one.

    Raises:
        NetworkError: a name that torch does not let a module have.
    """
    modules = [(step.name, _module(step, policy)) for step in steps]
    try:
        return Chain(modules)
    except KeyError as error:
        raise NetworkError(f"a module's name cannot be kept ({error.args[0]}); give it another") from error


def _module(step: Step, policy: BitPolicy | None) -> nn.Module:
    facts: dict[str, Any] = dict(step.facts)
    if step.kind in ("conv", "linear"):
        bits = None if policy is None else policy[step.name].weight
        return (quant.conv if step.kind == "conv" else quant.linear)(bits, **facts)
    if step.kind == "norm":
        momentum = None if facts["momentum"] < 0 else facts["momentum"]
        kind = nn.BatchNorm2d if facts["dimensions"] == 3 else nn.BatchNorm1d
        return kind(facts["n"], facts["eps"], momentum, facts["affine"])
    if step.kind == "act":
        return quant.act(None if policy is None else policy[step.name.removesuffix(quant.ACT_SUFFIX)].act)
    if step.kind == "bias":
        return Bias(facts["n"], facts["dimensions"])
    if step.kind == "pool":
        return nn.MaxPool2d(**facts)
    if step.kind == "mean":
        return quant.GlobalMean()
    return nn.Flatten() if step.kind == "flatten" else quant.image_input(policy is not None)


@torch.no_grad()
def take_values(network: Chain, steps: Sequence[Step], module: nn.Module) -> None:
    """Give a float network of a chain the weights of the module that it came from."""
    for step in steps:
        if not step.source:
            continue
        mine, source = network.get_submodule(step.name), module.get_submodule(step.source)
        if step.kind == "norm":
            mine.load_state_dict(source.state_dict())
            if step.bias_of:  # a norm takes the mean off, and with it any bias: it is kept as a part of the mean
                mine.get_buffer("running_mean").sub_(module.get_submodule(step.bias_of).get_parameter("bias"))
        else:
            name = "bias" if step.kind == "bias" else "weight"
            mine.get_parameter(name).copy_(source.get_parameter(name))
