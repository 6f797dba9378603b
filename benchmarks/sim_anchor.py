"""CNV with one bit at published foldings: what others' RTL simulations gave, and what ours gives.

    python -m benchmarks.sim_anchor              (minutes; goes on where it stopped: benchmarks/measured/sim_anchor.jsonl)
    python -m benchmarks.sim_anchor --report

Published: github.com/ronivolshtein/finn-cnv-accelerator-project335 (Bar-Ilan University, FINN 0.10, PYNQ-Z1 at 100 MHz, ten
frames, RTL simulation of the stitched design; results/finn_A_D_final_results.csv, depths of FIFOs in
notebooks/cnv_end2end_baseline.ipynb). Configuration A has the folding of finn-examples (build/bnn-pynq/folding_config/
cnv-w1a1_folding_config.json), B to D widen what is slowest.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.bench_sim import BOARD, _row, estimated, source_at
from benchmarks.kept import add_line, read_lines
from flow.config import SearchSettings, default_threads
from flow.estimation import estimator_of
from flow.progress import SilentListener
from flow.simulating import Fifos, depths_of, simulator_of, toolchain
from hls.finn_build import prepare
from hls.finn_rtl import rtl_accelerator
from hls.rtl_check import check_answers
from hls.rtlsim import size_fifos
from hls.rtlsim.build import Options
from models.device import prepare_process
from models.policy import BitPolicy

KEPT = Path(__file__).with_name("measured") / "sim_anchor.jsonl"
CLOCK_MHZ, FRAMES = 100.0, 10
EXAMPLES = ((16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1))  # PE and SIMD
IN_FRONT = (128, 128, 128, 128, 81, 2, 2, 128, 3)  # words of the FIFOs in front of the units; there are no others
DEPTHS: tuple[Fifos, ...] = ("2", "estimated", "unbounded")


@dataclass(frozen=True)
class Published:
    """A configuration and what was published of it.

    Attributes:
        name: its letter.
        changed: unit to its PE and SIMD where they are not those of `EXAMPLES`.
        fps: of `FRAMES` frames together, the first one's latency included.
        stable_fps: what was called stable: FINN 0.10 divides the number of all frames by the time without the first one's.
        latency_ms: of the first frame.
    """

    name: str
    changed: Mapping[int, tuple[int, int]]
    fps: float
    stable_fps: float
    latency_ms: float

    @property
    def latency_cycles(self) -> int:
        """Of the first frame."""
        return round(self.latency_ms * 1e3 * CLOCK_MHZ)

    @property
    def interval_cycles(self) -> int:
        """Between frames: what is left of all frames' cycles without the first one, over the frames that are left."""
        return round((FRAMES / self.fps * 1e6 * CLOCK_MHZ - self.latency_cycles) / (FRAMES - 1))

    @property
    def units(self) -> list[tuple[int, int]]:
        """PE and SIMD of every matrix unit."""
        return [self.changed.get(i, unit) for i, unit in enumerate(EXAMPLES)]


PUBLISHED = (
    Published("A", {}, 1725.6583, 2254.644, 1.3596),
    Published("B", {6: (1, 8)}, 2324.992, 3220.6119, 1.19609),
    Published("C", {6: (1, 8), 7: (1, 16)}, 2416.8834, 3220.6119, 1.03256),
    Published("D", {6: (1, 8), 7: (1, 16), 0: (32, 3)}, 2488.6765, 3329.4711, 1.01472),
)


def folding_of(units: Sequence[tuple[int, int]]) -> dict[str, dict[str, int | str]]:
    """The folding of every node: windows as wide as their units, pools unfolded, the tail one value a cycle."""
    folding: dict[str, dict[str, int | str]] = {f"MVAU_hls_{i}": {"PE": pe, "SIMD": simd} for i, (pe, simd) in enumerate(units)}
    widths = (units[0][1], units[1][1], 64, units[2][1], units[3][1], 128, units[4][1], units[5][1])
    folding |= {f"ConvolutionInputGenerator_rtl_{i}": {"SIMD": simd} for i, simd in enumerate(widths)}
    return folding | {"Pool_hls_0": {"PE": 64}, "Pool_hls_1": {"PE": 128}, "LabelSelect_hls_0": {"PE": 1}}


def with_published_fifos(checkpoint: Path, target: Path) -> None:
    """A checkpoint with FIFOs in front of the units as published, and none elsewhere: FINN leaves those of two words out."""
    model = onnx.load(str(checkpoint))
    in_front = {f"MVAU_hls_{i}": words for i, words in enumerate(IN_FRONT)}
    for node in model.graph.node:
        kept = [a for a in node.attribute if a.name not in ("inFIFODepths", "outFIFODepths")]
        del node.attribute[:]
        node.attribute.extend(kept)
        depths = {"inFIFODepths": [in_front.get(node.name, 2)], "outFIFODepths": [2]}
        node.attribute.extend(onnx.helper.make_attribute(name, words) for name, words in depths.items())
    onnx.save(model, str(target))


def measure(published: Published, folder: Path) -> dict[str, Any]:
    """Simulate a configuration with FIFOs as published, of the least depth, as estimated, without bound, and as sized."""
    tools, silent = toolchain(), SilentListener()
    evaluator = estimator_of(SearchSettings(model="cnv", board=BOARD, top_k=1), silent)
    policy = BitPolicy.uniform(evaluator.specs, 1, 1)
    estimate = evaluator.foldings.at(policy, folding_of(published.units))
    source = source_at("cnv", evaluator, policy, estimate, folder)
    prepare(source.plan(), source.board, source.onnx, folder / "checkpoint.onnx")
    with_published_fifos(folder / "checkpoint.onnx", folder / "published.onnx")
    rows: dict[str, Any] = {}
    bits = 0
    for kind in ("published", "plain", "sized"):
        checkpoint = folder / ("published.onnx" if kind == "published" else "checkpoint.onnx")
        accelerator = rtl_accelerator(checkpoint, source.board, folder / f"rtl-{kind}", sizing=kind == "sized")
        simulator = simulator_of(accelerator, folder, Options(optimization="-O1", jobs=default_threads()), tools, silent)
        frames = np.random.default_rng(0).integers(-128, 128, (FRAMES, *accelerator.circuit.reads.shape[1:]))
        net = accelerator.netlist
        if kind == "sized":
            sized = size_fifos(simulator, frames[:5])
            bits, told = sized.bits, {"sized": depths_of(net, "sized", sized.depths)}
        else:
            told = {"published": None} if kind == "published" else {name: depths_of(net, name) for name in DEPTHS}
        for name, depths in told.items():
            found = simulator.run(frames, None, depths)
            check_answers(accelerator, simulator, frames, found.answers, None, depths)
            rows[name] = _row(found)
    return {
        "name": published.name, "nodes": len(estimate.nodes), "slowest": max(estimate.nodes, key=lambda n: n.cycles).node,
        "estimated": estimated(accelerator.estimate), "simulated": rows,
        "sized_bits": bits,
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Published and simulated, in Markdown; ratios to what was published behind them."""
    depths = ("published", "2", "estimated", "sized", "unbounded")
    lines = []
    for what, title in (("interval", "cycles a frame in the steady state"), ("latency", "cycles of the first frame")):
        told = [f"ours, FIFOs {'as ' if d == 'published' else ''}{d}" for d in depths]
        head = ["", "FINN's formula", "estimated", "published", *told]
        lines += [f"{title}:", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for row, p in ((row, p) for p in PUBLISHED for row in rows if row["name"] == p.name):
            truth = p.interval_cycles if what == "interval" else p.latency_cycles
            cells = [p.name, f"{row['estimated'][f'finn_{what}']:,}", f"{row['estimated'][what]:,}", f"{truth:,}"]
            cells += [f"{row['simulated'][d][what]:,} ({row['simulated'][d][what] / truth:.3f})" for d in depths]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Simulate what the file does not hold yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="print only what was simulated before")
    arguments = parser.parse_args()
    prepare_process(default_threads())
    rows = read_lines(KEPT)
    for published in PUBLISHED if not arguments.report else ():
        if all(row["name"] != published.name for row in rows):
            print(f"configuration {published.name} …", flush=True)
            with tempfile.TemporaryDirectory(prefix="bitloop-anchor-") as folder:
                rows.append(measure(published, Path(folder)))
            add_line(KEPT, rows[-1])
    for published in PUBLISHED:
        stable = 1e6 * CLOCK_MHZ / published.interval_cycles
        print(f"{published.name}: published as {published.stable_fps:,.0f} fps; {FRAMES - 1} intervals make it {stable:,.0f}")
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
