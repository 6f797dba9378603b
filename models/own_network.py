"""A network of a user's own: `path/to/file.py:function` to a network that is trained, searched and exported as any other.

The file is the user's own code and is executed, once a process; bitloop asks no more of it than

    INPUT_SHAPE = (3, 32, 32)              # of an image: channels (1 or 3), height, width

    def function(n_classes: int = 10):     # or a class; n_classes may be left out where their number is fixed
        return torch.nn.Sequential(...)    # plain and float

The weights that it returns are what pretraining begins with. Files beside it can be imported by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.blame import reason_of
from models.chain import Step, plan
from models.chain_network import Chain, build, take_values
from models.errors import DataError, NetworkError
from models.policy import BitPolicy
from models.preparation import Preparation
from models.trace import trace

HOW = "MODEL=path/to/file.py:function names a function that returns a torch.nn.Module"
N_TRIED = 3  # images
N_CLASSES = 10  # where a function takes their number and has none of its own
TOLERANCE = 1e-3  # of the largest logit: sums in another order


def is_own(name: str) -> bool:
    """Whether a model's name is that of a user's own network."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def plain_name(name: str) -> str:
    """A model's name as a part of file names: `cnv:0.25` to `cnv-0.25`, `path/to/net.py:small` to `net-small`."""
    path, _, function = name.rpartition(":")
    return f"{Path(path).stem}-{function}" if is_own(name) and path else name.replace(":", "-")


@dataclass(frozen=True)
class OwnNetwork:
    """A user's own network.

    Attributes:
        name: as given to MODEL.
        make: number of classes (None for its own) to a new module of the user's.
        input_shape: of one image, (C, H, W).
        n_classes: of the user's own choice.
        digest: 12 hex digits of the SHA-256 of its architecture: another one, another digest; weights do not count.
    """

    name: str
    make: Callable[[int | None], nn.Module]
    input_shape: tuple[int, int, int]
    n_classes: int = field(init=False)
    digest: str = field(init=False)
    _plans: dict[int | None, tuple[Step, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = self._plan(None)
        text = json.dumps([self.input_shape, [asdict(step) for step in steps]])
        last = [step for step in steps if step.kind == "linear"][-1]
        object.__setattr__(self, "n_classes", int(dict(last.facts)["out_features"]))
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest()[:12])

    @property
    def has_norms(self) -> bool:
        """Whether a norm follows every layer but the last."""
        kinds = [step.kind for step in self._plan(None)]
        return kinds.count("norm") + 1 >= kinds.count("conv") + kinds.count("linear")

    def build(self, policy: BitPolicy | None = None, n_classes: int | None = None) -> Chain:
        """The network, (B, C, H, W) in [-1, 1] to logits (B, n_classes).

        Args:
            policy: the bits of each layer by its qualified name, as `features.0`; None for the float network, which has
                the weights of a newly made module of the user's.
            n_classes: outputs of the last layer; its own number without one.

        Raises:
            NetworkError: the function fails or gives what cannot be built, or another number of classes.
        """
        if policy is not None:
            return build(self._plan(n_classes), policy)
        with self._named():
            steps, network = _converted(self.make(n_classes), self.input_shape, n_classes)
        if steps != self._plans.setdefault(n_classes, steps):
            raise NetworkError(f"{self.name} returns another network from one call to the next; let it be the same")
        return network

    def _plan(self, n_classes: int | None) -> tuple[Step, ...]:
        if n_classes not in self._plans:
            with torch.random.fork_rng(devices=[]), self._named():
                self._plans[n_classes], _ = _converted(self.make(n_classes), self.input_shape, n_classes)
        return self._plans[n_classes]

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the network's name before what is wrong with it."""
        try:
            yield
        except NetworkError as error:
            raise NetworkError(f"{self.name}: {error}", error.module) from error


def own_network(name: str) -> OwnNetwork:
    """The network that `path/to/file.py:function` names; the file is executed, once a process.

    Raises:
        NetworkError: no such file or function, an error in it, or a network that cannot be built.
    """
    path, colon, function = name.rpartition(":")
    if not colon or not function:
        raise NetworkError(f"MODEL={name} names no function of that file; {HOW}")
    if not Path(path).is_file():
        raise NetworkError(f"MODEL={name}: there is no file {path}; {HOW}")
    _asked_for.add(Path(path).resolve())
    return _loaded(name, Path(path).resolve(), function)


_asked_for: set[Path] = set()


def is_asked_for(name: str) -> bool:
    """Whether an own network's file was named in this process before; one that only a weights file names is not executed."""
    return Path(name.rpartition(":")[0]).resolve() in _asked_for


@cache
def _loaded(name: str, path: Path, function: str) -> OwnNetwork:
    try:
        module = _executed(path)
        make = _function(module, path, function)
        shape = _input_shape(module, path)
    except NetworkError as error:
        raise NetworkError(f"MODEL={name}: {error}") from error
    return OwnNetwork(name, make, shape)


@contextlib.contextmanager
def _siblings(path: Path) -> Iterator[None]:
    """Let a file import what lies beside it, for as long as it takes; last, so that it hides nothing of ours."""
    folder = str(path.parent)
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@cache
def _executed(path: Path) -> ModuleType:
    """The module of a file, under a name that no other has; no bytecode is left beside it."""
    name = f"bitloop_own_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look for it there
    try:
        with _siblings(path):
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise NetworkError(f"{path.name} cannot be executed ({reason_of(error)}); mend the file") from error
    return module


def _function(module: ModuleType, path: Path, name: str) -> Callable[[int | None], nn.Module]:
    """Number of classes, or None, to what the function of that name returns."""
    found = getattr(module, name, None)
    if found is None:
        there = [k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        near = get_close_matches(name, there, 1, 0.5)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise NetworkError(f"{path.name} has no function {name!r}{meant}; those it has: {', '.join(there) or 'none'}")
    if not callable(found):
        raise NetworkError(f"{name!r} in {path.name} is of the type {type(found).__name__}; {HOW}")
    takes_n_classes = _takes_n_classes(found, name)

    def make(n_classes: int | None) -> nn.Module:
        with _siblings(path):
            arguments = {} if n_classes is None or not takes_n_classes else {"n_classes": n_classes}
            if takes_n_classes is REQUIRED and not arguments:
                arguments = {"n_classes": N_CLASSES}
            try:
                network = found(**arguments)
            except (Exception, SystemExit) as error:
                raise NetworkError(f"{name}() fails ({reason_of(error)}); mend it") from error
        if not isinstance(network, nn.Module):
            raise NetworkError(f"{name}() returns a {type(network).__name__}; a torch.nn.Module is wanted")
        return network.eval()

    return make


REQUIRED = "required"


def _takes_n_classes(function: Callable[..., Any], name: str) -> bool | str:
    """Whether a function has a parameter n_classes, or even needs it; it may need no other."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a built-in; nothing is known
        return False
    gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p for p in parameters if p.default is p.empty and p.kind not in gathering]
    for p in needed:
        if p.name != "n_classes" or p.kind is p.POSITIONAL_ONLY:
            raise NetworkError(f"{name}() needs the argument {p.name!r}; give it a default, all that it is told is n_classes")
    return REQUIRED if needed else any(p.name == "n_classes" for p in parameters)


def _input_shape(module: ModuleType, path: Path) -> tuple[int, int, int]:
    how = "write INPUT_SHAPE = (channels, height, width), as (3, 32, 32), at the top of the file"
    shape = getattr(module, "INPUT_SHAPE", None)
    if shape is None:
        raise NetworkError(f"{path.name} does not say what images it takes; {how}")
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise NetworkError(f"INPUT_SHAPE in {path.name} is {shape!r}; {how}")
    channels, height_px, width_px = shape
    try:
        Preparation.of((channels, height_px, width_px))
    except DataError as error:
        reason = str(error).replace(" of a preparation", "")
        raise NetworkError(f"INPUT_SHAPE in {path.name} is {shape!r}, whose {reason}; {how}") from error
    return channels, height_px, width_px


@torch.no_grad()
def _converted(module: nn.Module, input_shape: tuple[int, int, int], n_classes: int | None) -> tuple[tuple[Step, ...], Chain]:
    """A module as a chain, and the float network of it, which gives what the module gives."""
    for name, value in module.named_parameters():
        if value.dtype != torch.float32 or value.device.type != "cpu":
            raise NetworkError(
                f"parameter {name!r} is {value.dtype} on {value.device}; return a float32 network on the CPU, "
                "bitloop moves it where it is trained"
            )
    x = torch.rand(N_TRIED, *input_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    try:
        y = module(x)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"the network fails on images {tuple(x.shape)} ({reason_of(error)}); mend it, or INPUT_SHAPE"
        ) from error
    if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != N_TRIED:
        got = f"a tensor {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise NetworkError(f"the network makes {got} of images {tuple(x.shape)}; logits ({N_TRIED}, classes) are wanted")
    if n_classes is not None and y.shape[1] != n_classes:
        raise NetworkError(
            f"the network has {y.shape[1]} outputs, the data set {n_classes} classes; give the function a parameter "
            "n_classes and as many outputs"
        )
    steps = plan(trace(module, input_shape))
    network = build(steps, None)
    take_values(network, steps, module)
    apart = (network.eval()(x) - y).abs().max()
    if not apart <= TOLERANCE * max(1.0, float(y.abs().max())):
        raise NetworkError(
            f"what torch.fx traced gives other logits than the network, by {float(apart):.3g}; leave out what it cannot see: "
            "hooks, parametrizations, and whatever in forward depends on more than the images"
        )
    return steps, network.train()
