"""A whole search, with FINN's own costs and real retraining, killed again and again: it ends as one that never was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.store import TrialStore
from tests.test_flow_cli import ROOT, pretrained_file  # noqa: F401

N_KILLS = 24
N_TRIALS, N_FINALISTS = 8, 3

# Forks after all is imported, so that an attempt takes what a search takes and not what Python's imports do.
ATTEMPTS = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import flow.pipeline
from flow.config import SearchSettings
from flow.evaluator import Evaluator
from flow.run_directory import write_text
import hls.finn_backend, hls.finn_operators, brevitas.nn, sb3_contrib
hls.finn_operators.finn_steps()

root, n_kills, n_trials, n_finalists = Path(sys.argv[1]), *map(int, sys.argv[2:5])

class Phase:
    def __init__(self, file):
        self.file = file
    def note(self, text):
        write_text(self.file, text.split(":")[0][:40])
    def advance(self, work, done, total, detail=""):
        write_text(self.file, f"{work} {done}")

def searching(phase):
    # whether the tables of costs are made, which every attempt begins with
    return phase.read_text().split(" ")[0] in ("trials", "finalists", "uniform", "final")

def attempt(run, kill_after_s, from_trials):
    phase = root / "phase"
    phase.write_text("start")
    begun = time.monotonic()
    child = os.fork()
    if not child:
        try:
            scored, again = Evaluator._scored, Evaluator.accuracy_again
            def logged(self, policy, whole):
                with (root / f"{run}.log").open("a") as file:
                    file.write(f"trial {policy.digest}\\n")
                return scored(self, policy, whole)
            def logged_again(self, policy, n_images, seed):
                with (root / f"{run}.log").open("a") as file:
                    file.write(f"again {policy.digest} {seed}\\n")
                return again(self, policy, n_images, seed)
            Evaluator._scored, Evaluator.accuracy_again = logged, logged_again
            settings = SearchSettings(
                model="tfc", dataset="digits", min_fps=100_000, threads=1, retrain_images=128, final_images=1400 * 3,
                n_trials=n_trials, finalists=n_finalists, run_dir=root / run,
            )
            flow.pipeline.search(settings, Phase(phase))
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    ended, since, status = 0, None, 0
    while not ended:
        if since is None and searching(phase):
            since = time.monotonic()
        start = since if from_trials else begun
        if kill_after_s is not None and start is not None and time.monotonic() - start >= kill_after_s:
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
        else:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.002)
    with (root / f"{run}.log").open("a") as file:
        file.write("attempt\\n")
    now = time.monotonic()
    return status, now - begun, now - (since or now), phase.read_text()

status, whole_s, searched_s, _ = attempt("whole", None, False)
assert status == 0
rng, kills, runs = random.Random(0), [], 0
while len(kills) < n_kills:
    run = f"killed{runs}"
    runs += 1
    (root / run).mkdir()
    (root / run / "pretrained.pt").write_bytes((root / "whole" / "pretrained.pt").read_bytes())
    status = signal.SIGKILL
    while status == signal.SIGKILL:
        from_trials = bool(rng.randrange(6))  # the others while costs are asked for, or at any time
        at_s = rng.uniform(0, searched_s if from_trials else whole_s) if len(kills) < n_kills else None
        status, _, _, phase = attempt(run, at_s, from_trials)
        if status == signal.SIGKILL:
            kills.append((round(at_s, 2), phase))
    assert status == 0, status
print(json.dumps({"whole_s": whole_s, "searched_s": searched_s, "kills": kills, "runs": runs}))
"""


def outcome(run: Path) -> dict[str, Any]:
    """What a search says in the end, but not when and how long."""
    found = json.loads((run / "policy.json").read_text())
    return {k: v for k, v in found.items() if k != "made_by"}


def essence(run: Path) -> list[tuple[object, ...]]:
    trials = TrialStore(run / "trials.db", "tfc-pynq-z2").trials()
    return [(t.number, t.policy, t.estimate, t.accuracy, t.reward, t.seed, t.n_told) for t in trials]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_real_search_killed_at_random_moments_ends_as_one_that_never_was(tmp_path: Path, pretrained_file: Path) -> None:  # noqa: F811
    (tmp_path / "whole").mkdir()
    shutil.copy(pretrained_file, tmp_path / "whole" / "pretrained.pt")
    command = [sys.executable, "-W", "ignore", "-c", ATTEMPTS, str(tmp_path), str(N_KILLS), str(N_TRIALS), str(N_FINALISTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{len(told['kills'])} kills in {told['runs']} runs; uninterrupted it takes {told['whole_s']:.1f} s, "
        f"{told['searched_s']:.1f} s of them after the tables of costs"
    )
    for at_s, phase in told["kills"]:
        print(f"  after {at_s:5.2f} s: {phase}")
    assert len(told["kills"]) >= 20
    whole = tmp_path / "whole"
    assert len(essence(whole)) == N_TRIALS
    for number in range(told["runs"]):
        run = tmp_path / f"killed{number}"
        assert essence(run) == essence(whole)
        assert outcome(run) == outcome(whole)
        ours, theirs = (torch.load(r / "weights.pt", weights_only=True)["state"] for r in (run, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert (run / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()
        log = (tmp_path / f"killed{number}.log").read_text().splitlines()
        kept = {f"trial {t.policy.digest}" for t in TrialStore(run / "trials.db", "tfc-pynq-z2").trials()}
        # the uniform policies that a finished search is compared with are no trials, and are evaluated by every attempt
        assert nothing_again([line for line in log if not line.startswith("trial ") or line in kept])


def nothing_again(lines: list[str]) -> bool:
    """Whether nothing was evaluated again but what an attempt was at when it was killed, which is the last that it says."""
    finished: set[str] = set()
    this: list[str] = []
    for line in lines:
        if line == "attempt":
            finished |= set(this[:-1])
            this = []
        elif line in finished or line in this:
            return False
        else:
            this.append(line)
    return True
