"""All that is known of a run, read for people to look at: `RunView`. Nothing here runs a network or writes a file."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boards.board import Board, Resources, difference
from boards.measurement import Measurement, Simulation, Synthesis
from boards.measurements import Measurements
from boards.registry import get_board
from flow.constraint import Constraint
from flow.errors import RunDirectoryError
from flow.report import command
from flow.run_directory import IDENTITY_FILE, RunDirectory
from flow.store import Elsewhere
from flow.trial import Trial
from flow.watch.policy_document import PolicyDocument, read_document
from flow.watch.trials_file import read_trials
from hls.types import Estimate
from models.policy import BitPolicy

Record = Measurement | Synthesis | Simulation


@dataclass(frozen=True)
class LayerView:
    """One layer under the best policy.

    Attributes:
        name: as in the policy.
        weight_bits, act_bits: of the policy; None for an activation that the layer does not have.
        n_params, n_macs: None in runs of a bitloop that did not write them down.
        unit: what it is built as.
        pe, simd: of its matrix unit.
        cycles: a frame, of its slowest node, estimated.
        resources: of its nodes with their corrections, estimated, before any calibration.
    """

    name: str
    weight_bits: int
    act_bits: int | None
    n_params: int | None
    n_macs: int | None
    unit: str
    pe: int
    simd: int
    cycles: int
    resources: Resources


@dataclass(frozen=True)
class RunView:
    """A run.

    Attributes:
        path: its directory.
        identity: what it was begun with (`run.json`).
        document: its `policy.json`.
        command: that made it.
        policy: the best one.
        estimate: of that; after the final retraining FINN's own of the exported network.
        constraint: what it keeps to.
        searches: searcher to its trials, in the order of evaluation.
        layers: in the order of the data.
        records: what was measured, simulated or synthesised of the best policy, the oldest first.
    """

    path: Path
    identity: dict[str, Any]
    document: PolicyDocument
    command: str
    policy: BitPolicy
    estimate: Estimate
    constraint: Constraint
    searches: dict[str, list[Trial]]
    layers: tuple[LayerView, ...]
    records: tuple[Record, ...]

    @property
    def board(self) -> Board:
        """The board it was searched for."""
        return self.constraint.board

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.document.model} on {self.board.title}, {self.document.dataset}"

    @property
    def trials(self) -> list[Trial]:
        """The trials of all searchers."""
        return [t for trials in self.searches.values() for t in trials]

    @property
    def best(self) -> Trial | None:
        """The trial of the best policy; None where it is not in `trials.db` (any more)."""
        return next((t for t in self.trials if t.policy == self.policy), None)

    @property
    def mean_weight_bits(self) -> float | None:
        """Every weight counted once; None where the run does not say how many there are."""
        if any(layer.n_params is None for layer in self.layers):
            return None
        n_params = sum(layer.n_params or 0 for layer in self.layers)
        return sum(layer.weight_bits * (layer.n_params or 0) for layer in self.layers) / n_params

    @property
    def slowest(self) -> LayerView:
        """The layer that limits the frame rate."""
        return max(self.layers, key=lambda layer: layer.cycles)

    @property
    def around(self) -> Resources:
        """What is used around the layers, before any calibration: DMA engines, the processing system's shell."""
        of_layers = sum((layer.resources for layer in self.layers), Resources())
        return difference(self.estimate.uncalibrated.resources, of_layers)


def read_run(path: Path, measurements: Path | None = None) -> RunView:
    """Read a run that has one trial or more, also while its search goes on.

    Args:
        path: its directory.
        measurements: a file of measurements; None, or one that is not there, for none.

    Raises:
        RunDirectoryError: there is no run, no trial yet, or a file in it that cannot be read.
        StoreError, MeasurementsError: `trials.db` or the measurements cannot be read.
        UnknownBoardError, BoardFileError: its board is not known (any more).
    """
    if not (path / IDENTITY_FILE).is_file():
        raise RunDirectoryError(f"RUN={path} holds no run; make search begins one")
    identity = RunDirectory(path).identity
    file = path / "policy.json"
    document = read_document(file)
    searches = _by_searcher(read_trials(path / "trials.db"), str(identity.get("SEARCHER", "")))
    if not searches:
        raise RunDirectoryError(f"RUN={path} holds no trial yet; make search writes one")
    board = get_board(document.board)
    try:
        policy = BitPolicy.from_dict(document.policy)
        estimate = Estimate.from_dict(document.estimate)
        return RunView(
            path=path,
            identity=identity,
            document=document,
            command=f"{command(document.run, document.final_images, document.n_trials)} RUN={shlex.quote(str(path))}",
            policy=policy,
            estimate=estimate,
            constraint=Constraint(board, document.constraint.min_fps, document.constraint.max_utilisation),
            searches=searches,
            layers=_layers(document, policy, estimate),
            records=_records(measurements, board, policy, document.model),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(
            f"{file} is not as bitloop writes it ({type(error).__name__}: {error}); search again with this bitloop"
        ) from error


def _by_searcher(studies: dict[str, list[Trial]], searcher: str) -> dict[str, list[Trial]]:
    """The run's own searcher by its name; studies that others put into the same file by theirs.

    Trials that runs of a shared study did are theirs, with the numbers that they have there; but those that this run asked for,
    too, are its own.
    """
    if len(studies) != 1 or not searcher:
        return studies
    (trials,) = studies.values()
    own = [t for t in trials if not isinstance(t, Elsewhere)]
    found, policies = {searcher: own}, {t.policy for t in own}
    for t in trials:
        if isinstance(t, Elsewhere) and t.policy not in policies:
            found.setdefault(f"{t.searcher} of {t.run}", []).append(replace(t, number=t.number_there))
    return {name: of for name, of in found.items() if of}


def _layers(document: PolicyDocument, policy: BitPolicy, estimate: Estimate) -> tuple[LayerView, ...]:
    facts = {f.name: f for f in document.layers}
    unit = {n.layer: n.folding for n in estimate.nodes if n.op_type.startswith(("MVAU", "VVAU"))}
    cycles, used = estimate.cycles_per_layer(), estimate.resources_per_layer()
    return tuple(
        LayerView(
            name=name,
            weight_bits=bits.weight,
            act_bits=bits.act,
            n_params=facts[name].parameters if name in facts else None,
            n_macs=facts[name].macs if name in facts else None,
            unit=document.implementations[name],
            pe=int(unit[name]["PE"]),
            simd=int(unit[name]["SIMD"]),
            cycles=cycles[name],
            resources=used[name],
        )
        for name, bits in policy.items()
    )


def _records(file: Path | None, board: Board, policy: BitPolicy, model: str) -> tuple[Record, ...]:
    """What is kept of this policy of this network on this board."""
    if file is None or not file.is_file():
        return ()
    kept = (k.record for k in Measurements(file).records(board=board.name))
    return tuple(r for r in kept if (r.policy_digest, r.design.model) == (policy.digest, model))
