"""`bitloop doctor`: every line says what is there, or what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flow import cli, doctor
from flow.errors import HlsError, MissingToolError
from hls.rtlsim import find_toolchain


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is compiled, and nothing is found outside of an empty folder."""
    monkeypatch.setattr(doctor, "try_simulator", lambda: None)
    monkeypatch.setattr(doctor, "toolchain", lambda: "Verilator 5.48, g++ 12")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("quick")
def test_every_line_says_what_is_there_or_what_to_do(tmp_path: Path) -> None:
    found = {line.subject: line for line in doctor.examine({"PATH": str(tmp_path)}, tmp_path)}
    assert list(found) == [
        "Python", "bitloop", "Python packages", "RTL simulation", "Vivado, Vitis HLS", "simulated board", "GPU", "data sets",
    ]  # fmt: skip
    assert not any(line.is_needed for line in found.values())
    assert found["RTL simulation"].found == "compiled and ran a module with Verilator 5.48, g++ 12"
    assert "no executable vivado" in found["Vivado, Vitis HLS"].remedy
    assert found["simulated board"].remedy.endswith("make simulated-board")
    assert found["data sets"].found == "digits"
    assert str(tmp_path) in found["data sets"].remedy
    (tmp_path / "mnist.npz").touch()
    assert "mnist" in next(doctor._data_sets(tmp_path)).found


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [MissingToolError("no Verilator is there"), HlsError("wrong words")])
def test_a_simulator_that_does_not_work_is_said_and_is_no_need(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(doctor, "try_simulator", broken)
    line = doctor._simulator()
    assert (line.found, line.is_needed) == ("does not work", False)
    assert str(error) in line.remedy


@pytest.mark.usefixtures("quick")
def test_a_missing_package_is_a_need(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    wanted = doctor.requires("bitloop")
    assert wanted
    monkeypatch.setattr(doctor, "requires", lambda _: [*wanted, "no-such-package<2,>=1", "pytest>=8; extra == 'dev'"])
    line = doctor._packages()
    assert line.is_needed
    assert "no-such-package missing of" in line.found
    assert cli.main(["doctor"]) == 1
    assert "no-such-package" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_a_simulated_board_without_pynq_is_said(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert doctor._simulated_board(python).found == f"{python} has no pynq"
    python.write_text("#!/bin/sh\necho 3.1.2\n")
    assert doctor._simulated_board(python) == doctor.Line("simulated board", f"pynq 3.1.2 in {python}")


def test_a_module_is_compiled_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    sent: list[np.ndarray] = []
    real = np.array_equal
    monkeypatch.setattr(doctor.np, "array_equal", lambda a, b: sent.append(a) or real(a, b))
    doctor.try_simulator()
    assert sent[0].tolist() == np.arange(32).reshape(2, 16).tolist()
