"""What a run leaves for people to read: `policy.json` and `summary.md`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from boards.board import Resources, difference
from flow.calibration import calibration_document
from flow.constraint import Constraint
from flow.trial import Trial
from hls.calibrate import Calibration
from hls.types import Estimate
from models.policy import BitPolicy
from models.spec import LayerSpec

POLICY_FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """Where a search stands: its best policy, and after the final retraining what became of it.

    Attributes:
        identity: what the run was begun with.
        final_images: images of the final retraining.
        versions: of the packages that decide a result.
        specs: the network's layers.
        constraint: what the policy keeps to.
        n_trials: evaluated so far.
        best: the best trial so far.
        estimate: of the best policy; after the final retraining FINN's own of the exported network.
        float_accuracy: of the float network, on the search split.
        search_accuracy, test_accuracy: after the final retraining, 0..1; None before it.
        uniform: the uniform policies it is compared with.
        calibration: that the estimates were corrected by.
        data: names of the classes, and how images were prepared (`models.preparation.Preparation`).
        made_by: command, revision and more (`flow.provenance`).
    """

    identity: dict[str, Any]
    final_images: int
    versions: dict[str, str]
    specs: Sequence[LayerSpec]
    constraint: Constraint
    n_trials: int
    best: Trial
    estimate: Estimate
    float_accuracy: float
    search_accuracy: float | None = None
    test_accuracy: float | None = None
    uniform: tuple[UniformResult, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    made_by: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class UniformResult:
    """A uniform policy under the same constraint, retrained as briefly as a trial."""

    bits: int
    accuracy: float
    estimate: Estimate


def estimate_document(estimate: Estimate, constraint: Constraint, policy: BitPolicy) -> dict[str, Any]:
    """What `policy.json` says of an accelerator."""
    return {
        "folding": estimate.folding,
        "implementations": {n: str(b) for n, b in zip(policy, estimate.implementations, strict=True)},
        "estimate": {
            "method": estimate.method,
            "meets_constraint": constraint.violation(estimate) <= 0,
            "fps": estimate.fps,
            "latency_ms": estimate.latency_ms,
            "clock_mhz": estimate.clock_mhz,
            "resources": asdict(estimate.resources),
            "finn_resources": asdict(estimate.finn_resources),
            "cycles_per_layer": estimate.cycles_per_layer(),
            "nodes": estimate.to_dict()["nodes"],
            "corrections": estimate.to_dict()["corrections"],
            "factors": dict(estimate.factors),
        },
    }


def policy_document(o: Outcome) -> dict[str, Any]:
    """The content of `policy.json`."""
    return {
        "format": POLICY_FORMAT,
        "model": o.identity["MODEL"],
        "dataset": o.identity["DATASET"],
        "board": o.identity["BOARD"],
        "seed": o.identity["SEED"],
        "top_k": o.identity["TOP_K"],
        "constraint": {"min_fps": o.constraint.min_fps, "max_utilisation": o.constraint.max_utilisation},
        "policy": {name: {"weight": b.weight, "act": b.act} for name, b in o.best.policy.items()},
        "policy_digest": o.best.policy.digest,
        **estimate_document(o.estimate, o.constraint, o.best.policy),
        "accuracy": {
            "float_search": o.float_accuracy,
            "trial_search": o.best.accuracy,
            "final_search": o.search_accuracy,
            "final_test": o.test_accuracy,
        },
        "calibration": calibration_document(o.calibration, o.best.policy) if o.calibration else None,
        "data": o.data,
        "layers": [_layer_facts(s) for s in o.specs],
        "uniform": [_uniform_document(u, o.constraint) for u in o.uniform],
        "trial": o.best.number,
        "n_trials": o.n_trials,
        "final_images": o.final_images,
        "run": o.identity,
        "versions": o.versions,
        "made_by": o.made_by,
    }


def _layer_facts(spec: LayerSpec) -> dict[str, Any]:
    """What `policy.json` says of a layer beside its bits."""
    return {"name": spec.name, "kind": spec.kind, "parameters": spec.n_params, "macs": spec.n_macs}


def _uniform_document(u: UniformResult, constraint: Constraint) -> dict[str, Any]:
    """What `policy.json` says of a uniform policy."""
    return {
        "bits": u.bits,
        "accuracy": u.accuracy,
        "meets_constraint": constraint.violation(u.estimate) <= 0,
        "fps": u.estimate.fps,
        "latency_ms": u.estimate.latency_ms,
        "resources": asdict(u.estimate.resources),
    }


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [_row(*head), _row(*("---" for _ in head)), *(_row(*r) for r in rows)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _layer_rows(o: Outcome) -> list[list[object]]:
    cycles, used = o.estimate.cycles_per_layer(), o.estimate.resources_per_layer()
    unit = {n.layer: n.folding for n in o.estimate.nodes if n.op_type.startswith(("MVAU", "VVAU"))}
    built = dict(zip(o.best.policy, o.estimate.implementations, strict=True))
    slowest = max(cycles.values())
    rows: list[list[object]] = []
    for s in o.specs:
        bits, folding = o.best.policy[s.name], unit[s.name]
        rows.append(
            [
                s.name, bits.weight, "–" if bits.act is None else bits.act,
                f"{s.n_params:,}", f"{s.n_macs:,}", built[s.name], folding["PE"], folding["SIMD"], folding["ram_style"],
                f"{cycles[s.name]:,}" + (" ◀ slowest" if cycles[s.name] == slowest else ""),
                f"{used[s.name].lut:,.0f}", f"{used[s.name].bram18:.0f}", f"{used[s.name].dsp:.0f}",
            ]
        )  # fmt: skip
    return rows


def _calibration_lines(o: Outcome) -> list[str]:
    """What to say of the calibration."""
    if o.calibration is None:
        return ["Nothing that was measured has corrected them: there is no calibration."]
    whose = "of the simulated board, which is no board, " if o.calibration.simulated else ""
    factors = ", ".join(f"{name.replace('_', ' ')} × {factor:.3f}" for name, factor in o.estimate.factors.items())
    lines = [
        f"Calibration {o.calibration.digest}, {whose}from {o.calibration.n_records} records, has corrected them: {factors}."
    ]
    if outside := o.calibration.outside(o.best.policy):
        lines.append(f"The policy is outside of what was measured: {'; '.join(outside)}.")
    return lines


def _origin_rows(estimate: Estimate) -> list[list[object]]:
    """What the resources consist of: FINN's own figures, and every reason for a correction."""
    used = {"what FINN counts": estimate.finn_resources}
    for c in estimate.corrections:
        used[c.reason] = used.get(c.reason, Resources()) + c.resources
    if estimate.factors:
        used["calibration"] = difference(estimate.resources, estimate.uncalibrated.resources)
    return [[what, f"{r.lut:,.0f}", f"{r.bram18:.0f}", f"{r.dsp:.0f}"] for what, r in used.items()]


def _policy_row(name: str, o: Outcome, policy_accuracy: float, estimate: Estimate) -> list[object]:
    share = estimate.resources.share_of(o.constraint.board.capacity)
    return [
        name, _percent(policy_accuracy), f"{estimate.fps:,.0f}", f"{estimate.latency_ms:.3g}",
        f"{estimate.resources.lut:,.0f} ({share['lut']:.0%})", f"{estimate.resources.bram18:.0f} ({share['bram18']:.0%})",
        o.constraint.describe(estimate),
    ]  # fmt: skip


def weight_bits(policy: BitPolicy, specs: Sequence[LayerSpec]) -> float:
    """Mean bits of a weight, every weight counted once."""
    return sum(policy[s.name].weight * s.n_params for s in specs) / sum(s.n_params for s in specs)


def summary(o: Outcome) -> str:
    """The content of `summary.md`."""
    run, c = o.identity, o.constraint
    rows = [_policy_row("found by the search", o, o.best.accuracy, o.best.estimate)]
    briefly = "briefly retrained" if run.get("RETRAIN_IMAGES") else "calibrated, not retrained"
    rows += [_policy_row(f"uniform {u.bits} bits", o, u.accuracy, u.estimate) for u in o.uniform]
    lines = [
        f"# {run['MODEL']} on {c.board.title}, {run['DATASET']}",
        "",
        f"{c.in_words}; {o.n_trials} trials, searcher {run['SEARCHER']}, seed {run['SEED']}.",
        "",
        "Every figure of speed and resources on this page is estimated, none is measured on a board. "
        f"Method: {o.estimate.method}, at {o.estimate.clock_mhz:g} MHz, and bitloop's corrections for what that leaves out.",
        *_calibration_lines(o),
        "",
        "## Accuracy",
        "",
        *_table(
            ["network", "search split", "test split"],
            [
                ["float", _percent(o.float_accuracy), "–"],
                [f"best trial (number {o.best.number}), {briefly}", _percent(o.best.accuracy), "–"],
                ["best policy, finally retrained", _percent(o.search_accuracy), _percent(o.test_accuracy)],
            ],
        ),
        "",
        "## The best policy, layer by layer",
        "",
        f"Mean {weight_bits(o.best.policy, o.specs):.2f} bits a weight. Digest {o.best.policy.digest}.",
        "",
        *_table(
            ["layer", "weight bits", "activation bits", "parameters", "MACs", "unit", "PE", "SIMD", "weights in",
             "cycles a frame", "LUT", "BRAM18", "DSP"],
            _layer_rows(o),
        ),
        "",
        f"Together {o.estimate.resources.lut:,.0f} LUT, {o.estimate.resources.bram18:.0f} BRAM18 and "
        f"{o.estimate.resources.dsp:.0f} DSP: "
        f"{o.estimate.fps:,.0f} fps, {o.estimate.latency_ms:.3g} ms for the first frame ({c.describe(o.estimate)}).",
        "",
        *_table(["of that", "LUT", "BRAM18", "DSP"], _origin_rows(o.estimate)),
        "",
        "## Beside uniform bits, under the same constraint",
        "",
        f"All {briefly}, as a trial is, and scored on the search split; each with its own best folding.",
        "",
        *_table(["policy", "accuracy", "fps", "latency ms", "LUT", "BRAM18", "constraint"], rows),
        "",
        "## How to make it again",
        "",
        "    " + command(run, o.final_images, o.n_trials),
        "",
        "Versions: " + ", ".join(f"{name} {v}" for name, v in o.versions.items()) + ".",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def command(identity: dict[str, Any], final_images: int, n_trials: int) -> str:
    """The make command of a run."""
    values = {**identity, "MIN_FPS": f"{identity['MIN_FPS']:.10g}", "FINAL_IMAGES": final_images, "TRIALS": n_trials}
    told = (f"{name}={shlex.quote(str(value))}" for name, value in values.items() if name not in ("DATA", "NETWORK"))
    return " ".join(["make search", *told])
