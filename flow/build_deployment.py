"""From what Vivado built to a deployment package; and to one for the simulated board without Vivado."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boards.on_device
from boards import package
from boards.bitfile import check_part, read_bit_header
from boards.driver_bundle import collect_driver
from boards.measurement import Design
from boards.package import BoardFacts, Manifest, Package, read_package, write_package
from flow.build_check import ANSWERS, write_board_golden
from flow.build_directory import BuildDirectory
from flow.build_source import BuildSource
from flow.errors import PackageError
from hls.finn_build import Checkpoint, Stream
from hls.handover.build import BITFILE, CHECKPOINT, HARDWARE, RESULTS, SETTINGS
from hls.handover.progress import sha256
from hls.simulated_build import simulate_bitfile
from models.files import read_json

FOLDER, SIMULATED = "package", "simulated-package"
SIMULATED_BY = f"bitloop {version('bitloop')}, no Vivado"
DESIGN = "design.json"


def write_deployment(
    directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint, document: Mapping[str, Any]
) -> Package:
    """Make the deployment package of a finished build.

    Args:
        directory: of the build, with its results.
        source: what was built.
        checkpoint: what it was built from.
        document: the content of `results.json`.

    Raises:
        PackageError: a file is missing, the bitfile is for another part, the driver's settings are for another network, or the
            driver is not installed.
    """
    results = directory / RESULTS
    listed: Mapping[str, str] = document["files"]
    for name in (BITFILE, HARDWARE, SETTINGS):
        if name not in listed or not (results / name).is_file():
            raise PackageError(f"{results} has no {name}, without which no board runs it; copy results/ again, or build again")
    bit, hwh, settings = results / BITFILE, results / HARDWARE, results / SETTINGS
    check_part(read_bit_header(bit), source.board.fpga_part)
    _check_settings(settings, checkpoint)
    # nothing else that lay there: it would run on the board as root
    weights = {
        name.removeprefix("driver/"): results / name for name in listed if name.startswith("driver/runtime_weights/")
    }  # fmt: skip
    made_by = f"Vivado {document['tools']['version']}"
    return _write(directory, source, checkpoint, directory / FOLDER, (bit, hwh, settings), weights, made_by)


def write_simulated(directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint) -> Package:
    """Make a package for the simulated board of a build that has its checkpoint; no Vivado.

    The one that is there is given if it was made of this plan by this bitloop.

    Raises:
        GraphError: there is a node that cannot be simulated.
        PackageError: the driver is not installed.
    """
    folder = directory / SIMULATED
    with contextlib.suppress(PackageError):
        there = read_package(folder)
        by = (there.manifest.plan, there.manifest.tools, there.manifest.files["on_device.py"])
        if by == (directory.plan.digest, SIMULATED_BY, sha256(Path(boards.on_device.__file__))):
            return there
    with tempfile.TemporaryDirectory(prefix="bitloop-simulated-") as made:
        found = simulate_bitfile(
            directory / CHECKPOINT, source.board, directory.plan.name, Path(made), directory.plan.instrumented
        )
        files = (found.bit, found.hwh, found.settings)
        return _write(directory, source, checkpoint, folder, files, {}, SIMULATED_BY, simulated=True)


def _write(
    directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint, target: Path, built: tuple[Path, Path, Path],
    weights: Mapping[str, Path], made_by: str, simulated: bool = False,
) -> Package:  # fmt: skip
    """Write a package of bitfile, hardware description and settings, with what else belongs in it."""
    bit, hwh, settings = built
    driver = collect_driver(version("finn-plus"))
    stem = f"{directory.plan.name}-{sha256(bit)[:12]}"  # another name for another bitfile: pynq remembers what a name was
    files = {
        f"{stem}.bit": bit, f"{stem}.hwh": hwh, "settings.json": settings,
        "on_device.py": Path(boards.on_device.__file__), **driver.files,
    }  # fmt: skip
    for name, weight in weights.items():
        if name in files:
            raise PackageError(f"{weight} and {files[name]} would both be {name} of the package; build again")
        files[name] = weight
    n_golden = 0
    with tempfile.TemporaryDirectory(prefix="bitloop-package-") as folder:
        if (directory / ANSWERS).exists():
            files["golden.npz"] = Path(folder) / "golden.npz"
            n_golden = write_board_golden(directory / ANSWERS, checkpoint.reads, checkpoint.hands_on, files["golden.npz"])
        files[DESIGN] = Path(folder) / DESIGN
        design = design_of(source, checkpoint, directory.plan.instrumented)
        files[DESIGN].write_text(design.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if not n_golden:  # every image had best classes that are equally good
            files.pop("golden.npz", None)
        manifest = Manifest(
            name=directory.plan.name,
            simulated=simulated,
            board=BoardFacts(
                name=source.board.name, title=source.board.title, fpga_part=source.board.fpga_part, family=source.board.family
            ),
            clock_mhz=source.board.clock_mhz,
            bitfile=f"{stem}.bit",
            hwh=f"{stem}.hwh",
            settings="settings.json",
            design=DESIGN,
            golden="golden.npz" if n_golden else None,
            plan=directory.plan.digest,
            policy=directory.plan.policy_digest,
            reads=_stream(checkpoint.reads),
            hands_on=_stream(checkpoint.hands_on),
            n_golden=n_golden,
            driver=dict(driver.versions),
            tools=made_by,
        )
        return write_package(target, manifest, files)


def design_of(source: BuildSource, checkpoint: Checkpoint, instrumented: bool) -> Design:
    """What a package says of its design, so that a measurement of it can be held against the estimate wherever it is made."""
    return Design(
        model=source.model,
        policy={layer.name: {"weight": layer.weight, "act": layer.act} for layer in source.layers} or None,
        folding={node.node: dict(node.folding) for node in checkpoint.nodes},
        estimate=source.estimate.to_dict() if source.estimate else None,
        cycles={node.node: node.cycles for node in checkpoint.nodes},
        instrumented=instrumented,
    )


def _stream(of: Stream) -> package.Stream:
    return package.Stream(shape=of.shape, datatype=of.datatype)


def _check_settings(path: Path, checkpoint: Checkpoint) -> None:
    """Look whether FINN's settings for the driver are those of the checkpoint.

    Raises:
        PackageError: they are not.
    """
    try:
        told = read_json(path)["driver_information"]["io_shape_dict"]
        pairs = [
            (told["ishape_normal"], [list(checkpoint.reads.shape)]), (told["oshape_normal"], [list(checkpoint.hands_on.shape)]),
            (told["idt"], [f"DataType['{checkpoint.reads.datatype}']"]),
            (told["odt"], [f"DataType['{checkpoint.hands_on.datatype}']"]),
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackageError(f"{path} holds no settings of a driver ({error}); build again") from error
    for given, wanted in pairs:
        if given != wanted:
            raise PackageError(f"{path} is for another network: it says {given} where {wanted} was built; build again")
