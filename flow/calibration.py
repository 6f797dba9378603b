"""Calibrations as files: which one a search takes, and what `bitloop calibrate` makes and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from boards.measurement import Measurement
from boards.measurements import Measurements
from flow.errors import CalibrationError, RunDirectoryError
from flow.run_directory import write_text
from hls.calibrate import QUANTITIES, RTL, Calibration, Observation, learn, observations, that_count
from models.policy import BitPolicy

FOLDER = Path("calibration")
OF_A_RUN = "calibration.json"
AUTO, NONE = "auto", "none"


def default_path(board: str, simulated: bool = False) -> Path:
    """Where the calibration of a board is: `calibration/<board>.json`, of the simulated one `…-simulated.json`."""
    return FOLDER / f"{board}{'-simulated' if simulated else ''}.json"


def read_calibration(path: Path, board: str) -> Calibration:
    """A calibration from its file.

    Raises:
        CalibrationError: there is none, or it is of another board.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"CALIBRATION={path} cannot be read ({error}); make calibrate makes one") from error
    found = Calibration.from_json(text, str(path))
    if found.board != board:
        raise CalibrationError(f"CALIBRATION={path} is of a {found.board}, not of a {board}; say CALIBRATION=none, or another")
    return found


def calibration_for(told: str, board: str, run: Path, has_begun: bool) -> Calibration | None:
    """The calibration of a search.

    A run keeps the one it began with, beside its trials: a newer one is for a new run.

    Args:
        told: "auto" for the board's own if there is one, "none", or a path.
        board: name of the board.
        run: directory of the run.
        has_begun: whether the run has.

    Raises:
        CalibrationError: the file is not there, none, or of another board.
        RunDirectoryError: the run began with another one.
    """
    kept = run / OF_A_RUN
    if not has_begun:
        if told == AUTO:
            path = default_path(board)
            return read_calibration(path, board) if path.exists() else None
        return None if told == NONE else read_calibration(Path(told), board)
    began = read_calibration(kept, board) if kept.exists() else None
    if told != AUTO:
        wanted = None if told == NONE else read_calibration(Path(told), board)
        if wanted != began:
            raise RunDirectoryError(
                f"{run} began with calibration {began.digest if began else NONE}, CALIBRATION={told} is another one; name "
                "another RUN"
            )
    return began


def is_newer(board: str, began: Calibration | None) -> bool:
    """Whether a board has a calibration that a run did not begin with."""
    path = default_path(board)
    return path.exists() and (began is None or (not began.simulated and read_calibration(path, board) != began))


def calibration_document(calibration: Calibration, policy: BitPolicy) -> dict[str, Any]:
    """What `policy.json` says of the calibration it was found with."""
    return {
        "digest": calibration.digest,
        "simulated": calibration.simulated,
        "records": calibration.n_records,
        "factors": calibration.of(policy),
        "learned_from": {name: source for name, (_, source) in calibration.taken.items()},
        "outside": calibration.outside(policy),
    }


@dataclass(frozen=True)
class Calibrated:
    """A calibration that was made, where it is, and the observations it was learned from."""

    calibration: Calibration
    path: Path
    observations: Sequence[Observation]


def calibrate(measurements: Measurements, board: str, host: str | None, out: Path | None = None) -> Calibrated:
    """Learn a board's calibration from its records and write it.

    Args:
        measurements: all that was kept.
        board: its name.
        host: a simulated board as given to HOST, whose own records alone are taken: another one may be slower. None for all
            real boards of this name, Vivado, and simulations of RTL; records of the simulated board are never mixed with those.
        out: file to write; None for `default_path`.

    Raises:
        CalibrationError: nothing was measured that could be learned from.
    """
    simulated = host is not None
    records = [kept.record for kept in measurements.records(board=board, simulated=simulated)]
    if simulated:
        records = [r for r in records if isinstance(r, Measurement) and r.host == host]
    else:
        records += [kept.record for kept in measurements.records(board=board, kind="simulation")]
    records = that_count(records)
    found = learn(board, simulated, records)
    path = out or default_path(board, simulated)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, found.to_json())
    return Calibrated(found, path, [o for record in records for o in observations(record)])


def gap_table(made: Calibrated) -> Table:
    """Every design, quantity by quantity: estimated, simulated as RTL, found by a board or Vivado, and what is left."""
    which = "simulated " if made.calibration.simulated else ""  # at every figure: a table is quoted row by row
    title = f"{which}{made.calibration.board}: estimate, RTL simulation, {which}board"
    table = Table(box=SIMPLE, title=title, title_justify="left")
    for head in ("design", "quantity"):
        table.add_column(head)
    for head in ("estimated", "RTL simulation", f"{which}board or synthesis", "found / estimated", "calibrated", "left"):
        table.add_column(head, justify="right")
    taken = made.calibration.taken
    for (_, plan, quantity), found in sorted(_gaps(made.observations).items()):
        name = QUANTITIES[quantity]
        of = next(iter(found.values()))[0]
        best = found[next((source for source in found if source != RTL), RTL)][-1]  # what stands nearest to the truth
        calibrated = of.estimated * taken[name][0].of(of.features)
        real = next((f"{o[-1].found:,.0f} ({which}{source})" for source, o in found.items() if source != RTL), "–")
        table.add_row(
            f"{of.name} {plan[:8]}", name.replace("_", " "), f"{of.estimated:,.0f}",
            f"{found[RTL][-1].found:,.0f}" if RTL in found else "–", real, f"{best.found / best.estimated:.3f}",
            f"{calibrated:,.0f}", f"{best.found / calibrated - 1:+.1%}",
        )  # fmt: skip
    return table


def _gaps(observed: Sequence[Observation]) -> dict[tuple[str, str, int], dict[str, list[Observation]]]:
    """Name, plan and place of a quantity to what said something of it, source by source, the last one behind."""
    found: dict[tuple[str, str, int], dict[str, list[Observation]]] = {}
    for o in observed:
        place = QUANTITIES.index(o.quantity.removeprefix("rtl_"))
        found.setdefault((o.name, o.design, place), {}).setdefault(o.source, []).append(o)
    return found


def factor_table(calibration: Calibration) -> Table:
    """The factors, from how many designs, and how far predictions for designs that were held out were off."""
    table = Table(box=SIMPLE, title=f"calibration {calibration.digest}", title_justify="left")
    table.add_column("quantity")
    for head in ("designs", "factor", "least to most", "error before", "error after, held out", "margin"):
        table.add_column(head, justify="right")
    table.add_column("depends on")
    table.add_column("taken")
    corrects = [factor for factor, _ in calibration.taken.values()]
    for name, factor in calibration.factors.items():
        table.add_row(
            name.replace("_", " ").replace("rtl", "RTL"), str(factor.n_designs), f"{factor.ratio:.3f}",
            f"{factor.least:.3f} to {factor.most:.3f}",
            f"{factor.error_before:.1%}", "one design: unknown" if factor.error is None else f"{factor.error:.1%}",
            f"{factor.margin:.1%}",
            ", ".join(n.replace("_", " ") for n in factor.coefficients if n != "constant") or "–",
            "yes" if any(factor is c for c in corrects) else "no: a board was measured",
        )  # fmt: skip
    return table
