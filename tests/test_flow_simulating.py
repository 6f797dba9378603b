"""`bitloop sim`: what it asks of the simulator, what it checks, says and keeps; Verilator itself is `test_hls_rtlsim.py`'s."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from boards.measurement import Simulation
from boards.measurements import Measurements
from flow import cli, simulating
from flow.build_source import BuildSource, source_of_policy
from flow.errors import MissingToolError, RunDirectoryError, VerificationError
from flow.fifo_depths import read_depths, write_depths
from flow.golden import GoldenSet
from hls.finn_rtl import Accelerator
from hls.rtlsim import DeadlockError, FifoUse, NodeActivity, Simulated, SimulatorError
from hls.rtlsim.simulator import Feed
from tests.made_runs import N_GOLDEN, made_run

ESTIMATED, ENOUGH = 4096, 40  # cycles a frame; words that a FIFO must hold


class FakeSimulator:
    """Answers as the circuit does, and is slower the more its FIFOs lack of `ENOUGH` words.

    Attributes:
        netlist, accelerator: what it stands for.
        feeds, depths: that it was asked with.
        wrong: tensor of which the stream has a wrong word; None for none.
        error: that a run raises; None for none.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.netlist, self.accelerator = accelerator.netlist, accelerator
        self.feeds: list[Feed] = []
        self.depths: list[Mapping[str, int]] = []
        self.wrong: str | None = None
        self.error: Exception | None = None
        self._recorded: NDArray[Any] = np.empty(0)

    def run(
        self, frames: NDArray[Any], feed: Feed | None = None, depths: Mapping[str, int] | None = None,
        timeout_s: float | None = None, records: Path | None = None, vcd: Path | None = None,
    ) -> Simulated:  # fmt: skip
        if self.error is not None:
            raise self.error
        feed = feed or Feed()
        held = {fifo.node: (depths or {}).get(fifo.node, fifo.depth) for fifo in self.netlist.fifos}
        self.feeds.append(feed)
        self.depths.append(held)
        if vcd is not None:
            vcd.write_text("$date")
        self._recorded = frames
        answers = self.accelerator.circuit.run(frames).reshape(len(frames), -1).copy()
        if self.wrong is not None:
            answers[1, 2] += 1
        interval = ESTIMATED + sum(max(0, ENOUGH - depth) for depth in held.values()) + round(1000 * feed.gaps)
        fifos = tuple(FifoUse(f.node, f.behind, min(held[f.node], ENOUGH), held[f.node]) for f in self.netlist.fifos)
        nodes = tuple(NodeActivity(name, busy, 0.0, 1 - busy, 10) for name, busy in (("MVAU_rtl_0", 0.5), ("MVAU_hls_0", 0.9)))
        return Simulated(
            answers, 9000, interval if len(frames) > 1 else None, (interval,) * (len(frames) - 1), 5000, {}, nodes, fifos, 0.5
        )

    def words_of(self, stream: str, records: Path) -> NDArray[Any]:
        found = self.accelerator.expected(stream, self._recorded).reshape(-1, self.netlist.streams[stream].lanes).copy()
        if stream == self.wrong:
            found[3] += 1
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_run(tmp_path_factory.mktemp("runs") / "made")
    source = source_of_policy(folder / "policy.json")  # what FINN makes of it is made once
    with simulating.BuildDirectory(folder / "simulation" / source.plan().digest, source.plan()) as directory:
        directory.checkpoint(lambda to: simulating.prepare(directory.plan, source.board, source.onnx, to))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("rtl"))
    return tmp_path / "run"


@pytest.fixture(scope="module")
def accelerators(made: Path) -> dict[bool, Accelerator]:
    """Whether it is for sizing to the accelerator: FINN generates each once."""
    source = source_of_policy(made / "policy.json")
    checkpoint = made / "simulation" / source.plan().digest / simulating.CHECKPOINT
    return {sizing: simulating.rtl_accelerator(checkpoint, source.board, made / "rtl", sizing) for sizing in (False, True)}


@pytest.fixture
def fake(accelerators: dict[bool, Accelerator], monkeypatch: pytest.MonkeyPatch) -> list[FakeSimulator]:
    """The simulators that were made."""
    found: list[FakeSimulator] = []

    def rtl_accelerator(checkpoint: Path, board: object, folder: Path, sizing: bool) -> Accelerator:
        assert checkpoint.is_file()
        return accelerators[sizing]

    def simulator_of(accelerator: Accelerator, *_: object) -> FakeSimulator:
        found.append(FakeSimulator(accelerator))
        return found[-1]

    monkeypatch.setattr(simulating, "toolchain", lambda: simulating.Toolchain(Path("v"), Path(), "5.48", Path("g++"), "g++ 12"))
    monkeypatch.setattr(simulating, "simulator_of", simulator_of)
    monkeypatch.setattr(simulating, "rtl_accelerator", rtl_accelerator)
    return found


def sim(run: Path, *arguments: object) -> int:
    return cli.main(["sim", "--run", str(run), *map(str, arguments)])


def kept() -> list[Simulation]:
    found = [k.record for k in Measurements(Path("measurements.db")).records(kind="simulation")]
    assert all(isinstance(record, Simulation) for record in found)
    return found  # type: ignore[return-value]


def test_estimate_and_simulation_stand_side_by_side_and_are_kept(
    run: Path, fake: list[FakeSimulator], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sim(run) == 0
    said = " ".join(capsys.readouterr().out.split())
    n_fifos = len(fake[0].netlist.fifos)
    interval = ESTIMATED + 8 * n_fifos  # of 32 words each
    assert f"cycles a frame, steady state {ESTIMATED:,} {interval:,}" in said
    latency = fake[0].accelerator.estimate.latency_cycles
    assert ESTIMATED < latency < fake[0].accelerator.estimate.finn_latency_cycles == 12_554
    assert f"cycles of the first frame {latency:,} 5,000" in said
    assert "MVAU_hls_0 fc1 10 90.0% 0.0% 10.0% the bottleneck" in said
    assert f"{N_GOLDEN} frames of the golden set: every answer is, bit for bit" in said
    assert "that of the hardware layers in integers and the trained network" in said
    (record,) = kept()
    source = source_of_policy(run / "policy.json")
    assert (record.plan, record.network, record.fifos) == (source.plan().digest, source.plan().digest, "estimated")
    assert (record.interval_cycles, record.latency_cycles, record.is_steady) == (interval, 5000, True)
    assert (record.n_frames, record.bottleneck) == (N_GOLDEN, "MVAU_hls_0")
    assert record.design.estimate is not None
    document = json.loads((run / "simulation.json").read_text())
    assert document["estimated"] == {"interval_cycles": ESTIMATED, "latency_cycles": latency}
    assert document["simulated"]["interval_cycles"] == interval


def test_sized_fifos_are_those_of_the_next_build(
    run: Path, fake: list[FakeSimulator], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = source_of_policy(run / "policy.json").plan()
    assert sim(run, "--size-fifos") == 0
    said = capsys.readouterr().out
    assert "the next make bitstream takes these depths" in " ".join(said.split())
    source = source_of_policy(run / "policy.json")
    plan = source.plan()
    assert plan.fifo_depths == source.fifo_depths == read_depths(run / "fifos.json", source.design_digest)
    assert set(plan.fifo_depths.values()) == {ENOUGH}
    assert plan.digest != plain.digest
    (record,) = kept()
    assert (record.fifos, record.plan, record.network) == ("sized", plan.digest, plain.digest)
    assert record.fifo_depths == plan.fifo_depths
    assert fake[0].depths[-1] == {f.node: ENOUGH if f.behind else 32 for f in fake[0].netlist.fifos}
    assert sim(run, "--fifos", "estimated") == 0
    assert kept()[-1].plan == plain.digest


def test_depths_of_another_folding_are_not_taken(run: Path) -> None:
    source = source_of_policy(run / "policy.json")
    write_depths(run / "fifos.json", source.design_digest, {"MVAU_rtl_0": 77})
    assert source_of_policy(run / "policy.json").plan().fifo_depths == {"MVAU_rtl_0": 77}
    document = json.loads((run / "policy.json").read_text())
    document["folding"]["MVAU_rtl_0"]["PE"] = 2
    (run / "policy.json").write_text(json.dumps(document))
    assert source_of_policy(run / "policy.json").plan().fifo_depths == {}
    for damaged in ("{", "[]", '{"format": 2}', '{"format": 1, "design": "x", "depths": {"a": 0}}'):
        (run / "fifos.json").write_text(damaged)
        with pytest.raises(RunDirectoryError, match="holds no FIFO depths"):
            source_of_policy(run / "policy.json")


@pytest.mark.parametrize(("told", "depth"), [("2", 2), ("estimated", 32), ("unbounded", 1 << 30)])
def test_fifos_are_as_deep_as_asked(run: Path, fake: list[FakeSimulator], told: str, depth: int) -> None:
    assert sim(run, "--fifos", told) == 0
    assert set(fake[0].depths[0].values()) == {depth}
    assert kept()[0].fifos == told


def test_gaps_change_the_timing_and_are_kept_with_it(run: Path, fake: list[FakeSimulator]) -> None:
    assert sim(run, "--gaps", 0.3, "--back-pressure", 0.4, "--seed", 5) == 0
    assert fake[0].feeds == [Feed(gaps=0.3, back_pressure=0.4, seed=5)]
    assert (kept()[0].gaps, kept()[0].back_pressure, kept()[0].seed) == (0.3, 0.4, 5)


def test_a_waveform_has_few_frames(run: Path, fake: list[FakeSimulator], tmp_path: Path) -> None:
    assert sim(run, "--vcd", tmp_path / "w.vcd") == 0
    assert (tmp_path / "w.vcd").read_text() == "$date"
    assert kept()[0].n_frames == 2
    assert not kept()[0].is_steady  # of one interval nobody knows


def test_a_wrong_answer_names_frame_word_and_node_and_nothing_is_kept(
    run: Path, fake: list[FakeSimulator], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = simulating.simulator_of

    def wrong(accelerator: Accelerator, *others: object) -> FakeSimulator:
        found = made(accelerator, *others)  # type: ignore[arg-type]
        assert isinstance(found, FakeSimulator)
        streams = {accelerator.streams[op.output]: op.output for op in accelerator.operations}
        found.wrong = next(streams[name] for name in streams if accelerator.netlist.streams[name].source == "MVAU_hls_0")
        return found

    monkeypatch.setattr(simulating, "simulator_of", wrong)
    assert sim(run) == 2
    said = capsys.readouterr().err
    assert "in word 2 of frame 1" in said
    assert "1 of 4 frames are wrong" in said
    assert "the first node that is wrong is MVAU_hls_0: word 3 of a frame" in said
    assert kept() == []
    assert not (run / "simulation.json").exists()


@pytest.mark.parametrize(
    "error", [DeadlockError("nothing moves any more: a waits for b"), SimulatorError("the simulator was killed")]
)
def test_what_goes_wrong_is_one_line(
    run: Path, fake: list[FakeSimulator], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def broken(accelerator: Accelerator, *_: object) -> FakeSimulator:
        found = FakeSimulator(accelerator)
        found.error = error
        return found

    monkeypatch.setattr(simulating, "simulator_of", broken)
    assert sim(run) == 2
    assert str(error) in capsys.readouterr().err
    assert kept() == []


def test_without_verilator_it_is_said_how_to_get_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise MissingToolError("there is no Verilator")

    monkeypatch.setattr(simulating, "find_toolchain", none)
    assert sim(run) == cli.NO_TOOLS
    said = capsys.readouterr().err
    assert "pip install 'bitloop[sim]'" in said
    assert "g++" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--frames", "0"], "FRAMES is 0"),
        (["--frames", "500"], "FRAMES is 500; the golden set has 4"),
        (["--gaps", "1"], "GAPS is 1"),
        (["--back-pressure", "-0.1"], "BACK_PRESSURE is -0.1"),
        (["--fifos", "3"], "FIFOS is 3"),
        (["--fifos", "sized"], "SIZE_FIFOS=1 finds depths"),
        (["--fifos", "2", "--size-fifos"], "leave FIFOS=2 out"),
        (["--frames", "2", "--size-fifos"], "FIFOs are sized with 3 or more"),
        (["--timeout", "0"], "TIMEOUT is 0"),
        (["--board", "pynq-z1"], "BOARD goes with QONNX"),
        (["--qonnx", "x.onnx"], "give one of RUN"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    run: Path, fake: list[FakeSimulator], capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert sim(run, *arguments) == 2
    assert complaint in capsys.readouterr().err


LOGITS = np.array([[0.5, 0.75, 0.25], [0.125, 0.125, -1.0]])


def golden(logits: NDArray[np.float64] = LOGITS) -> GoldenSet:
    return GoldenSet(np.zeros((len(logits), 1, 1, 1), np.uint8), np.zeros(len(logits), np.int64), logits)


def test_answers_are_held_against_the_trained_networks() -> None:
    simulating.check_golden(LOGITS.astype(np.float32), golden(), 0)
    for equally_good in ([[1], [0]], [[1], [1]]):
        simulating.check_golden(np.array(equally_good), golden(), 1)
    simulating.check_golden(np.array([[1, 0], [1, 0]]), golden(), 2)
    with pytest.raises(VerificationError, match=r"1 of 2 images are not answered as by the trained.*is image 1"):
        simulating.check_golden(np.array([[1], [2]]), golden(), 1)
    with pytest.raises(VerificationError, match="the first is image 0"):
        simulating.check_golden(np.array([[0, 1], [1, 0]]), golden(), 2)
    with pytest.raises(VerificationError, match="make verify"):
        simulating.check_golden((LOGITS + 2**-12).astype(np.float32), golden(), 0)


def test_a_file_from_elsewhere_is_fed_with_noise(run: Path, fake: list[FakeSimulator]) -> None:
    folding = run / "folding.json"
    folding.write_text(json.dumps(json.loads((run / "policy.json").read_text())["folding"]))
    source = source_of_policy(run / "policy.json")
    plain = BuildSource("x", source.onnx, source.board, source.layers, source.folding, None)
    frames, given, what = simulating._frames(plain, simulating.Stream((1, 784), "INT8"), simulating.Request(5))
    assert (frames.shape, given, what) == ((5, 784), None, "noise, as there is no golden set")
    assert (frames.min(), frames.max()) == (-128, 127)
    with pytest.raises(simulating.SettingsError, match="quantize"):
        simulating._frames(plain, simulating.Stream((1, 784), "FLOAT32"), simulating.Request(5))


@pytest.mark.slow
def test_a_real_simulation_keeps_its_answers_whatever_the_timing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        simulating.toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    assert sim(run, "--size-fifos") == 0
    for seed in (1, 2):
        assert sim(run, "--fifos", "estimated", "--gaps", 0.3, "--back-pressure", 0.3, "--seed", seed) == 0
    sized, *disturbed = kept()
    assert sized.interval_cycles == ESTIMATED
    assert all((record.interval_cycles or 0) > ESTIMATED for record in disturbed)
    assert sim(run, "--fifos", "estimated") == 0
    assert "compiler" not in capsys.readouterr().out.split("compiling a simulator")[-1]  # what is there is taken
    assert sim(run, "--vcd", run / "w.vcd") == 0
    assert "$enddefinitions" in (run / "w.vcd").read_text()[:1_000_000]
    assert cli.main(["calibrate"]) == 0
    assert json.loads(Path("calibration/pynq-z2.json").read_text())["factors"]["rtl_interval_cycles"]["n_designs"] == 1
