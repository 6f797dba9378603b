"""Options that more than one command has, and the settings they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flow.config import SearchSettings

Model = Annotated[str, typer.Option(help="cnv, tfc, … (README), or your own as path/to/file.py:function")]
BoardName = Annotated[str, typer.Option(help="pynq-z2 or another board's name, or your own as a path to a TOML file")]
Dataset = Annotated[
    str,
    typer.Option(
        help="cifar10, mnist, fashion_mnist, digits; your own as a path to an image folder or .npz; "
        "auto: the model's own, else digits"
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="where <name>.npz files are; $DATA_DIR, else data")]
Seed = Annotated[int, typer.Option(help="of everything random")]
MaxUtil = Annotated[float | None, typer.Option(help="share of each resource that may be used, 0.85 unless given")]
TopK = Annotated[
    int | None, typer.Option(help="numbers of the best classes that the accelerator hands on, 1 where it can; 0: the logits")
]
Run = Annotated[Path, typer.Option(help="directory of a run that make search has finished")]
Device = Annotated[str, typer.Option(help="for training: auto (the GPU where there is one), cpu, cuda or cuda:<n>")]
Threads = Annotated[int | None, typer.Option(help="for training; the processors at hand unless given")]
Measurements = Annotated[Path, typer.Option(help="where measurements are kept, an SQLite file")]
Host = Annotated[
    str,
    typer.Option(
        help="user@address[:port] of a board with a PYNQ image, or simulated[:fault,…], the default (docs/measuring.md)"
    ),
]
Halving = Annotated[bool, typer.Option(help="stop the retraining of policies that do badly early")]
Finalists = Annotated[
    int | None, typer.Option(help="policies retrained with other seeds in the end, 4 unless given; 1: the best trial it is")
]
Workers = Annotated[int | None, typer.Option(help="processes that evaluate trials side by side, on Ray")]
RayAddress = Annotated[str | None, typer.Option(help="of a Ray cluster, host:port or auto; this machine unless given")]
Calibration = Annotated[
    str, typer.Option(help="auto: what make calibrate left for the board, where there is one; none; or a path")
]
MEASUREMENTS = Path("measurements.db")


def settings_of(**given: object) -> SearchSettings:
    """The settings of what was given; what was not (None) has its default."""
    from flow.config import SearchSettings

    return SearchSettings.model_validate({name: value for name, value in given.items() if value is not None})
