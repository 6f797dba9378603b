"""A PostgreSQL server of its own on loopback, in a temporary directory, that can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "searcher", "s3cret-Pass"
SERVER_USER = "nobody"  # PostgreSQL does not run as root


def binaries() -> Path | None:
    """Where the server's programs are."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((f for f in reversed(folders) if (f / "postgres").is_file() and (f / "initdb").is_file()), None)


class Postgres:
    """A server; `start` and `stop` as often as wanted.

    Args:
        programs: directory of `postgres` and `initdb`.
        folder: for its data.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._data = programs, folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        told = folder / "password"
        told.write_text(PASSWORD)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            for path in (folder, told):
                shutil.chown(path, SERVER_USER)
            self._as = {"user": SERVER_USER, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", "--pwfile", told, "-E", "UTF8",
             "--no-sync"],
            check=True, capture_output=True, cwd=folder, **self._as,
        )  # fmt: skip
        self._folder, self._process = folder, None
        self.start()

    def start(self) -> None:
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as,
        )  # fmt: skip
        import psycopg

        for _ in range(600):
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise RuntimeError("PostgreSQL does not start")

    def stop(self) -> None:
        """At once, as where its machine is lost; what was committed is there when it starts again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} password={PASSWORD} dbname={database}"

    def url(self, database: str, password: str | None = PASSWORD) -> str:
        """Of a database, which is made if it is not there."""
        import psycopg

        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                connection.execute(f'CREATE DATABASE "{database}"')
        told = f":{password}" if password else ""
        return f"postgresql://{USER}{told}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running() -> Iterator[Postgres]:
    """A server; the test is skipped, by name, where there is none to be had."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'bitloop[distributed]'")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not there: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = None
    try:
        server = Postgres(programs, folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
