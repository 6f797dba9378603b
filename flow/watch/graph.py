"""A run's network in Netron, in a browser on this machine."""

from __future__ import annotations

import logging
from pathlib import Path

from flow.errors import MissingExtraError, RunDirectoryError
from hls.handover.build import CHECKPOINT

LOOPBACK = "127.0.0.1"


def graph_file(run: Path, finn: bool, build: Path | None) -> Path:
    """The file with a run's network.

    Args:
        run: its directory.
        finn: the build's graph of FINN's hardware layers, not the run's QONNX file.
        build: directory of the build; None for where `make bitstream` puts it.

    Raises:
        RunDirectoryError: it is not there.
        Any of `flow.build_source.source_of_policy`.
    """
    if not finn:
        path = run / "model.onnx"
        if not path.is_file():
            raise RunDirectoryError(f"RUN={run} has no model.onnx yet; let make search finish")
        return path
    if build is None:
        from flow.bitstream import default_directory
        from flow.build_source import source_of_policy

        build = default_directory(source_of_policy(run / "policy.json"))
    path = build / CHECKPOINT
    if not path.is_file():
        raise RunDirectoryError(f"{path} is not there; make bitstream RUN={run} makes it, or name another build with OUT=")
    return path


def serve(file: Path, port: int, browse: bool) -> str:
    """Show a file in Netron, on the loopback interface alone, until `wait` returns.

    Args:
        file: to show.
        port: 0 for one that is free.
        browse: open it in the browser.

    Returns:
        Its address.

    Raises:
        MissingExtraError: Netron is not installed.
        OSError: the port is taken.
    """
    try:
        import netron
    except ImportError as error:
        raise MissingExtraError("Netron is not installed; pip install 'bitloop[watch]' brings it") from error
    logging.getLogger("netron").setLevel(logging.WARNING)  # it says its address itself, as we do
    host, found = netron.start(str(file), (LOOPBACK, port), browse=browse)
    return f"http://{host}:{found}"


def wait() -> None:
    """Until Ctrl-C."""
    import netron

    netron.wait()


def stop() -> None:
    """End what `serve` began."""
    import netron

    netron.stop()
