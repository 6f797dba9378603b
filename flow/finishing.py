"""The end of a search: the best policy beside uniform ones, finally retrained, scored, exported, and written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flow.config import SearchSettings
from flow.evaluator import Evaluator
from flow.finalists import Finalist
from flow.handover import HandedOver, hand_over
from flow.objective import Objective
from flow.progress import Listener
from flow.report import Outcome, UniformResult, policy_document, summary
from flow.run_directory import RunDirectory, write_json, write_text
from hls.types import Estimate
from models.convergence import Converged, Effort
from models.data import Splits
from models.policy import BitPolicy

UNIFORM_BITS = (8, 4, 2)


def document_of(outcome: Outcome, objective: Objective, finalists: Sequence[Finalist] = ()) -> dict[str, Any]:
    """The content of `policy.json`, with what was sought and the policies that were retrained with other seeds."""
    return {
        **policy_document(outcome),
        "objective": {"goal": objective.goal, "min_accuracy": objective.min_accuracy},
        "finalists": [f.to_dict() for f in finalists],
    }


def chosen(objective: Objective, finalists: Sequence[Finalist]) -> str:
    """What `summary.md` says of how the answer was chosen."""
    lines = ["", "## How the answer was chosen", "", f"Sought was {objective.describe()}."]
    if finalists:
        lines += [
            "The trials that promised most were retrained again with other seeds; what they had in their own trial, which they "
            "were chosen for, does not count.",
            "",
            "| trial | policy | its own accuracy | with other seeds | mean |",
            "| --- | --- | --- | --- | --- |",
        ]
        for f in finalists:
            again = ", ".join(f"{found:.2%}" for found in f.accuracies.values())
            lines.append(
                f"| {f.trial.number} | {f.trial.policy.digest} | {f.trial.accuracy:.2%} | {again} | {f.accuracy:.2%} |"
            )
    return "\n".join([*lines, ""])


def _read(policy_file: Path) -> dict[str, Any]:
    """A `policy.json`; nothing where there is none that can be read."""
    try:
        document = json.loads(policy_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def holds(policy_file: Path, outcome: Outcome) -> bool:
    """Whether a `policy.json` is there and about this outcome's trial, or was written when there were as many trials."""
    document = _read(policy_file)
    n_trials = document.get("n_trials")
    return document.get("trial") == outcome.best.number or (isinstance(n_trials, int) and n_trials >= outcome.n_trials)


def uniform_results(evaluator: Evaluator, listener: Listener) -> tuple[UniformResult, ...]:
    """Uniform policies, scored as a whole trial is."""
    results = []
    for i, bits in enumerate(UNIFORM_BITS):
        score = evaluator.score(BitPolicy.uniform(evaluator.specs, bits, bits), whole=True)
        results.append(UniformResult(bits, score.accuracy, score.estimate))
        if score.failure:
            listener.note(f"{bits} bits everywhere count as 0: {score.failure}")
        listener.advance("uniform policies", i + 1, len(UNIFORM_BITS), f"{bits} bits: {score.accuracy:.2%}")
    return tuple(results)


def finish(
    settings: SearchSettings, run: RunDirectory, splits: Splits, evaluator: Evaluator, found: Outcome,
    finalists: Sequence[Finalist], listener: Listener,
) -> Outcome:  # fmt: skip
    """Compare the best policy with uniform ones, retrain, score, export and estimate it, and write it all down.

    Where all that was done, by an earlier call with the same best trial, it is not done again.
    """
    done = _finished(settings, run, found)
    if done is not None:
        listener.note(f"nothing is left to do: {run / 'policy.json'} is of this trial, and finally retrained")
        return done
    uniform = uniform_results(evaluator, listener)
    policy = found.best.policy
    effort = evaluator.final_effort(settings.final_images)
    left, _ = retrained(run, splits, evaluator, policy, effort, "final retraining", listener)
    done = replace(
        found,
        estimate=left.estimate,
        search_accuracy=left.search_accuracy,
        test_accuracy=left.test_accuracy,
        uniform=uniform,
    )
    if found.constraint.violation(done.estimate) > 0:
        listener.note(
            f"retrained, {policy} no longer keeps to the constraint ({found.constraint.describe(done.estimate)}): its weights "
            "need larger accumulators; search again with a lower MAX_UTIL"
        )
    write_json(run / "policy.json", document_of(done, settings.sought, finalists))
    write_text(run / "summary.md", summary(done) + chosen(settings.sought, finalists))
    checkpoint_of(run, policy).unlink(missing_ok=True)
    return done


def _finished(settings: SearchSettings, run: RunDirectory, found: Outcome) -> Outcome | None:
    """What an earlier call left of the same search, if it came to its end."""
    left = ("summary.md", "model.onnx", "golden.npz", "weights.pt")
    document = _read(run / "policy.json")
    if document.get("trial") != found.best.number or not all((run / name).is_file() for name in left):
        return None
    try:
        wanted = (found.best.policy.digest, found.n_trials, settings.final_images)
        if (document["policy_digest"], document["n_trials"], document["final_images"]) != wanted:
            return None
        scores, estimate = document["accuracy"], Estimate.from_dict(document["estimate"])
        if scores["final_test"] is None:
            return None
        search_accuracy, test_accuracy = float(scores["final_search"]), float(scores["final_test"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return replace(found, estimate=estimate, search_accuracy=search_accuracy, test_accuracy=test_accuracy)


def checkpoint_of(run: RunDirectory, policy: BitPolicy) -> Path:
    """Where the retraining of a policy is gone on from; it is of no more use when all results are written."""
    return run / f"retraining-{policy.digest}.pt"


def retrained(
    run: RunDirectory, splits: Splits, evaluator: Evaluator, policy: BitPolicy, effort: Effort, work: str, listener: Listener
) -> tuple[HandedOver, Converged]:
    """Retrain a policy, or go on with it, and write what it leaves; `work` is what the listener is told of."""
    network, ended = evaluator.retrain(
        policy, effort, checkpoint_of(run, policy), lambda done, total, detail: listener.advance(work, done, total, detail)
    )
    return hand_over(run, splits, evaluator, policy, network), ended
