"""From HOST to a board, and what is asked of the person in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

from boards.simulated import Played
from flow import hosts
from flow.errors import BoardError, LoginError, SettingsError
from flow.hosts import connect, effort_of
from tests.board_python import board_python

MINE = Played("my-board", "xc7z010clg400-1", "zynq-7000", 125.0)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BITLOOP_BOARD_PASSWORD", raising=False)
    hosts._password.cache_clear()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 1e300, 86_401.0])
def test_a_time_limit_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(SettingsError, match=r"^TIMEOUT is .*; seconds above 0 and up to 86400 are wanted$"):
        effort_of("1", 1, timeout_s)
    assert effort_of("10,1,10", 2, 86_400.0).batch_sizes == (1, 10)


def test_a_password_is_asked_once_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return "secret"

    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for _ in range(2):
        assert hosts._password("me@host").get_secret_value() == "secret"
    assert asked == ["password of me@host"]
    assert "secret" not in repr(hosts._password("me@host"))


def test_without_a_terminal_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(LoginError, match="there is no terminal to ask at; set BITLOOP_BOARD_PASSWORD"):
        hosts._password("me@host")
    monkeypatch.setenv("BITLOOP_BOARD_PASSWORD", "told")
    assert hosts._password("me@host").get_secret_value() == "told"


def test_the_users_configuration_of_ssh_is_read(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host bench\n  HostName 127.0.0.1\n  Port 1\n\nHost far\n  ProxyJump gate\n")
    with pytest.raises(BoardError, match=r"^nobody listens at 127\.0\.0\.1, port 1;"), connect("bench", MINE):
        pass
    with pytest.raises(BoardError, match="by ProxyJump, which bitloop does not take"), connect("far", MINE):
        pass


def test_the_simulated_board_plays_a_board_of_a_users_own() -> None:
    with connect("simulated", MINE, interpreter=board_python()) as runner:
        found = {line.subject: line.found for line in runner.check()}
    assert found["board"] == "my-board, simulated: no board"
