"""Where Vivado is looked for, and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hls.handover.tools import STAND_IN, ToolError, Tools, find_tools


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def installed(root: Path, version: str = "2022.2") -> tuple[Path, Path]:
    """As AMD's installer puts them."""
    return (
        executable(root / "Vivado" / version / "bin" / "vivado"),
        executable(root / "Vitis_HLS" / version / "bin" / "vitis_hls"),
    )


@pytest.mark.parametrize("version", ["2022.2", "2024.2"])
def test_on_path(tmp_path: Path, version: str) -> None:
    vivado, hls = installed(tmp_path, version)
    tools = find_tools({"PATH": f"/nowhere:{vivado.parent}:{hls.parent}"})
    assert tools == Tools(str(vivado), str(hls), version, str(vivado.parent.parent), None, False)
    assert tools.folders() == [str(vivado.parent), str(hls.parent)]
    assert tools.environment() == {"XILINX_VIVADO": str(vivado.parent.parent)}


def test_a_forgotten_path_does_not_matter(tmp_path: Path) -> None:
    vivado, hls = installed(tmp_path)
    root = str(vivado.parent.parent)
    assert find_tools({"XILINX_VIVADO": root}).vitis_hls == str(hls)
    assert find_tools({"XILINX_VIVADO": root, "XILINX_HLS": str(hls.parent.parent)}).vitis_hls == str(hls)


def test_vitis_may_bring_vitis_hls(tmp_path: Path) -> None:
    vivado, hls = installed(tmp_path)
    hls.unlink()
    other = executable(tmp_path / "Vitis" / "2022.2" / "bin" / "vitis_hls")
    environment = {"XILINX_VIVADO": str(vivado.parent.parent), "XILINX_VITIS": str(other.parent.parent)}
    assert find_tools(environment).vitis_hls == str(other)


def test_the_override_comes_first_and_alone(tmp_path: Path) -> None:
    vivado, hls = installed(tmp_path / "real")
    wrappers = tmp_path / "wrappers"
    environment = {
        "FINN_TOOL_DIR_OVERRIDE": str(wrappers), "PATH": f"{vivado.parent}:{hls.parent}", "XILINX_VIVADO": "/x/Vivado/2024.2",
    }  # fmt: skip
    with pytest.raises(ToolError, match=f"no executable vivado in FINN_TOOL_DIR_OVERRIDE={wrappers}, and nowhere else as that"):
        find_tools(environment)
    executable(wrappers / "vivado")
    executable(wrappers / "vitis_hls")
    tools = find_tools(environment)
    assert (tools.vivado, tools.version, tools.stand_in) == (str(wrappers / "vivado"), "2024.2", False)
    assert tools.environment()["FINN_TOOL_DIR_OVERRIDE"] == str(wrappers)


def test_stand_ins_say_so(tmp_path: Path) -> None:
    for name in ("vivado", "vitis_hls"):
        executable(tmp_path / name)
    (tmp_path / STAND_IN).touch()
    environment = {"FINN_TOOL_DIR_OVERRIDE": str(tmp_path), "XILINX_VIVADO": "/x/Vivado/2022.2"}
    assert find_tools(environment).stand_in


def test_nothing_there_is_said_with_every_place(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        find_tools({"PATH": f"{tmp_path}:/nowhere", "XILINX_VIVADO": "/gone/Vivado/2022.2"})
    assert str(caught.value) == (
        "Vivado is not there: no executable vivado in XILINX_VIVADO=/gone/Vivado/2022.2, PATH (2 folders), "
        "FINN_TOOL_DIR_OVERRIDE (not set); install Vivado with Vitis HLS 2022.2 or 2024.2 and source its settings64.sh"
    )


def test_vitis_hls_missing_is_said(tmp_path: Path) -> None:
    vivado, hls = installed(tmp_path)
    hls.unlink()
    with pytest.raises(ToolError, match=r"Vitis HLS is not there: .* XILINX_HLS \(not set\), XILINX_VITIS \(not set\)"):
        find_tools({"PATH": str(vivado.parent)})


def test_what_cannot_be_run_is_no_tool(tmp_path: Path) -> None:
    vivado, hls = installed(tmp_path)
    vivado.chmod(0o644)
    with pytest.raises(ToolError, match="Vivado is not there"):
        find_tools({"PATH": f"{vivado.parent}:{hls.parent}"})


@pytest.mark.parametrize("version", ["2020.1", "2023.1", "2025.1"])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    vivado, hls = installed(tmp_path, version)
    with pytest.raises(ToolError, match=rf"Vivado is {version} .* install 2022\.2 or 2024\.2"):
        find_tools({"PATH": f"{vivado.parent}:{hls.parent}"})


def test_two_versions_are_refused(tmp_path: Path) -> None:
    vivado, _ = installed(tmp_path, "2022.2")
    _, hls = installed(tmp_path, "2024.2")
    with pytest.raises(ToolError, match=r"Vitis HLS is 2024\.2 .* and Vivado 2022\.2"):
        find_tools({"PATH": f"{vivado.parent}:{hls.parent}"})


def test_a_version_that_nobody_says_is_asked_for(tmp_path: Path) -> None:
    for name in ("vivado", "vitis_hls"):
        executable(tmp_path / name)
    with pytest.raises(ToolError, match=r"the version of Vivado cannot be told from XILINX_VIVADO='' nor from .*vivado"):
        find_tools({"FINN_TOOL_DIR_OVERRIDE": str(tmp_path)})
