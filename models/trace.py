"""A plain float module of a user's to the operations it does to an image, by torch.fx.

Modules and their functional forms come out alike: `F.relu`, `x.relu()` and `nn.ReLU` are one operation. What is
no operation of a chain is refused here, with its name; whether the chain can be built is `models.chain`'s to say.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, fx, nn

from models.blame import place_of, reason_of
from models.errors import NetworkError
from models.unbuildable import refusal

Kind = Literal["conv", "linear", "norm", "relu", "pool", "mean", "flatten"]
MODULES: Mapping[type[nn.Module], Kind] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm1d: "norm",
    nn.BatchNorm2d: "norm",
    nn.ReLU: "relu",
    nn.MaxPool2d: "pool",
    nn.AdaptiveAvgPool2d: "mean",
    nn.Flatten: "flatten",
}
DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
POOLS = (F.max_pool2d, torch.max_pool2d)
MEANS = (F.adaptive_avg_pool2d, torch.mean, "mean")
SHAPERS = (torch.flatten, torch.reshape, torch.squeeze, "flatten", "view", "reshape", "squeeze")
PASSED = (F.dropout, F.dropout1d, F.dropout2d, "contiguous", "float", "clone")  # they hand on what they are given
N_TRACED = 2  # images; another number than those the module is tried with


@dataclass(frozen=True)
class Operation:
    """One thing that is done to the image, in the order of the data.

    Attributes:
        kind: what.
        name: the module's qualified name, or of a function the name that torch.fx gives the call.
        what: the same for people, with the kind.
        module: what holds its weights and numbers; of a function one that does the same; None for flatten and ReLU.
        reads, hands_on: shapes of one image before and after.
    """

    kind: Kind
    name: str
    what: str
    module: nn.Module | None
    reads: tuple[int, ...]
    hands_on: tuple[int, ...]


def refused(operation: Operation, reason: str, remedy: str) -> NetworkError:
    """The error of an operation that cannot be built."""
    return NetworkError(f"{operation.what} cannot be built: {reason}; {remedy}", operation.name)


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__()
        self.trace_asserts = True  # `assert x.shape[1] == 3` is no obstacle
        self.record_stack_traces = True


class _Run(fx.Interpreter):
    """Notes the shape of every value that is a tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        return value


@torch.no_grad()
def trace(module: nn.Module, input_shape: tuple[int, int, int]) -> list[Operation]:
    """The operations of a module, one behind the other.

    Args:
        module: float, in eval mode, takes images (B, C, H, W) and nothing else. It is not changed.
        input_shape: of one image, (C, H, W).

    Raises:
        NetworkError: torch.fx cannot trace it, or it does something that no chain of layers does; the text names the
            module and the reason. `module` of the error is the qualified name.
    """
    traced = _traced(module)
    graph, run = traced.graph, _Run(traced)
    try:
        run.run(torch.zeros(N_TRACED, *input_shape))
    except Exception as error:
        raise NetworkError(
            f"what torch.fx traced does not run ({reason_of(error)}); keep to layers that are called one after the other"
        ) from error
    _refuse_sharing(module, graph)
    shapes = run.shapes
    operations: list[Operation] = []
    at = next(n for n in graph.nodes if n.op == "placeholder")
    while True:
        users = [n for n in at.users if n in shapes or n.op == "output"]
        if len(users) != 1:
            # without a user it is computed and thrown away, and the output hangs on nothing
            names = " and ".join(_what(n, module) for n in users) or "nothing"
            raise NetworkError(
                f"{_what(at, module)} feeds {names}; networks of your own are built as chains, without branches or "
                "shortcuts so far; "
                "let every layer read the one before it",
                _name(at),
            )
        before, at = at, users[0]
        if at.op == "output":
            return operations
        found = _operation(at, module, shapes[before][1:], shapes[at])
        if found is not None:
            operations.append(found)


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        traced = fx.GraphModule(module, _Tracer().trace(module))
    except Exception as error:  # a TraceError, or what user code makes of a proxy
        raise NetworkError(
            f"torch.fx cannot trace {type(module).__name__}.forward ({reason_of(error)}); a network that is built in hardware "
            "does the same to every image: no `if`, `for` or `len()` that depends on the images"
        ) from error
    traced.graph.eliminate_dead_code()
    inputs = [n.name for n in traced.graph.nodes if n.op == "placeholder"]
    if len(inputs) != 1:
        raise NetworkError(
            f"{type(module).__name__}.forward takes {', '.join(inputs) or 'nothing'}; it is to take images alone, "
            "so wrap it in a module whose forward has one argument"
        )
    return traced


def _refuse_sharing(module: nn.Module, graph: fx.Graph) -> None:
    """Every layer is a unit of its own, with its own weights and its own bits."""
    calls = Counter(str(n.target) for n in graph.nodes if n.op == "call_module")
    owners: dict[int, str] = {}
    for name, n_calls in calls.items():
        layer = module.get_submodule(name)
        if n_calls > 1 and layer.state_dict():
            raise NetworkError(
                f"module {name!r} ({type(layer).__name__}) is called {n_calls} times; every layer becomes a unit with bits of "
                "its own; make a module for each call",
                name,
            )
        for parameter in layer.parameters():
            other = owners.setdefault(id(parameter), name)
            if other != name:
                raise NetworkError(
                    f"module {name!r} ({type(layer).__name__}) shares a parameter with {other!r}; every layer becomes a unit "
                    "with bits of its own; give each its own weights",
                    name,
                )


def _operation(node: fx.Node, root: nn.Module, reads: tuple[int, ...], handed_on: tuple[int, ...]) -> Operation | None:
    """What a node does; None where it hands on what it reads."""
    what, hands_on = _what(node, root), handed_on[1:]
    module: nn.Module | None = None
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        if type(module) in DROPPED:
            return None
        kind = MODULES.get(type(module))  # a subclass may do something else
        if kind is None:
            raise NetworkError(refusal(what, type(module).__name__), _name(node))
    elif node.target in RELUS:
        kind = "relu"
    elif node.target in POOLS:
        kind, module = "pool", _pool(*cast("Any", node.args[1:]), **cast("Any", node.kwargs))
    elif node.target in MEANS:
        kind = "mean"
    elif node.target in SHAPERS:
        kind = "flatten"
    elif node.target in PASSED:
        return None
    else:
        raise NetworkError(refusal(what, _function(node.target), _is_sum(node)), _name(node))
    if kind == "mean" and (len(reads) != 3 or hands_on not in ((reads[0], 1, 1), (reads[0],))):
        raise NetworkError(refusal(what, "mean"), _name(node))
    if kind == "flatten":
        if handed_on != (N_TRACED, prod(reads)) and hands_on != reads:
            raise NetworkError(
                f"{what} makes {_shape(handed_on[1:])} of {_shape(reads)}, in {handed_on[0]} rows for {N_TRACED} images; only "
                "flattening a whole image is built; use nn.Flatten()",
                _name(node),
            )
        module = None
        if hands_on == reads:
            return None
    return Operation(kind, _name(node), what, module, reads, hands_on)


def _pool(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> nn.MaxPool2d:  # fmt: skip
    """The module of a call of F.max_pool2d without its first argument."""
    return nn.MaxPool2d(kernel_size, stride or None, padding, dilation, return_indices, ceil_mode)


def _is_sum(node: fx.Node) -> bool:
    """Whether two values of the network are added, as a shortcut does."""
    return _function(node.target) in ("add", "iadd", "add_") and len(node.all_input_nodes) > 1


def _function(target: Callable[..., Any] | str) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _what(node: fx.Node, root: nn.Module) -> str:
    """A node for people: its module, or its function, the module that calls it, and where."""
    if node.op == "call_module":
        return f"module {node.target!r} ({type(root.get_submodule(str(node.target))).__name__})"
    if node.op == "get_attr":
        return f"the tensor {node.target!r}"
    if node.op == "placeholder":
        return "the image"
    if node.op == "output":
        return "the output"
    name = _function(node.target)
    if node.op == "call_method":
        name = f".{name}()"
    elif node.target in vars(operator).values():
        name = f"operator {name}"
    else:
        name = f"{name}()"
    stack: Mapping[str, tuple[str, object]] = node.meta.get("nn_module_stack", {})
    owner = [path for path, _ in stack.values() if path]
    place = place_of(node.stack_trace or "")
    return f"{name} in {f'module {owner[-1]!r}' if owner else 'forward'}{place and ' '}{place}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
