"""What builds and boards have to say of the estimate: `Calibration`, a factor a quantity, learned from records.

The factor is what was found over what was estimated. With few designs it is their median; from `MIN_DESIGNS` designs on the
logarithm of the factor may also depend on the bits of the policy (Huber regression, scikit-learn), if that predicts designs
it has not seen better than the median does. A prediction never leaves the range of the factors that were found.

Cycles that a simulation of the RTL counted are quantities of their own: they make up for what a board has not been asked,
and are set aside as soon as one has.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.measurement import AnyRecord, Design, Measurement, Simulation, Synthesis
from hls.errors import CalibrationError
from hls.types import INTERVAL, LATENCY, Estimate
from models.files import parse_json
from models.policy import BitPolicy

CALIBRATION_FORMAT = 2
LATENCY_BY_FINN = 1  # a format whose factors of the latency are to FINN's sum over nodes
RESOURCES = ("lut", "bram18", "dsp")
RTL_INTERVAL, RTL_LATENCY = "rtl_interval_cycles", "rtl_latency_cycles"
_RTL_OF = {INTERVAL: RTL_INTERVAL, LATENCY: RTL_LATENCY}
QUANTITIES = (*RESOURCES, INTERVAL, RTL_INTERVAL, LATENCY, RTL_LATENCY)
BOARD, SYNTHESIS, RTL = "board", "synthesis", "RTL simulation"
"""What says what a quantity really is."""
FEATURES = ("weight_bits", "act_bits")
"""What a factor may depend on: the mean over the layers of a policy."""
MIN_DESIGNS = 10  # three coefficients, and a seventh of the designs held out at a time
N_FOLDS = 7
LEAST_MARGIN = 0.01
LARGE_BATCH = 100  # frames
LEAST_USED = 8  # of a resource, estimated: a ratio to less says nothing of a ratio to more


@dataclass(frozen=True)
class Observation:
    """One quantity of one design.

    Attributes:
        quantity: of `QUANTITIES`.
        source: `BOARD`, `SYNTHESIS` or `RTL`.
        design: digest of the plan: the same design measured twice is one design.
        name: of the design, for people.
        estimated: before any calibration; above 0.
        found: above 0.
        features: name to value; none of a network without a policy.
    """

    quantity: str
    source: str
    design: str
    name: str
    estimated: float
    found: float
    features: Mapping[str, float]


@dataclass(frozen=True)
class Factor:
    """What one quantity is multiplied by.

    Attributes:
        n_designs: it was learned from.
        ratio: the median of found over estimated.
        least, most: of the ratios.
        error: median relative error of predictions for designs that were held out; None of a single design.
        error_before: the same of the estimate as it is.
        coefficients: of the logarithm of the factor: feature to slope, and "constant"; empty where the median is taken.
        ranges: feature to the least and most that was seen.
    """

    n_designs: int
    ratio: float
    least: float
    most: float
    error: float | None
    error_before: float
    coefficients: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, features: Mapping[str, float]) -> float:
        """The factor of a policy."""
        if not self.coefficients or not features:
            return self.ratio
        slopes = {name: slope for name, slope in self.coefficients.items() if name != "constant"}
        log = self.coefficients["constant"] + sum(slope * features[name] for name, slope in slopes.items())
        return min(max(math.exp(min(log, 50.0)), self.least), self.most)

    @property
    def largest(self) -> float:
        """The largest factor that any policy gets."""
        return self.most if self.coefficients else self.ratio

    @property
    def margin(self) -> float:
        """How much more a design may take than is predicted: the error of predictions, and at least `LEAST_MARGIN`.

        Without it one of two policies that just keep to a limit would miss it.
        """
        return max(LEAST_MARGIN, self.error or 0.0)

    def outside(self, features: Mapping[str, float]) -> list[str]:
        """Features of a policy that no measured design had the like of; a phrase each."""
        return [
            f"{name.replace('_', ' ')} {features[name]:.2g} (measured: {low:.2g} to {high:.2g})"
            for name, (low, high) in self.ranges.items()
            if name in features and not low - 1e-9 <= features[name] <= high + 1e-9
        ]


@dataclass(frozen=True)
class Calibration:
    """Factors for one board.

    Attributes:
        board: its name.
        simulated: whether they were learned from the simulated board, and so say nothing of a real one.
        n_records: they were learned from.
        factors: quantity to factor; what is not named stays as it is estimated.
    """

    board: str
    simulated: bool
    n_records: int
    factors: Mapping[str, Factor]

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with anything in it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def of(self, policy: BitPolicy) -> dict[str, float]:
        """Quantity of an estimate to factor, for a policy; on the safe side by its margin."""
        features = features_of({name: (bits.weight, bits.act) for name, bits in policy.items()})
        return {name: factor.of(features) * (1 + factor.margin) for name, (factor, _) in self.taken.items()}

    @property
    def largest(self) -> dict[str, float]:
        """Quantity of an estimate to the largest factor of any policy: what keeps to a limit with these keeps to it."""
        return {name: factor.largest * (1 + factor.margin) for name, (factor, _) in self.taken.items()}

    @property
    def taken(self) -> dict[str, tuple[Factor, str]]:
        """Quantity of an estimate to the factor that corrects it and what that was learned from.

        Of cycles it is the board's, where one was measured, else the simulated RTL's.
        """
        found = {name: (self.factors[name], SYNTHESIS) for name in RESOURCES if name in self.factors}
        for name, simulated in _RTL_OF.items():
            if name in self.factors:
                found[name] = (self.factors[name], BOARD)
            elif simulated in self.factors:
                found[name] = (self.factors[simulated], RTL)
        return found

    def outside(self, policy: BitPolicy) -> list[str]:
        """In what a policy is outside of what was measured; a phrase each, none where it is inside."""
        features = features_of({name: (bits.weight, bits.act) for name, bits in policy.items()})
        return list(dict.fromkeys(phrase for factor, _ in self.taken.values() for phrase in factor.outside(features)))

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps({"format": CALIBRATION_FORMAT, "digest": self.digest, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, what: str) -> Calibration:
        """Read what `to_json` gave.

        Of a file from before the latency was estimated by the paces of nodes the factors of the latency are left out: they
        are to another estimate.

        Args:
            text: the file's content.
            what: to call it by in an error.

        Raises:
            CalibrationError: it is none, of another format, has a factor that cannot be, or was changed.
        """
        try:
            raw: dict[str, Any] = parse_json(text)
            digest, found = raw.pop("digest"), raw.pop("format")
            if found not in (CALIBRATION_FORMAT, LATENCY_BY_FINN):
                raise CalibrationError(
                    f"{what} has format {found!r}, this bitloop reads {CALIBRATION_FORMAT}; make calibrate makes it anew"
                )
            factors = {
                name: Factor(**{**f, "ranges": {k: (float(low), float(high)) for k, (low, high) in f["ranges"].items()}})
                for name, f in raw.pop("factors").items()
            }
            calibration = cls(**raw, factors=factors)
            for name, factor in factors.items():
                if name not in QUANTITIES or not 0 < factor.least <= factor.ratio <= factor.most < math.inf:
                    raise ValueError(f"{name} has no factor that can be")
            changed = calibration.digest != digest
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(
                f"{what} is no calibration ({type(error).__name__}: {error}); make calibrate makes it anew"
            ) from error
        if changed:
            raise CalibrationError(f"{what} was changed by hand: it says {digest!r}; make calibrate makes it anew")
        if found == LATENCY_BY_FINN:
            calibration = replace(calibration, factors={n: f for n, f in factors.items() if n not in (LATENCY, RTL_LATENCY)})
        return calibration


def features_of(bits: Mapping[str, tuple[int, int | None]]) -> dict[str, float]:
    """The features of a policy: layer to bits of weights and of activations."""
    acts = [act for _, act in bits.values() if act is not None]
    return {
        "weight_bits": fmean(weight for weight, _ in bits.values()),
        "act_bits": fmean(acts) if acts else 0.0,
    }  # fmt: skip


def observations(record: AnyRecord) -> list[Observation]:
    """What a record says beside its estimate; nothing where it has none.

    Of the latency it says nothing where the estimate has no paces, as those of bitloop 0.1: that is FINN's sum over nodes,
    and a factor to it is none to the estimates of now.

    Raises:
        CalibrationError: its estimate or policy is none.
    """
    if record.design.estimate is None:
        return []
    try:
        estimate, features = Estimate.from_dict(record.design.estimate).uncalibrated, _features(record.design)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(
            f"the {record.kind} of {record.name} at {record.at:%Y-%m-%d %H:%M:%S} has no estimate that can be computed with "
            f"({type(error).__name__}: {' '.join(str(error).split())}); it was imported, or is of another bitloop: keep it in "
            "another file with MEASUREMENTS="
        ) from error
    found: dict[str, float | None]
    if isinstance(record, Synthesis):
        source, found = SYNTHESIS, {name: getattr(record.system, name) for name in RESOURCES}
    elif isinstance(record, Simulation):
        source, found = RTL, {RTL_INTERVAL: record.interval_cycles, RTL_LATENCY: record.latency_cycles}
    else:
        source, found = BOARD, {INTERVAL: interval_cycles(record), LATENCY: latency_cycles(record)}
    if not estimate.has_paces:
        found = {name: value for name, value in found.items() if name not in (LATENCY, RTL_LATENCY)}
    estimated = {name: getattr(estimate.resources, name) for name in RESOURCES}
    for name, simulated in _RTL_OF.items():
        estimated[name] = estimated[simulated] = getattr(estimate, "bottleneck_cycles" if name == INTERVAL else name)
    return [
        Observation(name, source, record.plan, record.name, float(estimated[name]), float(value), features)
        for name, value in found.items()
        if value and estimated[name] >= (LEAST_USED if name in RESOURCES else 1)
    ]


def _features(design: Design) -> dict[str, float]:
    if design.policy is None:
        return {}
    return features_of({name: (b["weight"] or 0, b["act"]) for name, b in design.policy.items()})


def interval_cycles(measured: Measurement) -> float | None:
    """Cycles a frame in the steady state, as a board had them: by its counters, else by the best throughput of large batches.

    None where there were only small ones: those say more of the first frame.
    """
    if measured.counters is not None:
        return measured.counters.avg_interval_cycles
    fps = max((t.fps for t in measured.throughput if t.batch_size >= LARGE_BATCH), default=None)
    return None if fps is None else measured.clock_readback_mhz * 1e6 / fps


def latency_cycles(measured: Measurement) -> float | None:
    """Cycles of the first frame, by a board's counters; None without them: a call from Python takes longer than a frame."""
    return None if measured.counters is None else float(measured.counters.min_latency_cycles)


def that_count(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """Records that say how a design behaves as it is built.

    Of simulations that is, for every network, the last one with FIFOs as they were sized, which are those of the next build,
    else the last one with FIFOs as estimated; in its steady state, fed as fast as it takes words.
    """
    kept: list[AnyRecord] = []
    last: dict[str, Simulation] = {}
    for record in records:
        if not isinstance(record, Simulation):
            kept.append(record)
        elif record.fifos in ("estimated", "sized") and record.is_steady and not (record.gaps or record.back_pressure):
            before = last.get(record.network)
            if before is None or record.fifos == "sized" or before.fifos == "estimated":
                last[record.network] = record
    return [*kept, *last.values()]


def learn(board: str, simulated: bool, records: Iterable[AnyRecord]) -> Calibration:
    """Learn the factors of a board.

    Args:
        board: its name.
        simulated: of the simulated board.
        records: of that board, all of the simulated one or none; of simulations of RTL, which are not the simulated board's,
            those that count (`that_count`).

    Raises:
        CalibrationError: there is none with an estimate to hold it against.
    """
    records = that_count(records)
    if any(r.board != board or (simulated if isinstance(r, Simulation) else r.simulated != simulated) for r in records):
        raise ValueError("records of another board, or simulated ones and real ones together")
    by_quantity: dict[str, list[Observation]] = {name: [] for name in QUANTITIES}
    for record in records:
        for observation in observations(record):
            by_quantity[observation.quantity].append(observation)
    factors = {name: fit(_one_a_design(found)) for name, found in by_quantity.items() if found}
    if not factors:
        where = f"the simulated {board}" if simulated else f"a {board}"
        raise CalibrationError(
            f"nothing was measured on {where} that has an estimate; make measure{'' if simulated else ' or make sim'} of a "
            "build that make search led to, first"
        )
    return Calibration(board, simulated, len(records), factors)


def _one_a_design(found: Sequence[Observation]) -> list[Observation]:
    """One observation a design, the median of what was found: ten measurements of one design are no ten designs."""
    by_design: dict[str, list[Observation]] = {}
    for o in found:
        by_design.setdefault(o.design, []).append(o)
    return [
        Observation(**{**vars(same[0]), "found": median(o.found / o.estimated for o in same) * same[0].estimated})
        for same in by_design.values()
    ]


def fit(designs: Sequence[Observation]) -> Factor:
    """The factor of one quantity from its designs, one or more."""
    logs = np.log([o.found / o.estimated for o in designs])
    ratio, least, most = (math.exp(v) for v in (np.median(logs), logs.min(), logs.max()))
    before = float(np.median(np.abs(np.expm1(-logs))))
    least, most = min(least, ratio), max(most, ratio)  # rounding
    error = _held_out(logs, None) if len(designs) > 1 else None
    ranges, coefficients = {}, {}
    if all(o.features for o in designs):
        table = np.array([[o.features[name] for name in FEATURES] for o in designs])
        ranges = {name: (float(c.min()), float(c.max())) for name, c in zip(FEATURES, table.T, strict=True)}
        if len(designs) >= MIN_DESIGNS and error is not None:
            regression_error = _held_out(logs, table)
            if regression_error < error:
                constant, *slopes = _regression(table, logs)
                coefficients = {"constant": constant, **dict(zip(FEATURES, slopes, strict=True))}
                error = regression_error
    return Factor(len(designs), ratio, least, most, error, before, coefficients, ranges)


def _held_out(logs: NDArray[np.float64], table: NDArray[np.float64] | None) -> float:
    """Median relative error of predictions for designs that were not learned from, every design once."""
    n = len(logs)
    errors = np.empty(n)
    for fold in range(min(N_FOLDS, n)):
        held = np.arange(n) % min(N_FOLDS, n) == fold
        seen = logs[~held]
        if table is None:
            predicted = np.full(held.sum(), np.median(seen))
        else:
            constant, *slopes = _regression(table[~held], seen)
            predicted = np.clip(constant + table[held] @ np.array(slopes), seen.min(), seen.max())
        errors[held] = np.abs(np.expm1(predicted - logs[held]))
    return float(np.median(errors))


def _regression(table: NDArray[np.float64], logs: NDArray[np.float64]) -> list[float]:
    """Constant and slopes, robust against single designs that fall out of line."""
    from sklearn.linear_model import HuberRegressor

    middle, spread = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-9)
    size = max(float(logs.std()), 1e-9)
    model = HuberRegressor(alpha=0.1, max_iter=1000).fit((table - middle) / spread, (logs - logs.mean()) / size)
    slopes = model.coef_ * size / spread
    return [float(logs.mean() + size * model.intercept_ - slopes @ middle), *map(float, slopes)]
