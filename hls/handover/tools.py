"""Finds Vivado and Vitis HLS in an environment that is handed in; pure but for looking whether files are there.

The order is FINN's (finn.util.basic.resolve_xilinx_tool): FINN_TOOL_DIR_OVERRIDE and nothing else where it is set, then
PATH. Beyond that the folders that AMD's settings64.sh names are searched, so that a forgotten PATH does not matter.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

VERSIONS = ("2022.2", "2024.2")  # those finn-plus 1.6 is developed with (its README, "Requirements")
OVERRIDE = "FINN_TOOL_DIR_OVERRIDE"
STAND_IN = "STAND_IN"  # a file of this name beside a tool says that it only plays the tool
_TOOLS = {"vivado": "Vivado", "vitis_hls": "Vitis HLS"}
_BIN_OF = {"vivado": ("XILINX_VIVADO",), "vitis_hls": ("XILINX_HLS", "XILINX_VITIS")}


class ToolError(Exception):
    """A vendor tool is missing or of a version that is not supported; the text is one line that says what to do."""


@dataclass(frozen=True)
class Tools:
    """The vendor tools of one machine.

    Attributes:
        vivado, vitis_hls: the executables.
        version: of both, such as "2022.2".
        root: what XILINX_VIVADO is to be for FINN, which reads the version from it.
        override: FINN_TOOL_DIR_OVERRIDE, or None.
        stand_in: whether something only plays the tools, as in bitloop's own tests; its reports are no results.
    """

    vivado: str
    vitis_hls: str
    version: str
    root: str
    override: str | None
    stand_in: bool

    def environment(self) -> dict[str, str]:
        """What a process that runs FINN needs beside its own environment, PATH left out."""
        told = {"XILINX_VIVADO": self.root}
        return told | ({OVERRIDE: self.override} if self.override else {})

    def folders(self) -> list[str]:
        """Folders that PATH must begin with."""
        return list(dict.fromkeys(str(Path(tool).parent) for tool in (self.vivado, self.vitis_hls)))

    def to_dict(self) -> dict[str, str | bool | None]:
        """As JSON takes it."""
        return asdict(self)


def find_tools(environment: Mapping[str, str]) -> Tools:
    """The vendor tools that an environment leads to.

    Args:
        environment: XILINX_VIVADO, XILINX_HLS, XILINX_VITIS, PATH and FINN_TOOL_DIR_OVERRIDE are looked at.

    Raises:
        ToolError: one is missing, or the version is not known or not supported.
    """
    vivado, vitis_hls = (_find(name, environment) for name in _TOOLS)
    override = environment.get(OVERRIDE) or None
    root = environment.get("XILINX_VIVADO") or str(vivado.resolve().parent.parent)
    version = _version(root)
    if version is None:
        raise ToolError(
            f"the version of Vivado cannot be told from XILINX_VIVADO={environment.get('XILINX_VIVADO', '')!r} nor from "
            f"{vivado}; FINN reads it from the path: source settings64.sh, or set XILINX_VIVADO=/…/Vivado/{VERSIONS[-1]}"
        )
    if version not in VERSIONS:
        raise ToolError(
            f"Vivado is {version} ({root}), which FINN+ is not developed with; install {' or '.join(VERSIONS)} and source "
            "its settings64.sh"
        )
    hls = _version(str(vitis_hls.resolve()))
    if hls is not None and hls != version:
        raise ToolError(f"Vitis HLS is {hls} ({vitis_hls}) and Vivado {version} ({root}); both must be of one version")
    stand_in = any((tool.parent / STAND_IN).exists() for tool in (vivado, vitis_hls))
    return Tools(str(vivado), str(vitis_hls), version, root, override, stand_in)


def _version(path: str) -> str | None:
    """The version in a path, as finn.util.basic.get_vivado_version reads it; the last one where there are several."""
    found = re.findall(r"(?<![\w.])(20\d{2}\.[1-9])(?![\w.])", path)
    return found[-1] if found else None


def _find(name: str, environment: Mapping[str, str]) -> Path:
    """One executable.

    Raises:
        ToolError: it is nowhere; the text says where it was looked for.
    """
    override = environment.get(OVERRIDE)
    looked = []
    if override:
        found = shutil.which(name, path=override)
        if found:
            return Path(found).absolute()
        looked.append(f"{OVERRIDE}={override}, and nowhere else as that is set")
    else:
        found = shutil.which(name, path=environment.get("PATH", ""))
        if found:
            return Path(found).absolute()
        n_folders = len([f for f in environment.get("PATH", "").split(os.pathsep) if f])
        for variable in _BIN_OF[name]:
            root = environment.get(variable)
            looked.append(f"{variable}={root}" if root else f"{variable} (not set)")
            found = root and shutil.which(name, path=str(Path(root) / "bin"))
            if found:
                return Path(found).absolute()
        beside = environment.get("XILINX_VIVADO")
        if name == "vitis_hls" and beside:  # AMD's installer puts Vitis_HLS/<version> beside Vivado/<version>
            folder = Path(beside).parent.parent / "Vitis_HLS" / Path(beside).name / "bin"
            found = shutil.which(name, path=str(folder))
            if found:
                return Path(found).absolute()
        looked += [f"PATH ({n_folders} folders)", f"{OVERRIDE} (not set)"]
    raise ToolError(
        f"{_TOOLS[name]} is not there: no executable {name} in {', '.join(looked)}; install Vivado with Vitis HLS "
        f"{' or '.join(VERSIONS)} and source its settings64.sh"
    )
