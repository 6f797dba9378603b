"""FINN's own RTL of a whole network, simulated: every answer bit for bit, whatever comes in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flow.build_source import source_of_policy
from hls.errors import MissingToolError
from hls.finn_build import prepare
from hls.finn_rtl import Accelerator, rtl_accelerator
from hls.rtlsim import Simulator, build_simulator, find_toolchain
from hls.rtlsim.build import Options, _joined, _listed
from hls.rtlsim.simulator import Feed
from tests.made_runs import BOARD, made_run

FRAMES = np.random.default_rng(0).integers(-128, 128, (6, 784))


@pytest.fixture(scope="module")
def tfc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Accelerator, Simulator]:
    """TFC with every kind of matrix unit: RTL, HLS with thresholds merged and apart, one that counts matches."""
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("sim")
    source = source_of_policy(made_run(folder / "made") / "policy.json")
    prepare(source.plan(), BOARD, source.onnx, folder / "checkpoint.onnx")
    accelerator = rtl_accelerator(folder / "checkpoint.onnx", BOARD, folder / "rtl")
    options, shared = Options(optimization="-O1"), folder.parent / "verilator"
    return accelerator, build_simulator(accelerator.netlist, folder / "simulator", options, shared=shared)


@pytest.mark.parametrize("feed", [Feed(), Feed(gaps=0.3, back_pressure=0.4, seed=1), Feed(back_pressure=0.8, seed=2)])
def test_a_whole_network_answers_bit_for_bit(tfc: tuple[Accelerator, Simulator], feed: Feed) -> None:
    accelerator, simulator = tfc
    found = simulator.run(FRAMES.reshape(6, *accelerator.circuit.reads.shape[1:]), feed)
    np.testing.assert_array_equal(found.answers, accelerator.circuit.run(FRAMES).reshape(6, -1))


def test_fifos_hold_no_more_than_they_can(tfc: tuple[Accelerator, Simulator]) -> None:
    accelerator, simulator = tfc
    found = simulator.run(FRAMES.reshape(6, *accelerator.circuit.reads.shape[1:]), Feed())
    assert found.latency_cycles > 0
    assert all(use.most <= use.depth for use in found.fifos)


def test_lists_of_verilators_makefile_are_read() -> None:
    text = "VM_CLASSES_FAST += \\\n  Va \\\n\tVb__1 \\\n\n# more\nVM_GLOBAL_SLOW += \\\n\n# end\n"
    assert _listed(text, "CLASSES_FAST") == ["Va", "Vb__1"]
    assert _listed(text, "GLOBAL_SLOW") == []
    assert _listed(text, "SUPPORT_FAST") == []


def test_small_sources_are_joined_wherever_the_folder_is_named_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler looks for what is included beside the file that includes it, not where it was started."""
    monkeypatch.chdir(tmp_path)
    made = Path("runs/cpp")
    made.mkdir(parents=True)
    (made / "small.cpp").write_text("int small() { return 1; }")
    (joint,) = _joined([made / "small.cpp"], made / "joined.cpp")
    included = joint.read_text().split('"')[1]
    assert (joint.parent / included).read_text() == "int small() { return 1; }"
