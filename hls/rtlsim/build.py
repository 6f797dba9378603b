"""Compiles a netlist: Verilator makes C++ of it, a compiler a program. What has not changed is not compiled again."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from hls.rtlsim.errors import RtlFaultError, SimulatorError
from hls.rtlsim.library import OutputQueue, readable_files
from hls.rtlsim.netlist import Netlist
from hls.rtlsim.simulator import Simulator
from hls.rtlsim.toolchain import Toolchain, find_toolchain
from hls.rtlsim.top import TOP, top_module

Progress = Callable[[str, int, int], None]
"""What is done, how much of it there is, and how much of that is done."""

_HARNESS, _KERNELS = (Path(__file__).with_name(name) for name in ("harness.cpp", "kernels.cpp"))
_PROGRAM, _JOINED = "simulator", "joined"
_SMALL = 500_000  # bytes of C++


@dataclass(frozen=True)
class Options:
    """How a simulator is compiled.

    Attributes:
        queue: see `OutputQueue`.
        fast: bitloop's own core of the RTL matrix unit in place of FINN's, with the same cycles.
        assertions: look at what FINN's RTL asserts; a simulation then ends where it does not hold.
        waveform: whether it writes a waveform (VCD) of all that happens.
        unknown: what RTL that is not reset starts from: 0, or anything.
        jobs: compilers at the same time.
        optimization: of the compiler.
    """

    queue: OutputQueue = OutputQueue.AVOIDED
    fast: bool = True
    assertions: bool = False
    waveform: bool = False
    unknown: bool = False
    jobs: int = 2
    optimization: str = "-O2"


def build_simulator(
    netlist: Netlist,
    folder: Path,
    options: Options | None = None,
    progress: Progress | None = None,
    shared: Path | None = None,
    toolchain: Toolchain | None = None,
) -> Simulator:
    """Compile a netlist.

    Args:
        netlist: of an accelerator.
        folder: of the simulator; what a build before left there is used where it is the same.
        options: how; the defaults without them.
        progress: told how far it is.
        shared: a folder for what simulators of all netlists have in common; `folder` without it.
        toolchain: found without it.

    Raises:
        MissingToolError: there is no Verilator or no compiler.
        RtlFaultError: a unit would lose data, and `options` say that this is to be avoided.
        SimulatorError: something cannot be compiled.
    """
    options, tools = options or Options(), toolchain or find_toolchain()
    tell = progress or (lambda what, total, done: None)
    if options.queue is OutputQueue.AVOIDED:
        refuse_overflows(netlist)
    folder.mkdir(parents=True, exist_ok=True)
    files = readable_files(netlist.files, folder / "library", options.queue, options.fast)
    top = folder / f"{TOP}.sv"
    text = top_module(netlist)
    own = (_HARNESS.read_text(), _KERNELS.read_text())
    key = _digest([text, repr(options), str(tools), *own, *(f"{f}\n{f.read_text()}" for f in files)])
    mark, program = folder / "built", folder / _PROGRAM
    if not (program.is_file() and mark.is_file() and mark.read_text() == key):
        mark.unlink(missing_ok=True)
        top.write_text(text, encoding="utf-8")
        tell("Verilator", 1, 0)
        made = folder / "cpp"
        _verilate(tools, options, [*files, top], made)
        tell("Verilator", 1, 1)
        _compile(tools, options, made, program, shared or folder / "runtime", tell)
        mark.write_text(key)
    return Simulator(netlist, program)


def refuse_overflows(netlist: Netlist) -> None:
    """Look whether a unit of the netlist loses data when its reader is late.

    Raises:
        RtlFaultError: one does; the text names it.
    """
    for instance in netlist.instances:
        size, step = instance.parameters.get("MW"), instance.parameters.get("SIMD")
        if instance.kind == "MVAU_rtl" and size is not None and size == step:
            raise RtlFaultError(
                f"node {instance.node} has SIMD = MW = {size}, where FINN's RTL loses data when its reader is late "
                "(docs/upstream/mvu-output-queue.md); fold it with a smaller SIMD, or build it in HLS"
            )


def _digest(parts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() + b"\0")
    return found.hexdigest()


def _verilate(tools: Toolchain, options: Options, files: Sequence[Path], made: Path) -> None:
    if made.is_dir():
        for old in made.iterdir():
            if old.suffix != ".d":
                old.unlink()
    wild = "unique" if options.unknown else "0"
    command = [
        "env", f"VERILATOR_ROOT={tools.root}", str(tools.verilator), "--cc",
        "--top-module", TOP, "--prefix", f"V{TOP}", "--Mdir", str(made), "-O3", "--no-timing",
        "--x-assign", wild, "--x-initial", wild, "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-STMTDLY",
        "--output-split", "20000", "--assert" if options.assertions else "--no-assert",
        *(["--trace"] if options.waveform else []), *map(str, files),
    ]  # fmt: skip
    ran = _run(command)
    (made.parent / "verilator.log").write_text(ran.stderr + ran.stdout)
    if ran.returncode:
        raise SimulatorError(f"Verilator does not read the RTL: {_complaint(ran, '%Error')} ({made.parent / 'verilator.log'})")


def _compile(tools: Toolchain, options: Options, made: Path, program: Path, shared: Path, tell: Progress) -> None:
    include = [f"-I{made}", f"-I{tools.root / 'include'}", f"-I{tools.root / 'include' / 'vltstd'}"]
    flags = ["-std=c++20", "-pthread", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(options.waveform)}",
             f"-DVM_TRACE_VCD={int(options.waveform)}", "-DVM_TRACE_FST=0", "-w"]  # fmt: skip
    if options.waveform:
        flags.append("-DBITLOOP_VCD")
    classes = (made / f"V{TOP}_classes.mk").read_text()
    runtime = shared / _digest([str(tools), *flags])[:16]
    runtime.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Path, Path, str]] = []
    for speed, level, more in (("FAST", options.optimization, [_HARNESS]), ("SLOW", "-O0", [])):
        names = (*_listed(classes, f"CLASSES_{speed}"), *_listed(classes, f"SUPPORT_{speed}"))
        sources = _joined([*(made / f"{name}.cpp" for name in names), *more], made / f"{_JOINED}_{speed.lower()}.cpp")
        jobs += [(source, source.with_suffix(".o"), level) for source in sources]
    jobs.append((_KERNELS, runtime / f"kernels-{_digest([_KERNELS.read_text()])[:16]}.o", "-O3"))
    for name in (*_listed(classes, "GLOBAL_FAST"), *_listed(classes, "GLOBAL_SLOW")):
        jobs.append((tools.root / "include" / f"{name}.cpp", runtime / f"{name}.o", "-O2"))
    todo = sorted((j for j in jobs if j[1].parent != runtime or not j[1].exists()), key=lambda j: -j[0].stat().st_size)
    tell("compiler", len(todo), 0)
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [
            pool.submit(_compile_one, tools, source, target, [*flags, level, *include]) for source, target, level in todo
        ]
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            tell("compiler", len(todo), done)
    objects = [str(target) for _, target, _ in jobs]
    ran = _run([str(tools.compiler), "-pthread", "-o", str(program), *objects])
    if ran.returncode:
        raise SimulatorError(f"the simulator cannot be linked: {_complaint(ran, 'error')}")


def _joined(sources: Sequence[Path], joint: Path) -> list[Path]:
    """Sources with one for all small ones of them: of those the compiler would spend nearly all time on the same headers."""
    small = [source for source in sources if source.stat().st_size < _SMALL]
    joint.write_text("".join(f'#include "{source.resolve()}"\n' for source in small), encoding="utf-8")
    return [joint, *(source for source in sources if source not in small)]


def _listed(classes: str, kind: str) -> list[str]:
    """The names of a list in the makefile that Verilator writes: one a line, indented, with a backslash behind it."""
    found = re.search(rf"^VM_{kind} \+=((?:\s*\\\n[ \t]+[\w/]+)*)", classes, re.MULTILINE)
    return re.findall(r"[\w/]+", found[1]) if found else []


def _compile_one(tools: Toolchain, source: Path, target: Path, flags: Sequence[str]) -> None:
    part = target.with_suffix(f".{os.getpid()}.part")
    ran = _run([str(tools.compiler), *flags, "-c", "-o", str(part), str(source)])
    if ran.returncode:
        part.unlink(missing_ok=True)
        raise SimulatorError(f"{source.name} of the simulator does not compile: {_complaint(ran, 'error')}")
    part.replace(target)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _complaint(ran: subprocess.CompletedProcess[str], mark: str) -> str:
    """The first line in which a program complains."""
    if ran.returncode < 0:
        return f"it was ended by signal {-ran.returncode}; is there enough memory?"
    lines = (ran.stderr + ran.stdout).splitlines()
    return next((line.strip() for line in lines if mark in line), lines[-1].strip() if lines else "it says nothing")
