"""What was generated, for people: sources layer by layer, and the table that leads from a layer to them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boards.board import Resources
from flow.build_source import BuildSource
from flow.run_directory import write_text
from hls.finn_build import Checkpoint
from hls.reports import Reports

SOURCES, TABLE = "sources", "layers.md"
_GENERATED = re.compile(r"code_gen_ipgen_(?P<node>.+)_[a-z0-9_]{8}")  # FINN's folder of a node, as tempfile ends it
_KINDS = {".cpp", ".hpp", ".h", ".v", ".sv", ".vh", ".svh", ".tcl", ".dat"}


def copy_sources(generated: Path, target: Path) -> dict[str, list[str]]:
    """Copy what FINN generated into a folder a node, no absolute path left in it.

    HLS C++, RTL, Tcl and the weights are copied; what Vitis HLS makes of them is not. A folder of weights of its own
    (`.` in the scripts) is the node's; FINN's libraries are `$::env(FINN_DEPS)` and the like.

    Args:
        generated: FINN_BUILD_DIR of the build.
        target: replaced if it is there.

    Returns:
        Node to its files, relative to `target`.
    """
    folders: dict[str, Path] = {}
    for folder in sorted((p for p in generated.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime):
        if found := _GENERATED.fullmatch(folder.name):
            folders[found["node"]] = folder  # the newest, where an interrupted step left an older one
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    files: dict[str, list[str]] = {}
    for node, folder in sorted(folders.items()):
        for source in sorted(p for p in folder.iterdir() if p.suffix in _KINDS):
            text = source.read_text(encoding="utf-8", errors="replace")
            copy = part / node / source.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_relocated(text, generated), encoding="utf-8")
            files.setdefault(node, []).append(f"{node}/{source.name}")
    shutil.rmtree(target, ignore_errors=True)
    part.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    return files


def _relocated(text: str, generated: Path) -> str:
    """A generated file without the paths of this machine."""
    text = re.sub(rf"{re.escape(str(generated))}/code_gen_ipgen_[^/\s\"]+", ".", text)
    return re.sub(r'"[^"\s]*/(finn-hlslib|attention-hlslib)"', r'"$::env(FINN_DEPS)/\1"', text)


@dataclass(frozen=True)
class _Row:
    """One node of the table."""

    layer: str
    node: str
    files: str
    bits: str
    unit: str
    folding: str
    cycles: str
    estimated: str
    synthesised: str


def write_table(
    path: Path, source: BuildSource, checkpoint: Checkpoint, files: Mapping[str, list[str]], reports: Reports | None
) -> None:
    """Write the table layer → files → bits → folding → cycles → resources, in the order of the data.

    Args:
        path: of the Markdown file.
        source: says which node belongs to which layer, where it was searched.
        checkpoint: the nodes.
        files: node to its generated files.
        reports: what Vivado reported, if it was there.
    """
    layer_of = {n.node: n.layer for n in source.estimate.nodes} if source.estimate else {}
    bits = {layer.name: f"W{layer.weight}" + (f"A{layer.act}" if layer.act else "") for layer in source.layers}
    built = {layer.name: str(layer.implementation) for layer in source.layers}
    measured = reports.nodes if reports else {}
    rows = []
    for node in checkpoint.nodes:
        layer = layer_of.get(node.node, "–")
        listed = files.get(node.node, [])
        rows.append(
            _Row(
                layer,
                node.node,
                ", ".join(f"[{Path(f).name}]({SOURCES}/{f})" for f in listed if not f.endswith(".dat")) or "–",
                bits.get(layer, " ".join(dict.fromkeys(node.types.values()))),
                built.get(layer, "–") if node.op_type.startswith("MVAU") else node.op_type,
                " ".join(f"{k}={v}" for k, v in node.folding.items() if k in ("PE", "SIMD", "ram_style", "resType")) or "–",
                f"{node.cycles:,}",
                _figures(node.resources),
                _figures(measured[node.node]) if node.node in measured else "–",
            )
        )
    head = [
        "layer",
        "node",
        "generated",
        "bits",
        "unit",
        "folding",
        "cycles a frame",
        "estimated LUT, BRAM18, DSP",
        "synthesised",
    ]
    lines = [
        f"# {source.name} on {source.board.title}: layer by layer",
        "",
        "Estimated are FINN's figures of the node alone; synthesised are Vivado's of the same node inside the whole design"
        + ("." if reports else ", which no Vivado has built yet.")
        + f" Weights are in the `.dat` files beside the sources; nodes that are in `{SOURCES}/` and not here are FIFOs, width "
        "converters and DMA engines.",
        "",
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
        *("| " + " | ".join(vars(row).values()) + " |" for row in rows),
        "",
    ]
    write_text(path, "\n".join(lines))


def _figures(used: Resources) -> str:
    return f"{used.lut:,.0f}, {used.bram18:.0f}, {used.dsp:.0f}"
