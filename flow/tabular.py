"""Searches whose every answer is in a table: `flow/TabularBitwidth-v0` and the tables behind it.

An evaluation that takes seconds on a network takes microseconds here, so that searchers can be compared
with many seeds, against the best policy there is. `benchmarks/tabulate.py` computes the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flow.decision import Decisions
from flow.env import BitwidthEnv
from flow.errors import StoreError
from hls.reach import Leeway
from models.files import parse_json
from models.npz_file import read_arrays
from models.policy import MAX_BITS, BitPolicy, LayerBits
from models.spec import LayerSpec

Floats = NDArray[np.float64]
SLACK = 1e-9  # of budgets, for rounding
Vectors = NDArray[np.integer]
"""Policies (n, n_decisions) as bits alone: weights and activation of the first layer, of the second, …"""


@dataclass(frozen=True)
class Chain:
    """Layers that each read the activation of the one before, and the bits that each may have."""

    allowed: tuple[tuple[LayerBits, ...], ...]

    @property
    def topology(self) -> Chain:
        """What hangs together how; there is nothing else to know of a chain."""
        return self

    @property
    def source(self) -> tuple[int | None, ...]:
        """The layer whose activation each reads; None where that is the image."""
        return (None, *range(len(self.allowed) - 1))

    def choices(self, layer: int) -> list[LayerBits]:
        """All bits that a layer may have, in order."""
        return list(self.allowed[layer])


@dataclass(frozen=True)
class Budgets:
    """Limits that need no hardware model, as shares of what 8 bits everywhere take.

    Attributes:
        operations: multiply-accumulates, each times the bits of its weight and of the activation it reads.
        memory: weights, each times its bits.
    """

    operations: float
    memory: float


class BudgetBounds:
    """Which bits keep a chain of layers within budgets, in place of `hls.reach.Reach`; sound and complete.

    Args:
        specs: the layers, in order.
        allowed: for every layer the bits it may have: all pairs of some weight and some activation bits.
        budgets: what may be used.
    """

    def __init__(self, specs: Sequence[LayerSpec], allowed: Sequence[Sequence[LayerBits]], budgets: Budgets) -> None:
        self.tables = Chain(tuple(tuple(a) for a in allowed))
        self.budgets = budgets
        macs = np.array([s.n_macs for s in specs], float)
        params = np.array([s.n_params for s in specs], float)
        self._macs = (macs / (MAX_BITS**2 * macs.sum())).tolist()
        self._params = (params / (MAX_BITS * params.sum())).tolist()
        self._columns = [np.array([(b.weight, b.act or 0) for b in of], float).T for of in self.tables.allowed]
        self._fewest = [min(a) for a in self.tables.allowed]
        reads = [MAX_BITS, *(b.act or 0 for b in self._fewest[:-1])]
        fewest = np.array([b.weight for b in self._fewest])
        # of the layers from each on, if each before takes the fewest bits: of the next one what it reads may be more
        self._operations_from = np.append(np.cumsum((np.array(self._macs) * fewest * reads)[::-1])[::-1], 0.0).tolist()
        self._memory_from = np.append(np.cumsum((np.array(self._params) * fewest)[::-1])[::-1], 0.0).tolist()

    def used(self, vectors: Vectors) -> Floats:
        """What whole policies (n, n_decisions) take: (n, 2) shares of operations and memory at 8 bits."""
        weights = vectors[:, 0::2].astype(float)
        reads = np.concatenate([np.full((len(vectors), 1), MAX_BITS), vectors[:, 1::2]], axis=1)[:, : weights.shape[1]]
        return np.stack([(weights * reads) @ np.array(self._macs), weights @ np.array(self._params)], axis=1)

    def _used_by(self, prefix: Sequence[LayerBits]) -> tuple[float, float, int]:
        """Operations and memory of a prefix, and the bits of what the layer behind it reads."""
        operations, memory, reads = 0.0, 0.0, MAX_BITS
        for i, bits in enumerate(prefix):
            operations += self._macs[i] * bits.weight * reads
            memory += self._params[i] * bits.weight
            reads = bits.act or 0
        return operations, memory, reads

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """See `hls.reach.Reach.feasible_bits`."""
        n = len(prefix)
        before, memory_before, reads = self._used_by(prefix)
        weights, acts = self._columns[n]
        operations = before + self._macs[n] * reads * weights + self._operations_from[min(n + 2, len(self._fewest))]
        if n + 1 < len(self._fewest):
            operations = operations + self._macs[n + 1] * self._fewest[n + 1].weight * acts
        memory = memory_before + self._params[n] * weights + self._memory_from[n + 1]
        fits = (operations <= self.budgets.operations + SLACK) & (memory <= self.budgets.memory + SLACK)
        return tuple(b for b, fit in zip(self.tables.allowed[n], fits.tolist(), strict=True) if fit)

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """See `hls.reach.Reach.leeway`: operations stand in for LUT, memory for block RAM; there are no DSP slices."""
        operations, memory, reads = self._used_by(prefix)
        n = len(prefix)
        if n < len(self._fewest):
            operations += self._macs[n] * self._fewest[n].weight * reads
        operations += self._operations_from[min(n + 1, len(self._fewest))]
        memory += self._memory_from[n]
        left = 1 - operations / self.budgets.operations, 1 - memory / self.budgets.memory
        return Leeway(max(left[0], 0.0), max(left[1], 0.0), 0.0)


class Truth(Protocol):
    """How good policies are."""

    def accuracy(self, vectors: Vectors) -> Floats:
        """Of policies (n, n_decisions), 0..1 (n,): what a searcher is after."""
        ...

    def reward(self, vector: Vectors, rng: np.random.Generator) -> float:
        """What one evaluation of a policy (n_decisions,) gives, noise included."""
        ...


@dataclass(frozen=True)
class ExhaustiveTruth:
    """Every policy was evaluated.

    Attributes:
        levels: for every decision the bits there are, ascending.
        accuracies: (seeds, levels of the first decision, of the second, …), 0..1. The truth is the mean over seeds;
            an evaluation has one of them.
    """

    levels: tuple[tuple[int, ...], ...]
    accuracies: NDArray[np.float32]

    def _index(self, vectors: Vectors) -> tuple[NDArray[np.int64], ...]:
        return tuple(np.searchsorted(of, vectors[:, i]) for i, of in enumerate(self.levels))

    @cached_property
    def _mean(self) -> Floats:
        mean: Floats = self.accuracies.mean(axis=0, dtype=np.float64)
        return mean

    def accuracy(self, vectors: Vectors) -> Floats:
        """See `Truth.accuracy`."""
        return self._mean[self._index(vectors)]

    def reward(self, vector: Vectors, rng: np.random.Generator) -> float:
        """See `Truth.reward`."""
        seed = np.array([rng.integers(len(self.accuracies))])
        return float(self.accuracies[(seed, *self._index(vector[None]))][0])


@dataclass(frozen=True)
class FittedTruth:
    """A Gaussian process fitted on policies that were evaluated: its mean is the truth.

    Attributes:
        vectors: policies evaluated (n, n_decisions).
        weights: of each in the mean (n,).
        scales: length scale of each decision (n_decisions,), of 2^(1-bits).
        mean: of the accuracies, which the process falls back to far from all policies.
        noise: standard deviation that an evaluation has around the truth, 0..1.
    """

    vectors: Vectors
    weights: Floats
    scales: Floats
    mean: float
    noise: float

    def accuracy(self, vectors: Vectors) -> Floats:
        """See `Truth.accuracy`."""
        a, b = (2.0 ** (1 - v.astype(float)) / self.scales for v in (vectors, self.vectors))
        apart = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0)
        found: Floats = self.mean + np.exp(-apart / 2) @ self.weights
        return found

    def reward(self, vector: Vectors, rng: np.random.Generator) -> float:
        """See `Truth.reward`."""
        return float(self.accuracy(vector[None])[0] + rng.normal(0.0, self.noise))


@dataclass(frozen=True)
class PolicyTable:
    """A space of policies under budgets, and how good every one of them is.

    Attributes:
        name: of the table.
        about: what was evaluated how, with which seeds, and the CPU time it took.
        specs: the layers.
        levels: for every decision the bits there are, ascending.
        budgets: what a policy may use.
        truth: how good policies are.
        best: the best policy known within the budgets, as a vector; of a whole table there is no better.
    """

    name: str
    about: dict[str, Any]
    specs: tuple[LayerSpec, ...]
    levels: tuple[tuple[int, ...], ...]
    budgets: Budgets
    truth: ExhaustiveTruth | FittedTruth
    best: tuple[int, ...]

    @cached_property
    def bounds(self) -> BudgetBounds:
        """Which bits keep within the budgets."""
        return BudgetBounds(self.specs, allowed_bits(self.specs, self.levels), self.budgets)

    def decisions(self) -> Decisions:
        """A new pass over the layers."""
        return Decisions(self.specs, self.bounds)

    def regret(self, policy: BitPolicy) -> float:
        """How much less accurate a policy is than the best one known, in points (hundredths)."""
        best, of_policy = self.truth.accuracy(np.array([self.best, to_vector(policy)]))
        return 100 * float(best - of_policy)

    def reward(self, policy: BitPolicy, seed: int) -> float:
        """What a search of a seed sees of a policy: always the same, as of a retraining with one seed."""
        vector = to_vector(policy)
        return self.truth.reward(vector, np.random.default_rng([seed, *vector.tolist()]))

    @classmethod
    def read(cls, path: Path) -> PolicyTable:
        """Read a table.

        Raises:
            StoreError: no such file, or not such a table.
        """
        try:
            arrays = read_arrays(path, ("header", "n_correct", "vectors", "weights", "scales"))
            header = parse_json(str(arrays["header"]))
            specs = tuple(LayerSpec(**s) for s in header["specs"])
            levels = tuple(tuple(of) for of in header["levels"])
            truth: ExhaustiveTruth | FittedTruth
            if "n_correct" in arrays:
                n_correct, n_images = arrays["n_correct"], int(header["n_images"])
                if (n_correct < 0).any():
                    raise ValueError(f"{(n_correct < 0).sum()} of its policies are not evaluated yet")
                if n_correct.dtype.kind not in "iu" or not n_correct.size or n_correct.max() > n_images:
                    raise ValueError(f"n_correct is {n_correct.dtype} {n_correct.shape}, not numbers of {n_images} images")
                shape = (-1, *(len(of) for of in levels))
                truth = ExhaustiveTruth(levels, (n_correct / n_images).astype(np.float32).reshape(shape))
            else:
                truth = FittedTruth(arrays["vectors"], arrays["weights"], arrays["scales"], header["mean"], header["noise"])
            return cls(path.stem, header["about"], specs, levels, Budgets(**header["budgets"]), truth, tuple(header["best"]))
        except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise StoreError(
                f"{path} is no table of policies ({type(error).__name__}: {error}); python -m benchmarks.tabulate computes them"
            ) from error

    def header(self) -> dict[str, Any]:
        """What `read` reads beside the arrays."""
        return {
            "about": self.about, "specs": [asdict(s) for s in self.specs], "levels": self.levels,
            "budgets": asdict(self.budgets), "best": self.best,
        }  # fmt: skip


def to_vector(policy: BitPolicy) -> Vectors:
    """The bits of a policy alone (n_decisions,)."""
    return np.array([n for b in policy.values() for n in (b.weight, b.act) if n is not None])


def allowed_bits(specs: Sequence[LayerSpec], levels: Sequence[Sequence[int]]) -> list[list[LayerBits]]:
    """The bits that every layer may have, of those of every decision."""
    left = iter(levels)
    return [[LayerBits(w, a) for w, a in product(next(left), next(left) if s.has_act else (None,))] for s in specs]


class TabularBitwidthEnv(BitwidthEnv):
    """`flow/Bitwidth-v0` on a table instead of a network.

    ## Description, action space, observation space, starting state, episode end
    See `flow.env.BitwidthEnv`. There is no board: the share of LUT left is that of the operations' budget, the share of
    block RAM that of the memory's; DSP slices there are none.

    ## Rewards
    0 until the last layer; then the accuracy in the table, 0..1, as an evaluation with `seed` finds it.

    ## Arguments
    `table`: a table, or the path of one.
    `seed`: of the evaluations' noise.

    ## Version history
    v0: first version.
    """

    def __init__(self, table: PolicyTable | Path | str, seed: int = 0) -> None:
        self.table = table if isinstance(table, PolicyTable) else PolicyTable.read(Path(table))
        super().__init__(self.table.decisions(), lambda policy: self.table.reward(policy, seed))
