"""The documents and texts that bitloop reads, to be damaged: JSON, JSON lines, TOML, tables of Vivado's, options, databases."""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import onnx

from flow.build_deployment import _check_settings
from flow.build_directory import BuildDirectory
from flow.build_source import source_of_policy, source_of_qonnx
from flow.calibration import read_calibration
from flow.cli_options import settings_of
from flow.fifo_depths import read_depths, write_depths
from flow.loop import FORMAT as LOOP_FORMAT
from flow.loop import STATE, Loop, Round
from flow.pipeline import settings_of as settings_of_run
from flow.policy_file import read_policy
from flow.report import Outcome, policy_document
from flow.store import TrialStore
from flow.trial import Trial
from flow.watch.policy_document import read_document
from hls.calibrate import Calibration, Factor
from hls.finn_build import Checkpoint, Stream
from hls.handover.progress import Progress, WrongPackageError, read_object, sha256
from hls.reports import read_reports, read_results, routed_timing
from models.policy import BitPolicy
from tests import made_packages
from tests.flow_fakes import CONSTRAINT, SPECS, estimate_of, policy_of
from tests.fuzz_mutations import (
    Target,
    mutate_bytes,
    mutate_json,
    mutate_text,
)
from tests.made_reports import ALONE, ROW, routed
from tests.test_hls_build_plan import PLAN

IDENTITY = {
    "MODEL": "tfc", "BOARD": "pynq-z2", "DATASET": "digits", "SEED": 3, "MIN_FPS": 3000.0, "MAX_UTIL": 0.8, "SEARCHER": "ddpg",
    "RETRAIN_IMAGES": 2048, "TOP_K": 1,
}  # fmt: skip
POLICY = policy_of((3, 2), (4, 1), (8, None))
TRIAL = Trial(6, POLICY, estimate_of(fps=4000.0), accuracy=0.91, reward=0.91, seed=3, duration_s=2.0)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- of a run


def _policy(folder: Path) -> Path:
    data = {"classes": ["no", "yes"], "preparation": None}
    outcome = Outcome(IDENTITY, 50_000, {"bitloop": "0.1.0"}, SPECS, CONSTRAINT, 9, TRIAL, TRIAL.estimate, 0.97, data=data)
    written(folder, "model.onnx", b"no matter what")
    return written(folder, "policy.json", json.dumps(policy_document(outcome), indent=2))


def _read_policy(path: Path) -> object:
    found = read_policy(path)
    assert BitPolicy.from_json(found.to_json()) == found
    return found


def _read_source(path: Path) -> object:
    found = source_of_policy(path)
    assert found.estimate is not None
    assert found.constraint is not None
    assert isinstance(found.plan().to_json(), str)
    found.check_fit()
    return found


def _fifos(folder: Path) -> Path:
    write_depths(folder / "fifos.json", "0123", {"MVAU_hls_0": 7})
    return folder / "fifos.json"


def _loop(folder: Path) -> Path:
    one = Round(1, "0123", 0.9, None, 9000.0, 8000.0, 7900.0, True, "0" * 64)
    loop = {
        "MODEL": "tfc", "BOARD": "pynq-z2", "DATASET": "digits", "SEED": 0, "MIN_FPS": 1000.0, "MAX_UTIL": 0.85,
        "HOST": "simulated"
    }  # fmt: skip
    return written(folder, STATE, json.dumps({"format": LOOP_FORMAT, "loop": loop, "rounds": [asdict(one)]}))


def _read_loop(path: Path) -> object:
    settings = settings_of(model="tfc", dataset="digits", min_fps=1000.0)
    found = Loop(path.parent, settings, "simulated", {})
    assert all(isinstance(one.is_settled, bool) for one in found.rounds)
    return found


def _calibration(folder: Path) -> Path:
    factor = Factor(n_designs=2, ratio=1.1, least=1.0, most=1.2, error=0.05, error_before=0.1)
    return written(
        folder, "pynq-z2.json", Calibration("pynq-z2", False, 2, {"lut": factor, "interval_cycles": factor}).to_json()
    )


def _read_calibration(path: Path) -> object:
    found = read_calibration(path, "pynq-z2")
    assert all(factor > 0 for factor in found.of(POLICY).values())
    return found


def _trials(folder: Path) -> Path:
    store = TrialStore(folder / "trials.db", "fuzz")
    for number in range(3):
        store.add(replace(TRIAL, number=number))
    store._study._storage.remove_session()
    return store.path


def _read_trials(path: Path) -> object:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    store = TrialStore(path, "fuzz")
    try:
        return store.trials()
    finally:
        store._study._storage.remove_session()


def mutate_database(statement: str, column: str, before: str = "") -> Callable[[random.Random, bytes], bytes]:
    """Damage of an SQLite file: of its bytes, or of a document in it."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        if rng.randrange(3):
            return mutate_bytes(rng, data)
        with tempfile.NamedTemporaryFile(suffix=".db") as file:
            Path(file.name).write_bytes(data)
            db = sqlite3.connect(file.name, isolation_level=None)
            db.executescript(before)
            rows = db.execute(f"SELECT rowid, {column} FROM {statement}").fetchall()
            row, told = rng.choice(rows)
            damaged = mutate_json(rng, str(told).encode()).decode(errors="replace")
            db.execute(f"UPDATE {statement} SET {column} = ? WHERE rowid = ?", (damaged, row))
            db.close()
            return Path(file.name).read_bytes()

    return mutate


# --- of a build


def _folding(folder: Path) -> Path:
    graph = onnx.helper.make_graph([], "made", [], [])
    written(folder, "model.onnx", onnx.helper.make_model(graph).SerializeToString())
    return written(folder, "folding.json", json.dumps({"Defaults": {}, **PLAN.folding}))


def _read_folding(path: Path) -> object:
    found = source_of_qonnx(path.parent / "model.onnx", "pynq-z2", path, None)
    return found.plan().to_json()


def _reports(folder: Path) -> Path:
    rows = {"(top)": ROW, "StreamingDataflowPartition_1_MVAU_hls_0": {**ROW, "LUT": 7}, "top_axi_interconnect_0_0": ROW}
    written(folder, "report/post_synth_resources.json", json.dumps(rows))
    written(folder, "report/ooc_synth_and_timing.json", json.dumps(ALONE))
    written(folder, "report/post_route_timing.rpt", routed())
    written(folder, "report/post_synth_report.xml", "<r/>")
    files = {p.relative_to(folder).as_posix(): sha256(p) for p in folder.glob("report/*")}
    tools = {"vivado": "/x/vivado", "version": "2022.2", "stand_in": False}
    document = {"format": 1, "plan": "0123", "tools": tools, "seconds": {}, "files": files}
    return written(folder, "results.json", json.dumps(document))


def _report(name: str) -> Callable[[Path], Path]:
    return lambda folder: _reports(folder).parent / "report" / name


def _read_reports(path: Path) -> object:
    found = read_reports(path.parent, 100.0)
    for used in (found.system, found.accelerator, *found.nodes.values()):
        assert all(0 <= count < float("inf") for count in asdict(used).values())
    for timing in (found.system_timing, found.accelerator_timing):
        assert 0 < timing.fmax_mhz < float("inf")
    return found


def _settings(folder: Path) -> Path:
    told = made_packages.settings(made_packages.SHAPE, (made_packages.N_CLASSES,))
    return written(folder, "settings.json", json.dumps(told))


def _check(path: Path) -> None:
    _check_settings(
        path, Checkpoint((), Stream((1, *made_packages.SHAPE), "INT8"), Stream((1, made_packages.N_CLASSES), "FLOAT32"))
    )


def _progress(folder: Path) -> Path:
    kept = Progress(folder / "progress.json", {"plan": "0123"}, {"version": "2022.2"})
    kept.finish("one", 1.25)
    kept.finish("two", 0.5)
    return kept.file


def _read_progress(path: Path) -> object:
    read_object(path)
    found = Progress.of(path, {"plan": "0123"}, ["one", "two", "three"], lambda _: [], {"version": "2022.2"}, ["two"])
    assert set(found.seconds) <= {"one", "two"}
    return found


DOCUMENTS = (
    Target("policy.json", _policy, _read_policy, mutate_json, 400),
    Target("policy.json of a build", _policy, _read_source, mutate_json, 400),
    Target("run.json", lambda f: written(f, "run.json", json.dumps(IDENTITY)), lambda p: settings_of_run(p.parent,
           settings_of()),
           mutate_json, 260),
    Target("policy.json that is looked at", _policy, read_document, mutate_json, 200),
    Target("fifos.json", _fifos, lambda p: read_depths(p, "0123"), mutate_json, 130),
    Target("loop.json", _loop, _read_loop, mutate_json, 260),
    Target("calibration", _calibration, _read_calibration, mutate_json, 320),
    Target("trials.db", _trials, _read_trials, mutate_database("trial_user_attributes", "value_json"), 100),
    Target("plan.json", lambda f: written(f, "plan.json", PLAN.to_json()), lambda p: BuildDirectory(p.parent, PLAN),
           mutate_json, 260),
    Target("folding.json", _folding, _read_folding, mutate_json, 200),
    Target("results.json", _reports, lambda p: read_results(p.parent, "0123"), mutate_json, 260),
    Target("post_synth_resources.json", _report("post_synth_resources.json"), _read_reports, mutate_json, 260),
    Target("ooc_synth_and_timing.json", _report("ooc_synth_and_timing.json"), _read_reports, mutate_json, 260),
    Target("post_route_timing.rpt", _report("post_route_timing.rpt"), _read_reports, mutate_text, 260),
    Target("timing report", _report("post_route_timing.rpt"), lambda p: routed_timing(p, 100.0).fmax_mhz, mutate_text, 130),
    Target("settings.json", _settings, _check, mutate_json, 200),
    Target("progress.json", _progress, _read_progress, mutate_json, 200, (WrongPackageError,)),
)  # fmt: skip
"""FINN's process of its own has one error for its files."""
