"""Estimated against simulated cycles over the zoo, with FIFOs of several depths; and how fast the simulations are.

    make bench-sim                       (hours; goes on where it stopped: benchmarks/measured/sim.jsonl)
    python -m benchmarks.bench_sim --only tfc,lenet5 --again        (the last measurement of a design is the one that counts)
    python -m benchmarks.bench_sim --report              (only the tables of what was measured before)

A design is a network with made-up or shipped weights, a policy, and the leanest folding that reaches a frame rate. Its RTL is
simulated with FIFOs of the least depth, as deep as the estimate counts them, as deep as a simulation finds them, and without
bound; frames are noise, and every answer is held against the integer circuit. Intervals are those of the last two frames, and
latency is that of the first; where the two last intervals differ, a star says that it was not yet in its steady state.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import add_line, read_lines, rows_of
from flow.build_source import BuildSource
from flow.config import SearchSettings, default_threads
from flow.errors import BITLOOP_ERRORS
from flow.estimation import estimate_policy, estimator_of
from flow.evaluator import Evaluator
from flow.progress import SilentListener
from flow.simulating import SAME, Fifos, depths_of, simulator_of, toolchain
from hls.build_plan import PlannedLayer
from hls.finn_build import prepare
from hls.finn_rtl import rtl_accelerator
from hls.rtl_check import check_answers
from hls.rtlsim import DeadlockError, Simulated, size_fifos
from hls.rtlsim.build import Options
from hls.types import Estimate
from models.device import prepare_process
from models.policy import BitPolicy

KEPT = Path(__file__).with_name("measured") / "sim.jsonl"
BOARD = "pynq-z2"
MAY_STOP = ("2",)  # branches that meet again want deeper ones
DEPTHS: tuple[Fifos, ...] = ("2", "estimated", "sized", "unbounded")


@dataclass(frozen=True)
class Triple:
    """A network, its policy (uniform, as W2A2, or drawn, as drawn 0), the frame rate to fold for, and frames to simulate."""

    model: str
    policy: str
    fps: float
    frames: int = 8

    def bits(self, specs: Sequence[Any]) -> BitPolicy:
        """The policy itself."""
        if self.policy.startswith("drawn"):
            return BitPolicy.draw(specs, random.Random(int(self.policy.split()[1])))
        weight, act = self.policy[1:].split("A")
        return BitPolicy.uniform(specs, int(weight), int(act))


TRIPLES = (
    Triple("tfc", "W2A2", 20_000),
    Triple("tfc", "W1A1", 100_000),
    Triple("tfc", "drawn 1", 50_000),
    Triple("kws", "W4A4", 10_000),
    Triple("lenet5", "W2A2", 1_000),
    Triple("cnv:0.25", "W2A2", 1_000),
    Triple("lenet5", "drawn 2", 3_000),
    Triple("resnet8:0.25", "W4A4", 500),
    Triple("mobilenet:0.25", "W4A4", 500),
    Triple("sfc", "W1A2", 20_000),
    Triple("cnv:0.25", "drawn 3", 1_000),
    Triple("lfc", "W1A1", 5_000),
    Triple("resnet20:0.25", "W3A3", 200),
    Triple("cnv", "W4A4", 300, 6),
    Triple("cnv", "W2A2", 500, 6),
    Triple("cnv", "W1A1", 1_000, 6),
)


def source_of(triple: Triple, folder: Path) -> BuildSource:
    """A design to simulate, its QONNX file in a folder."""
    evaluator = estimator_of(SearchSettings(model=triple.model, board=BOARD), SilentListener())
    policy = triple.bits(evaluator.specs)
    return source_at(triple.model, evaluator, policy, estimate_policy(evaluator, policy, triple.fps), folder)


def source_at(model: str, evaluator: Evaluator, policy: BitPolicy, estimate: Estimate, folder: Path) -> BuildSource:
    """A design of a given folding to simulate, its QONNX file in a folder."""
    onnx = folder / "network.onnx"
    evaluator.export_untrained(policy, onnx)
    layers = tuple(
        PlannedLayer(name, bits.weight, bits.act, built)
        for (name, bits), built in zip(policy.items(), estimate.implementations, strict=True)
    )
    return BuildSource(
        model.replace(":", "-"), onnx, evaluator.constraint.board, layers, estimate.folding, None, estimate,
        top_k=evaluator.top_k, model=model,
    )  # fmt: skip


def measure(triple: Triple, folder: Path) -> dict[str, Any]:
    """Simulate one design with FIFOs of all depths.

    Raises:
        HlsError: it cannot be simulated, or answers wrongly.
    """
    tools, silent = toolchain(), SilentListener()
    source = source_of(triple, folder)
    prepare(source.plan(), source.board, source.onnx, folder / "checkpoint.onnx")
    seconds: dict[str, float] = {}
    rows: dict[str, Any] = {}
    sizing: dict[str, Any] = {}
    for is_sizing in (False, True):
        begun, begun_cpu = time.perf_counter(), _cpu_s()
        accelerator = rtl_accelerator(folder / "checkpoint.onnx", source.board, folder / "rtl", sizing=is_sizing)
        generated = time.perf_counter()
        simulator = simulator_of(
            accelerator, folder, Options(optimization="-O1", jobs=default_threads()), tools, silent
        )  # fmt: skip
        if not is_sizing:
            compiled = time.perf_counter()
            seconds = {"generate": generated - begun, "compile": compiled - generated, "build_cpu": _cpu_s() - begun_cpu}
        shape = accelerator.circuit.reads.shape
        frames = np.random.default_rng(0).integers(-128, 128, (triple.frames, *shape[1:]))
        net = accelerator.netlist
        if is_sizing:
            sized = size_fifos(simulator, frames)
            told = {"sized": depths_of(net, "sized", sized.depths)}
            sizing = {"bits": sized.bits, "simulations": sized.n_simulations, "deepest": max(sized.depths.values(), default=0)}
        else:
            told = {name: depths_of(net, name) for name in DEPTHS if name != "sized"}
        for name, depths in told.items():
            begun_cpu = _cpu_s()
            try:
                found = simulator.run(frames, None, depths)
            except DeadlockError as error:
                if name not in MAY_STOP:
                    raise
                rows[name] = {"deadlock": str(error)}
                continue
            rows[name] = _row(found) | {"cpu_s": round(_cpu_s() - begun_cpu, 3)}
            check_answers(accelerator, simulator, frames, found.answers, None, depths)
    estimate = accelerator.estimate
    return {
        "model": triple.model, "policy": triple.policy, "fps": triple.fps,
        "frames": triple.frames, "board": BOARD, "nodes": len(estimate.nodes), "units": _units(source),
        "slowest": max(estimate.nodes, key=lambda n: n.cycles).node,
        "estimated": estimated(estimate), "simulated": rows,
        "sized": sizing, **{f"{name}_s": round(s, 1) for name, s in seconds.items()}, "cpus": default_threads(),
        "machine": platform.processor() or platform.machine(),
        "versions": {"verilator": tools.version, "finn-plus": version("finn-plus")},
    }  # fmt: skip


def estimate_anew(row: dict[str, Any], triple: Triple, folder: Path) -> dict[str, Any]:
    """A kept measurement with what is estimated of it now, where its design is still the same."""
    source = source_of(triple, folder)
    prepare(source.plan(), source.board, source.onnx, folder / "checkpoint.onnx")
    estimate = rtl_accelerator(folder / "checkpoint.onnx", source.board, folder / "rtl").estimate
    found = estimated(estimate)
    if (found["finn_interval"], len(estimate.nodes)) != (row["simulated"]["unbounded"]["interval"], row["nodes"]):
        raise SystemExit(f"{triple} is another design now; measure it again")
    return {**row, "estimated": found}


def estimated(estimate: Estimate) -> dict[str, int]:
    """Cycles as bitloop and as FINN estimate them."""
    return {
        "interval": estimate.bottleneck_cycles, "latency": estimate.latency_cycles,
        "finn_interval": estimate.finn_bottleneck_cycles, "finn_latency": estimate.finn_latency_cycles,
    }  # fmt: skip


def _cpu_s() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _row(found: Simulated) -> dict[str, Any]:
    last = found.intervals[-2:]
    return {
        "interval": found.interval_cycles, "latency": found.latency_cycles, "intervals": list(found.intervals),
        "steady": len(last) == 2 and abs(last[1] - last[0]) <= SAME * last[1], "bottleneck": found.bottleneck.node,
        "busy": round(found.bottleneck.busy, 3), "cycles": found.cycles, "seconds": round(found.duration_s, 3),
    }  # fmt: skip


def _units(source: BuildSource) -> str:
    """How many matrix units are built as what."""
    built = [str(layer.implementation) for layer in source.layers]
    return ", ".join(f"{built.count(kind)} {kind}" for kind in dict.fromkeys(built))


def latest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every design the last measurement, in the order of `TRIPLES`."""
    last = {(r["model"], r["policy"], r["fps"]): r for r in rows if r["board"] == BOARD}
    return [last[cell] for t in TRIPLES if (cell := (t.model, t.policy, t.fps)) in last]


def truth_table(rows: Sequence[dict[str, Any]]) -> str:
    """What FINN and what bitloop estimates, and simulated cycles, in Markdown; ratios to bitloop's behind them."""
    head = ["network", "policy", "folded for", "units", "FINN", "estimated", *(f"simulated, FIFOs {d}" for d in DEPTHS)]
    lines = []
    for what in ("interval", "latency"):
        title = {"interval": "cycles a frame in the steady state", "latency": "cycles of the first frame"}[what]
        lines += [f"{title}:", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for r in rows:
            cells = [r["model"], r["policy"], f"{r['fps']:,.0f} fps", r["units"]]
            cells += [f"{r['estimated'][f'finn_{what}']:,}", f"{r['estimated'][what]:,}"]
            for d in DEPTHS:
                s = r["simulated"][d]
                if "deadlock" in s:
                    cells.append("deadlock")
                    continue
                star = "" if what == "latency" or s["steady"] else "*"
                cells.append(f"{s[what]:,}{star} ({s[what] / r['estimated'][what]:.3f})")
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def speed_table(rows: Sequence[dict[str, Any]]) -> str:
    """How long it takes to make a simulator, and how fast it is."""
    lines = ["| network | policy | nodes | generate, s | compile, s | both, CPU s | cycles a CPU second | CPU s a frame | "
             "FIFO bits, sized |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in rows:
        s = r["simulated"]["estimated"]
        if "cpu_s" not in s:  # measured when only seconds by the clock were
            continue
        speed = s["cycles"] / max(s["cpu_s"], 1e-3)
        build = f"{r['generate_s']:.0f} | {r['compile_s']:.0f} | {r['build_cpu_s']:.0f}"
        lines.append(
            f"| {r['model']} | {r['policy']} | {r['nodes']} | {build} | {speed:,.0f} | "
            f"{s['interval'] / speed:.3f} | {r['sized']['bits']:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of models, or of designs ('cnv W1A1'), all unless given")
    parser.add_argument("--estimate", action="store_true", help="only estimate anew what was measured before")
    parser.add_argument("--again", action="store_true", help="measure also what was measured before")
    parser.add_argument("--report", action="store_true", help="print only what was measured before")
    arguments = parser.parse_args()
    prepare_process(default_threads())
    rows = read_lines(KEPT)
    for triple in TRIPLES if not arguments.report else ():
        if arguments.only and not {triple.model, f"{triple.model} {triple.policy}"} & set(arguments.only.split(",")):
            continue
        cell = {"model": triple.model, "policy": triple.policy, "fps": triple.fps, "board": BOARD}
        kept = rows_of(cell, rows)
        if kept and arguments.estimate and "finn_latency" not in kept[-1]["estimated"]:
            with tempfile.TemporaryDirectory(prefix="bitloop-bench-sim-") as folder:
                rows.append(estimate_anew(kept[-1], triple, Path(folder)))
            add_line(KEPT, rows[-1])
        if arguments.estimate or (kept and not arguments.again):
            continue
        print(f"{triple.model} {triple.policy} for {triple.fps:,.0f} fps …", flush=True)
        with tempfile.TemporaryDirectory(prefix="bitloop-bench-sim-") as folder:
            try:
                rows.append(measure(triple, Path(folder)))
            except BITLOOP_ERRORS as error:
                print(f"    {type(error).__name__}: {error}", flush=True)
                continue
        add_line(KEPT, rows[-1])
        print(f"    {rows[-1]['estimated']} estimated, {rows[-1]['simulated']}", flush=True)
    rows = latest(rows)
    print(f"\n{truth_table(rows)}\n{speed_table(rows)}")


if __name__ == "__main__":
    main()
