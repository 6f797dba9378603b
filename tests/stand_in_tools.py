"""Programs that play Vivado and Vitis HLS: they leave what FINN's steps look for, every line of it marked, and build nothing.

`install` puts them into a folder for FINN_TOOL_DIR_OVERRIDE. Run as a program it is the tool named first.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hls.handover.tools import STAND_IN

MARK = "made by a stand-in tool"
UTILISATION = f"""{MARK}
| Site Type         | Used | Fixed | Prohibited | Available | Util% |
| Slice LUTs        | 1200 |     0 |          0 |     53200 |  2.26 |
| Slice Registers   | 2100 |     0 |          0 |    106400 |  1.97 |
| Block RAM Tile    |  3.5 |     0 |          0 |       140 |  2.50 |
|   RAMB36/FIFO*    |    3 |     0 |          0 |       140 |  2.14 |
|   RAMB18          |    1 |     0 |          0 |       280 |  0.36 |
| DSPs              |    4 |     0 |          0 |       220 |  1.82 |
"""
TIMING = f"""{MARK}
    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
      1.250        0.000                      0                 4321        0.040
"""
SYNTHESIS = f"""<?xml version="1.0"?><r><!-- {MARK} -->
<t><tablerow><tablecell contents="Instance"/><tablecell contents="Module"/><tablecell contents="Total LUTs"/>
<tablecell contents="SRLs"/><tablecell contents="FFs"/><tablecell contents="RAMB36"/><tablecell contents="RAMB18"/>
<tablecell contents="DSP Blocks"/></tablerow>
<tablerow><tablecell contents="(top)"/><tablecell contents="(top)"/><tablecell contents="9000"/><tablecell contents="10"/>
<tablecell contents="8000"/><tablecell contents="20"/><tablecell contents="5"/><tablecell contents="6"/></tablerow></t></r>
"""


def install(folder: Path, fails: str = "") -> Path:
    """Put both tools into a folder.

    Args:
        folder: made if need be.
        fails: a piece of a script at which the tool is to fail, for tests of that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAND_IN).write_text(f"{MARK}: these play Vivado and Vitis HLS\n")
    root = Path(__file__).parents[1]
    for name in ("vivado", "vitis_hls"):
        tool = folder / name
        tool.write_text(
            f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m tests.stand_in_tools {name} "{fails}" "$@"\n'
        )
        tool.chmod(0o755)
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def play_vitis_hls(script: str) -> None:
    """Leave the folder of an exported IP."""
    project = _only(r"^set config_proj_name (\S+)$", script)
    _write(Path(project) / "sol1" / "impl" / "ip" / "component.xml", f"<!-- {MARK} -->\n")


def play_vivado(script: str) -> None:
    """Leave a project with its IP, out-of-context reports, or a whole design, whichever the script is about."""
    here = Path.cwd()
    if "create_project finn_zynq_link" in script:
        run = here / "finn_zynq_link.runs" / "impl_1"
        _write(run / "top_wrapper.bit", MARK)
        _write(run / "top_wrapper_timing_summary_routed.rpt", TIMING)
        _write(
            here / "finn_zynq_link.gen" / "sources_1" / "bd" / "top" / "hw_handoff" / "top.hwh", f"<!-- {MARK} --><EDKSYSTEM/>"
        )
        _write(here / "synth_report.xml", SYNTHESIS)
        return
    for kind, file in re.findall(r'report_(\w+) -file "([^"]+)"', script):
        _write(Path(file), {"utilization": UTILISATION, "timing_summary": TIMING}.get(kind, MARK))
    for file, text in re.findall(r'set fp \[open "([^"]+)" w\]\nputs \$fp "([^"]+)"', script):
        _write(Path(file), f"{text}\nvivado_version={MARK}\n")
    created = re.search(r"^create_project (\S+) (\S+)", script, re.MULTILINE)
    if created:
        _write(Path(created[2]) / f"{created[1]}.xpr", MARK)
        _write(Path(created[2]) / "ip" / "component.xml", f"<!-- {MARK} -->\n")
        for file in re.findall(r"^add_files -norecurse (\S+_wrapper\.v)$", script, re.MULTILINE):
            if not Path(file).exists():
                _write(Path(file), f"// {MARK}\n")


def _only(pattern: str, script: str) -> str:
    (found,) = re.findall(pattern, script, re.MULTILINE)
    return str(found)


def main(tool: str, fails: str, *arguments: str) -> int:
    script = Path(arguments[-1]).read_text()
    if fails and fails in script:
        said = f"INFO: {tool} begins\nERROR: [Stand-in 1-23] {MARK}: told to fail at {fails!r}\nINFO: {tool} ends\n"
        print(said)
        _write(Path.cwd() / f"{tool}.log", said)  # where the real ones log to
        return 1
    {"vivado": play_vivado, "vitis_hls": play_vitis_hls}[tool](script)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
