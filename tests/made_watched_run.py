"""The files of a run for people to look at, without a search: any number of layers, trials, searchers and measurements."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from boards.board import Resources
from boards.measurements import Measurements
from boards.registry import get_board
from flow.constraint import Constraint
from flow.report import Outcome, UniformResult, policy_document
from flow.run_directory import write_json
from flow.store import TrialStore
from flow.trial import Trial
from hls.types import Correction, Estimate, NodeEstimate
from models.policy import BitPolicy
from models.spec import LayerSpec
from tests.made_measurements import made_design, made_measurement, made_simulation, made_synthesis

BOARD = get_board("pynq-z2")
CONSTRAINT = Constraint(BOARD, min_fps=1000.0, max_utilisation=0.85)
VERSIONS = {"bitloop": "0.1.0", "torch": "2"}


def made_specs(names: Sequence[str]) -> list[LayerSpec]:
    """Convolutions, and a linear layer at the end."""
    last = len(names) - 1
    return [
        LayerSpec(
            name, i, "conv" if i < last else "linear", 8, 8, 3, 1, 8, 8, n_params=576 * (i + 1), n_macs=40_000 // (i + 1),
            weight_std=0.1, has_act=i < last,
        )
        for i, name in enumerate(names)
    ]  # fmt: skip


def made_estimate(specs: Sequence[LayerSpec], policy: BitPolicy) -> Estimate:
    """More bits take more of everything."""
    nodes, corrections = [], [Correction("shell", "", Resources(lut=3200, bram18=4), "the Zynq shell")]
    for i, s in enumerate(specs):
        weight, act = policy[s.name].weight, policy[s.name].act or 8
        used = Resources(lut=2500.0 * weight * act / 8 / len(specs), bram18=20.0 * weight / len(specs), dsp=float(weight > 4))
        cycles = 6000 * weight + 500 * act + 100 * i
        before = (f"MVAU_hls_{i - 1}",) if i else ()
        nodes.append(NodeEstimate(f"MVAU_hls_{i}", "MVAU_hls", s.name, cycles, used, {"PE": 2, "SIMD": i + 1}, before))
        corrections.append(Correction(f"MVAU_hls_{i}", s.name, Resources(lut=120), "thresholds"))
    return Estimate(tuple(nodes), BOARD.clock_mhz, "made up", tuple(corrections))


def made_trials(specs: Sequence[LayerSpec], n: int, seed: int) -> list[Trial]:
    """Random policies, more accurate with more bits and with time."""
    rng = random.Random(seed)
    trials = []
    for number in range(n):
        policy = BitPolicy.draw(specs, rng)
        bits = sum(b.weight + (b.act or 8) for b in policy.values()) / len(specs)
        score = min(0.99, 0.7 + 0.01 * bits + 0.004 * number + 0.05 * rng.random())
        trials.append(Trial(number, policy, made_estimate(specs, policy), score, score, seed, 1.5))
    return trials


def made_watched_run(
    path: Path, names: Sequence[str] = ("conv0", "fc0", "fc1"), n_trials: int = 9, searchers: Sequence[str] = ("ddpg",),
    ended: bool = True, model: str = "tfc",
) -> Path:  # fmt: skip
    """Write `run.json`, `trials.db` and `policy.json`.

    Args:
        path: of the run.
        names: of the layers.
        n_trials: of every searcher.
        searchers: those that used the store.
        ended: whether the final retraining has been done.
        model: as given to MODEL.
    """
    path.mkdir(parents=True)
    specs = made_specs(names)
    identity = {
        "MODEL": model, "BOARD": BOARD.name, "DATASET": "digits", "SEED": 0, "MIN_FPS": CONSTRAINT.min_fps,
        "MAX_UTIL": CONSTRAINT.max_utilisation, "SEARCHER": searchers[0], "RETRAIN_IMAGES": 64, "TOP_K": 1,
    }  # fmt: skip
    found = {}
    for i, searcher in enumerate(searchers):
        found[searcher] = made_trials(specs, n_trials, i)
        store = TrialStore(path / "trials.db", searcher)
        for trial in found[searcher]:
            store.add(trial)
    best = max((t for of in found.values() for t in of), key=lambda t: t.accuracy)
    outcome = Outcome(identity, 64, VERSIONS, specs, CONSTRAINT, n_trials, best, best.estimate, 0.97)
    if ended:
        uniform = tuple(
            UniformResult(n, 0.8 + n / 50, made_estimate(specs, BitPolicy.uniform(specs, n, n))) for n in (8, 4, 2)
        )  # fmt: skip
        outcome = replace(outcome, search_accuracy=0.95, test_accuracy=0.94, uniform=uniform)
    write_json(path / "run.json", identity)
    write_json(path / "policy.json", policy_document(outcome))
    return path


def made_records(run: Path, file: Path, estimate: Estimate, policy: BitPolicy, model: str = "tfc") -> Path:
    """Write a synthesis, a simulation, a simulated measurement and a real one of a run's policy into a file of measurements."""
    bits = {name: {"weight": b.weight, "act": b.act} for name, b in policy.items()}
    design = made_design(model=model, policy=bits, estimate=estimate.to_dict())
    same = {"name": run.name, "policy_digest": policy.digest, "design": design}
    store = Measurements(file)
    for record in (
        made_synthesis(**same),
        made_simulation(**same),
        made_measurement(**same),
        made_measurement(**same, simulated=False, host="xilinx@192.168.2.99"),
        made_measurement(name="other", design=design, policy_digest="another"),
    ):
        store.add(record)
    return file
