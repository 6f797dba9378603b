"""What importing costs, and that every error is where users look for it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import boards.errors
import flow.errors
import hls.errors
import hls.rtlsim.errors
import models.errors

IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1].split(","):
    package = importlib.import_module(name)
    if sys.argv[2] == "all":
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{name}.{module.name}")
print(",".join(sorted({m.split(".")[0] for m in sys.modules})))
"""


def imported(packages: str, what: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, packages, what], capture_output=True, text=True, check=True
    )  # fmt: skip
    return set(done.stdout.strip().split(","))


def test_boards_needs_no_torch() -> None:
    assert not {"torch", "brevitas", "finn", "gymnasium"} & imported("boards", "all")


def test_finn_is_only_imported_when_it_is_asked_something() -> None:
    found = imported("boards,models,hls,flow", "all")
    assert "torch" in found
    assert not {"finn", "qonnx"} & found


def test_importing_flow_is_light() -> None:
    found = imported("flow", "package")
    assert "gymnasium" in found
    assert not {"torch", "brevitas", "finn", "stable_baselines3", "optuna", "sklearn", "typer"} & found


def test_the_command_lines_help_needs_no_torch() -> None:
    assert not {"torch", "finn", "stable_baselines3", "optuna"} & imported("flow.cli", "package")


def errors_of(module: object) -> dict[str, type[Exception]]:
    found = inspect.getmembers(module, lambda x: isinstance(x, type) and issubclass(x, Exception))
    return {name: error for name, error in found if error.__module__ == module.__name__}  # type: ignore[attr-defined]


def test_flow_errors_has_every_error_of_bitloop() -> None:
    everything: dict[str, object] = {"BITLOOP_ERRORS": flow.errors.BITLOOP_ERRORS}
    for module in (boards.errors, models.errors, hls.errors, hls.rtlsim.errors, flow.errors):
        everything |= errors_of(module)
    assert flow.errors.__all__ == sorted(everything)
    for name, value in everything.items():
        assert getattr(flow.errors, name) is value


@pytest.mark.parametrize("name", flow.errors.__all__)
def test_every_error_is_caught_by_the_tuple(name: str) -> None:
    if name != "BITLOOP_ERRORS":
        assert issubclass(getattr(flow.errors, name), flow.errors.BITLOOP_ERRORS)
