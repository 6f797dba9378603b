"""Optuna's own dashboard on a run's trials, on this machine; it can look, and change nothing."""

from __future__ import annotations

from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flow.errors import MissingExtraError
from flow.watch.graph import LOOPBACK
from flow.watch.trials_file import open_storage


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser's idle connection must not keep others waiting


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """No line a request."""


def dashboard_server(run: Path, port: int) -> WSGIServer:
    """A server of the dashboard, on the loopback interface alone; `serve_forever` begins it.

    Args:
        run: directory of the run.
        port: 0 for one that is free.

    Raises:
        MissingExtraError: the dashboard is not installed.
        RunDirectoryError, StoreError: `trials.db` is not there or cannot be read.
        OSError: the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingExtraError("optuna-dashboard is not installed; pip install 'bitloop[watch]' brings it") from error
    return make_server(LOOPBACK, port, wsgi(open_storage(run / "trials.db")), _Server, _Quiet)


def address_of(server: WSGIServer) -> str:
    """Where a browser finds it."""
    return f"http://{LOOPBACK}:{server.server_port}/dashboard"
