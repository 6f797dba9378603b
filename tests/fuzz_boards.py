"""What comes from boards and what says how to reach and measure them, to be damaged: packages, answers, records, options."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from boards.answers import SO_FAR, answer_of, design_of, facts_of, measured_before, measurement_of
from boards.bitfile import read_bit_header
from boards.board import Board
from boards.measurements import Measurements
from boards.package import MANIFEST, Manifest, Package, read_package
from boards.readiness import readiness
from boards.registry import get_board
from boards.simulated_board.board import BoardError as SimulatedBoardError
from boards.simulated_board.board import Fpga, read_board
from boards.simulated_options import is_simulated, parse_options
from boards.ssh_connection import parse_address
from boards.ssh_host_keys import KnownHosts
from boards.transport import Completed
from flow.build_synthesis import _read as read_synthesis
from flow.cli_options import settings_of
from flow.errors import BITLOOP_ERRORS
from flow.hosts import effort_of
from hls.calibrate import Calibration, learn
from hls.handover.progress import sha256
from tests import made_packages
from tests.flow_fakes import estimate_of
from tests.fuzz_documents import mutate_database, written
from tests.fuzz_mutations import (
    WRONG,
    Target,
    mutate_bytes,
    mutate_document,
    mutate_json,
    mutate_lines,
    mutate_text,
    to_json,
    to_toml,
)
from tests.made_measurements import made_design, made_measurement, made_synthesis


def _board(folder: Path) -> Path:
    board = {key: value for key, value in asdict(get_board("pynq-z2")).items() if value is not None}
    return written(folder, "my-board.toml", to_toml({**board, "name": "my-board", "capacity": {**board["capacity"]}}))


BOARD_TABLE = {
    "name": "my-board", "title": "My board", "fpga_part": "xc7z020clg400-1", "family": "zynq-7000", "clock_mhz": 100.0,
    "host_port_bits": 64, "finn_name": "Pynq-Z2", "capacity": {"lut": 53_200, "ff": 106_400, "bram18": 280, "dsp": 220},
}  # fmt: skip


def _mutate_board(rng: random.Random, data: bytes) -> bytes:
    if rng.randrange(3) == 0:
        return mutate_bytes(rng, data)
    return to_toml(mutate_document(rng, BOARD_TABLE)).encode("utf-8", "surrogatepass")


def _read_board(path: Path) -> object:
    found = get_board(str(path))
    assert isinstance(found, Board)
    assert 10 <= found.clock_mhz <= 400
    return found


def _manifest(folder: Path) -> Path:
    return made_packages.made_package(folder).path / MANIFEST


def _in_package(name: str) -> Callable[[Path], Path]:
    return lambda folder: made_packages.made_package(folder).path / name


def _inside(path: Path) -> object:
    found = read_package(path.parent)
    for name in (*found.manifest.files, found.manifest.bitfile, found.manifest.design):
        assert (found.path / name).resolve().is_relative_to(found.path.resolve())
    design_of(found)
    return found


def _resealed(path: Path) -> object:
    """The package as if it had been made of the damaged file."""
    manifest = path.parent / MANIFEST
    told = Manifest.model_validate_json(manifest.read_text())
    whole = told.model_copy(update={"files": {**told.files, path.name: sha256(path)}})
    manifest.write_text(whole.model_dump_json())
    return design_of(read_package(path.parent))


ABOUT = Package(Path("package"), made_packages.manifest(), "0" * 64)
ANSWER = {
    "schema_version": 2, "name": "made", "board": "pynq-z2", "package": "0" * 64, "image": None, "pynq": "3.0.1",
    "python": "3.10.4",
    "driver": {"finn-plus-driver": "1.6.1"}, "clock_mhz": 99.999,
    "golden": {"n_images": 5, "n_wrong": 0, "largest_difference": 0.0, "first_wrong": None},
    "throughput": [{"batch_size": 1, "fps": 900.0, "median_ms": 1.1, "fastest_ms": 1.0}], "latency_ms": 1.1,
    "driver_report": {"fclk[mhz]": 100}, "counters": None, "counters_note": "", "power": None, "power_note": "no sensor",
    "test": None,
}  # fmt: skip
FACTS = {
    "schema_version": 2, "image": "PynqLinux 3.0", "python": "3.10.4", "pynq": "3.0.1", "numpy": "1.21.5", "board": "Pynq-Z2",
    "root": True, "fpga": "free", "card_free_bytes": 5 << 30, "memory_free_bytes": 300 << 20, "cma_free_bytes": 100 << 20,
    "problems": [],
}  # fmt: skip


def _answer(folder: Path) -> Path:
    written(folder, "design.json", made_measurement().design.model_dump_json())
    return written(folder, "answer.json", json.dumps(ANSWER))


def _read_answer(path: Path) -> object:
    done = Completed(0, path.read_bytes().decode(errors="replace"), "")
    about = replace(ABOUT, path=path.parent)
    measured_before(done, about, "xilinx@board", False)
    measured_before(Completed(2, f'{{"measured": {done.output}}}', SO_FAR + done.output), about, "xilinx@board", False)
    found = measurement_of(answer_of(done, "xilinx@board"), about, "xilinx@board", False)
    assert json.loads(found.model_dump_json())["package"] == ABOUT.sha256
    return found


def _read_facts(path: Path) -> object:
    return readiness(facts_of(Completed(0, path.read_bytes().decode(errors="replace"), ""), "xilinx@board"), False)


def _read_host(path: Path) -> object:
    host = path.read_bytes().decode(errors="replace").strip("\r\n")
    return parse_options(host) if is_simulated(host) else parse_address(host)


def _known_hosts(folder: Path) -> Path:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    lines = f"192.168.2.99 ssh-ed25519 {key}\n@revoked * ssh-ed25519 {key}\n# a remark\n|1|abc=|def= ssh-ed25519 {key} me\n"
    return written(folder, "known_hosts", lines)


# --- settings, records


def _read_settings(path: Path) -> object:
    """The options of a search, as the command line hands them on."""
    told = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    given = {name: value for name, value in told.items() if name in IDENTITY_OPTIONS}
    settings = settings_of(**given)
    settings.check()
    return settings


IDENTITY_OPTIONS = {
    "model": "tfc", "board": "pynq-z2", "dataset": "digits", "searcher": "ddpg", "device": "cpu", "calibration": "auto"
}  # fmt: skip


def _mutate_options(rng: random.Random, data: bytes) -> bytes:
    """Texts stay texts: Typer has seen to that."""
    told = dict(json.loads(data))
    texts = [value for value in WRONG if type(value) is str]
    told[rng.choice(list(told))] = rng.choice(
        [*texts, "./", "~", "x.py:f", "nowhere/x.toml", "\0/x.toml", "a" * 300, "cuda:9" * 99]
    )
    return to_json(told).encode()


def _effort(path: Path) -> object:
    return effort_of(path.read_bytes().decode(errors="replace"), 3, 10.0)


def _export(folder: Path) -> Path:
    records = [made_measurement(), made_synthesis(), made_measurement(at=datetime(2026, 2, 2, tzinfo=UTC))]
    return written(folder, "export.jsonl", "".join(record.model_dump_json() + "\n" for record in records))


def _take_in(path: Path) -> object:
    store = Measurements(path.parent / "measurements.db")
    before = len(store.records())
    new, total = store.take_in(path)
    assert len(store.records()) == before + new
    assert new <= total
    return total


def _estimated(folder: Path) -> Path:
    """Records that a calibration is learned from: with the estimate of their policy."""
    design = made_design(estimate=estimate_of().to_dict())
    records = [made_measurement(design=design, simulated=False), made_synthesis(design=design)]
    return written(folder, "export.jsonl", "".join(record.model_dump_json() + "\n" for record in records))


def _learn(path: Path) -> object:
    """A calibration of what was imported: figures that nobody can compute with are refused, there or here."""
    database = path.parent / "measurements.db"
    database.unlink(missing_ok=True)
    store = Measurements(database)
    store.take_in(path)
    found = learn("pynq-z2", False, [kept.record for kept in store.records(board="pynq-z2")])
    assert Calibration.from_json(found.to_json(), "it") == found
    return found


def _measurements(folder: Path) -> Path:
    store = Measurements(folder / "measurements.db")
    store.add(made_measurement())
    store.add(made_synthesis())
    return store.path


def _synthesis(folder: Path) -> Path:
    return written(folder, "synthesis.jsonl", made_synthesis().model_dump_json() + "\n")


def _simulated_board(folder: Path) -> Path:
    told = {"board": "pynq-z2", "fpga_part": "xc7z020clg400-1", "family": "zynq-7000", "clock_mhz": 100.0}
    return written(folder, "board.json", json.dumps({**told, "truth": {"cycles_factor": 1.3}, "faults": {"stuck_dma": True}}))


def _fpga(folder: Path) -> Path:
    Fpga("x.bit", 3, 4).write(folder)
    return folder / "fpga.json"


DROP_TRIGGERS = "DROP TRIGGER records_stay_as_they_are;"

BOARDS = (
    Target("board file", _board, _read_board, _mutate_board, 400),
    Target("manifest", _manifest, _inside, mutate_json, 320),
    Target("bitfile", _in_package("made-0123.bit"), _resealed, mutate_bytes, 260),
    Target("bitfile's header", _in_package("made-0123.bit"), read_bit_header, mutate_bytes, 260),
    Target("design.json", _in_package("design.json"), _resealed, mutate_json, 200),
    Target("answer of a board", _answer, _read_answer, mutate_json, 320, is_named=False),
    Target("facts of a board", lambda f: written(f, "facts.json", json.dumps(FACTS)), _read_facts, mutate_json, 200,
           is_named=False),
    Target("HOST of a board", lambda f: written(f, "host", "xilinx@192.168.2.99:22"), _read_host, mutate_text, 200,
           is_named=False),
    Target("HOST of the simulated board", lambda f: written(f, "host",
           "simulated:cycles_factor=1.3,stuck_dma=4,old_pynq"), _read_host,
           mutate_text, 260, is_named=False),
    Target("known_hosts", _known_hosts, lambda p: KnownHosts(p, "192.168.2.99", 22, "ssh x"), mutate_text, 200),
    Target("options of a search", lambda f: written(f, "options.json", json.dumps(IDENTITY_OPTIONS)), _read_settings,
           _mutate_options, 130, (*BITLOOP_ERRORS, OSError), is_named=False),
    Target("BATCH_SIZES", lambda f: written(f, "sizes", "1,10,100"), _effort, mutate_text, 60, is_named=False),
    Target("synthesis.jsonl", _synthesis, read_synthesis, mutate_json, 200),
    Target("measurements, exported", _export, _take_in, mutate_lines, 320),
    Target("records of a calibration", _estimated, _learn, mutate_lines, 200, is_named=False),
    Target("measurements.db", _measurements, lambda p: Measurements(p).records(),
           mutate_database("records", "document", DROP_TRIGGERS), 320),
    Target("board.json of the simulated board", _simulated_board, lambda p: read_board(p.parent), mutate_json, 200,
           (SimulatedBoardError,)),
    Target("fpga.json of the simulated board", _fpga, lambda p: Fpga.read(p.parent), mutate_json, 130,
           (SimulatedBoardError,)),
)  # fmt: skip
"""What runs on the simulated board by itself has one error for its files."""
