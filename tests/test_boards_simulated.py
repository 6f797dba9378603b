"""HOST=simulated…, and the simulated board's shell and card; what runs there is an ordinary Python here."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import psutil
import pytest

from boards import simulated
from boards.errors import BoardError, BoardTimeoutError, ConnectionLostError, NoSpaceError, UnreachableError
from boards.pynq_z2 import PYNQ_Z2
from boards.simulated import SimulatedTransport
from boards.simulated_options import OPTIONS, Options, is_simulated, parse_options

PRINT = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))"


def transport(tmp_path: Path, host: str = "simulated", **changed: object) -> SimulatedTransport:
    told = {"state": tmp_path / "state", "board": PYNQ_Z2, "interpreter": Path(sys.executable), **changed}
    return SimulatedTransport(host, **told)  # type: ignore[arg-type]


# --- HOST


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("simulated", Options()),
        ("simulated:", Options()),
        (
            "simulated:cycles_factor=1.3,stuck_dma, full_card",
            Options(truth={"cycles_factor": 1.3}, faults={"stuck_dma": True, "full_card": 0}, way={"full_card": 0}),
        ),
        ("simulated:stuck_dma=7,wrong_output,reboot=3", Options(faults={"stuck_dma": 7, "wrong_output": 1}, way={"reboot": 3})),
        ("simulated:old_pynq,overhead_us=0", Options(truth={"overhead_us": 0.0}, faults={"old_pynq": "2.7.0"})),
    ],
)
def test_options_are_read(host: str, found: Options) -> None:
    assert is_simulated(host)
    assert parse_options(host) == found


@pytest.mark.parametrize("host", ["xilinx@192.168.2.99", "simulator", "me@simulated:22"])
def test_other_hosts_are_not_the_simulated_board(host: str) -> None:
    assert not is_simulated(host)
    with pytest.raises(BoardError, match="simulated, or simulated:name=value,name is wanted"):
        parse_options(host)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("cycle_factor=2", "'cycle_factor' is no option of the simulated board; did you mean cycles_factor? there are "),
        ("x", "'x' is no option of the simulated board; there are cycles_factor, "),
        ("cycles_factor", "cycles_factor is ''; a number above 0 is wanted"),
        ("cycles_factor=0", "cycles_factor is '0'; a number above 0 is wanted"),
        ("cycles_factor=nan", "cycles_factor is 'nan'; a number above 0 is wanted"),
        ("overhead_us=-1", "overhead_us is '-1'; a number of 0 or more is wanted"),
        ("busy=yes", "busy is 'yes'; nothing is wanted"),
        ("new_pynq=new", "new_pynq is 'new'; nothing, or a version is wanted"),
        ("reboot=0", "reboot is '0'; nothing, or the number of the run or copy that it happens in is wanted"),
        ("busy,busy", "busy comes twice; say it once"),
    ],
)
def test_options_that_do_not_do_are_refused(options: str, text: str) -> None:
    with pytest.raises(BoardError) as refused:
        parse_options(f"simulated:{options}")
    assert text in str(refused.value)
    assert str(refused.value).startswith(f"HOST=simulated:{options}: ")


def test_every_option_is_known_to_whom_it_is_for() -> None:
    from boards.simulated_board.board import Faults, Truth

    for about, kind in (("truth", Truth), ("faults", Faults)):
        known = {field.name for field in dataclasses.fields(kind)}
        assert {name for name, option in OPTIONS.items() if option.about == about} <= known
    assert {name for name, option in OPTIONS.items() if option.about == "way"} == {
        "unreachable", "drop_connection", "reboot", "full_card",
    }  # fmt: skip


# --- the board


def test_it_needs_no_ssh() -> None:
    look = "import sys, boards.pynq_runner, boards.simulated; sys.exit('paramiko' in sys.modules)"
    subprocess.run([sys.executable, "-c", look], check=True)


def test_it_tells_itself_what_it_is(tmp_path: Path) -> None:
    with transport(tmp_path, "simulated:cycles_factor=1.5,busy") as way:
        assert way.simulated
        assert way.address == "simulated:cycles_factor=1.5,busy"
    assert json.loads((tmp_path / "state" / "board.json").read_text()) == {
        "board": "pynq-z2", "fpga_part": "xc7z020clg400-1", "family": "zynq-7000", "clock_mhz": 100.0,
        "truth": {"cycles_factor": 1.5}, "faults": {"busy": True},
    }  # fmt: skip


def test_another_board_has_an_empty_fpga_and_the_same_card(tmp_path: Path) -> None:
    with transport(tmp_path):
        pass
    for name in ("fpga.json", "home/file"):
        (tmp_path / "state" / name).touch()
    with transport(tmp_path):
        assert (tmp_path / "state" / "fpga.json").exists()
    with transport(tmp_path, "simulated:busy"):
        assert not (tmp_path / "state" / "fpga.json").exists()
        assert (tmp_path / "state" / "home" / "file").exists()


def test_without_a_python_it_says_how_to_make_one(tmp_path: Path) -> None:
    with (
        pytest.raises(UnreachableError, match=r"has no Python at \S+; make it by: make simulated-board$"),
        transport(tmp_path, interpreter=tmp_path / "python"),
    ):
        pass


def test_it_can_be_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="told to be unreachable"), transport(tmp_path, "simulated:unreachable"):
        pass


def test_commands_run_in_its_home_and_know_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("SECRET", "x")
    with transport(tmp_path) as way:
        done = way.run(["python3", "-c", PRINT, "a b", "größe"], 20, root=True, python=True)
        arguments, place, environment = json.loads(done.output)
        assert arguments == ["a b", "größe"]
        assert place == environment["HOME"] == str(tmp_path / "state" / "home")
        assert environment["XILINX_XRT"] == "/usr"
        assert {"PYTHONPATH", "SECRET"}.isdisjoint(environment)
        assert way.run(["python3", "-c", "import sys; print('e', file=sys.stderr); sys.exit(3)"], 20).errors == "e\n"
        with pytest.raises(BoardError, match="has no program rm; the simulated board has python3 alone"):
            way.run(["rm", "-rf", "/"], 20)


def test_the_time_limit_ends_everything(tmp_path: Path) -> None:
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with transport(tmp_path) as way:
        with pytest.raises(BoardTimeoutError, match=r"^python3 did not end on simulated within 1 s, and was ended$"):
            way.run(["python3", "-c", f"{program}; time.sleep(600)"], 1)
        assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
        assert way.run(["python3", "-c", "print(1)"], 20).output == "1\n"


def test_endless_output_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MAX_OUTPUT", 1 << 20)
    with transport(tmp_path) as way, pytest.raises(BoardError, match="wrote more than 1 MiB"):
        way.run(["python3", "-c", "print('x' * (1 << 21))"], 20)


def test_what_was_said_before_the_connection_ended_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MIDDLE_S", 4.0)
    program = "import sys, time; print('said', file=sys.stderr, flush=True); time.sleep(600)"
    with transport(tmp_path, "simulated:drop_connection") as way:
        with pytest.raises(ConnectionLostError) as raised:
            way.run(["python3", "-c", program], 60)
        assert raised.value.errors == "said\n"
        with way, pytest.raises(BoardTimeoutError) as late:
            way.run(["python3", "-c", program], 4)
    assert late.value.errors.startswith("said\n")


@pytest.mark.parametrize("fault", ["drop_connection", "reboot"])
def test_the_connection_ends_in_the_middle_of_a_run(tmp_path: Path, fault: str) -> None:
    with transport(tmp_path, f"simulated:{fault}=2") as way:
        assert way.run(["python3", "-c", "pass"], 20).code == 0
        (tmp_path / "state" / "fpga.json").touch()
        with pytest.raises(ConnectionLostError, match=r"ended in the middle of python3; try again$"):
            way.run(["python3", "-c", "import time; time.sleep(600)"], 60)
        assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
        assert (tmp_path / "state" / "fpga.json").exists() == (fault == "drop_connection")
        with pytest.raises(ConnectionLostError, match="there is no connection"):
            way.run(["python3", "-c", "pass"], 20)
        with way:  # and is there again
            assert way.run(["python3", "-c", "pass"], 20).code == 0


def test_the_connection_ends_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(bytes(1000))
    target, home = PurePosixPath("x/y"), tmp_path / "state" / "home"
    with transport(tmp_path, "simulated:drop_connection") as way:
        with pytest.raises(ConnectionLostError, match="ended in the middle of copying x/y"):
            way.upload(source, target)
        assert [p.name for p in (home / "x" / ".y.part").iterdir()] == ["a"]
        with way:
            told: list[tuple[int, int]] = []
            way.upload(source, target, lambda done, total: told.append((done, total)))
    assert told == [(1000, 3000), (2000, 3000), (3000, 3000)]
    assert sorted(p.name for p in (home / "x" / "y").iterdir()) == list("abc")
    assert [p.name for p in (home / "x").iterdir()] == ["y"]


def test_a_full_card_and_one_with_room(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(500_000))
    with transport(tmp_path, "simulated:full_card=2500000") as way:
        for name in ("first", "first", "second"):  # the second time in the place of the other
            way.upload(source, PurePosixPath(name))
        with pytest.raises(NoSpaceError, match=r"^the card of \S+ has 1\.5 MB free and 1\.6 MB are wanted"):
            way.upload(source, PurePosixPath("third"))
    assert sorted(p.name for p in (tmp_path / "state" / "home").iterdir()) == ["first", "second"]


def test_files_go_there_and_back(tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(b"content")
    with transport(tmp_path) as way:
        way.upload(source, PurePosixPath("a/b"))
        way.download(PurePosixPath("a/b"), back)
        assert back.read_bytes() == b"content"
        with pytest.raises(BoardError, match=r"has no file a$"):
            way.download(PurePosixPath("a"), back)
        for target in ("/etc/x", "../x", "."):
            with pytest.raises(BoardError, match="is no path"):
                way.upload(source, PurePosixPath(target))


def test_what_does_not_work_here_is_said_in_a_line(tmp_path: Path) -> None:
    source, home = tmp_path / "source", tmp_path / "state" / "home"
    source.touch()
    with transport(tmp_path) as way:
        (home / "file").touch()
        with pytest.raises(BoardError, match=r"^copying file/x failed with simulated: .*Not a directory.*; look after "):
            way.upload(source, PurePosixPath("file/x"))
        with pytest.raises(BoardError, match=r"^copying file failed with simulated: .*No such file"):
            way.download(PurePosixPath("file"), tmp_path / "nowhere" / "x")
    with (
        transport(tmp_path, interpreter=source) as way,
        pytest.raises(BoardError, match=r"^python3 failed with simulated: .*Permission denied"),
    ):
        way.run(["python3", "-c", "pass"], 20)


def test_a_run_ends_with_whoever_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C here, in the middle of waiting."""
    wait = subprocess.Popen.wait
    interrupted: list[int] = []

    def ctrl_c(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if not interrupted:
            interrupted.append(process.pid)
            time.sleep(0.3)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", ctrl_c)
    with transport(tmp_path) as way, pytest.raises(KeyboardInterrupt):
        way.run(["python3", "-c", "import time; time.sleep(600)"], 600)
    assert not [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
