"""The way to a board over ssh, with a real sshd on loopback."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import paramiko
import psutil
import pytest

from boards import ssh, supervisor
from boards.errors import (
    BoardError,
    BoardTimeoutError,
    ConnectionLostError,
    LoginError,
    NoSpaceError,
    UnreachableError,
)
from boards.ssh import SshTransport
from boards.ssh_connection import Address, parse_address
from boards.transport import Completed
from tests.sshd import PATIENCE_S, Sshd

SECRET = "opensesame-41"
SLEEP = "import time; time.sleep(600)"
# Leaves its own number and that of a child which does not let itself be asked to end, and waits.
STUBBORN = """
import json, os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
open("numbers.part", "w").write(json.dumps([os.getpid(), child.pid]))
os.rename("numbers.part", "numbers")
time.sleep(600)
"""


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


def transport(sshd: Sshd, **changed: object) -> SshTransport:
    told: dict[str, object] = {"keys": [sshd.key], "patience_s": PATIENCE_S, "known_hosts": sshd.known_hosts}
    return SshTransport(sshd.host, **{**told, **changed})  # type: ignore[arg-type]


@pytest.fixture
def board(sshd: Sshd) -> Iterator[SshTransport]:
    with transport(sshd) as entered:
        yield entered


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def numbers(sshd: Sshd) -> list[int]:
    wait_for((sshd.home / "numbers").exists)
    return list(json.loads((sshd.home / "numbers").read_text()))


def has_ended(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- addresses


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("192.168.2.99", Address("xilinx", "192.168.2.99", 22), "xilinx@192.168.2.99"),
        ("root@Pynq.local:2222", Address("root", "pynq.local", 2222), "root@pynq.local:2222"),
        ("[fe80::1]", Address("xilinx", "fe80::1", 22), "xilinx@[fe80::1]"),
        ("me@[::1]:23", Address("me", "::1", 23), "me@[::1]:23"),
    ],
)
def test_an_address_is_user_host_and_port(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "text", ["", "a b", "me@", "@host", "host:0", "host:70000", "-oProxyCommand=id", "me@-x", "h;id", "a@b@c", "host:22\n"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BoardError, match=r"^HOST is .*; user@host, user@host:port, or simulated is wanted"):
        parse_address(text)


# --- reaching it, and being let in


def test_a_key_lets_the_user_in(board: SshTransport, sshd: Sshd) -> None:
    done = board.run(["python3", "-c", "import os; print(os.getcwd())"], 20)
    assert (done.code, done.output.strip(), done.errors) == (0, str(sshd.home), "")
    assert not board.simulated
    assert board.address == sshd.host


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        with (
            pytest.raises(UnreachableError, match=rf"^nobody listens at 127\.0\.0\.1, port {port}; wait until the board is up"),
            SshTransport(f"127.0.0.1:{port}", tmp_path / "none", keys=[]),
        ):
            pass


def test_who_listens_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(UnreachableError, match="does not speak ssh as wanted"),
            SshTransport(host, tmp_path / "none", keys=[], patience_s=0.5),
        ):
            pass


def test_another_key_is_refused_with_what_to_do(sshd: Sshd, tmp_path: Path) -> None:
    other = sshd.make_key(tmp_path / "other")
    with (
        pytest.raises(LoginError, match=rf"accepts no key that is here; .*ssh-copy-id -p {sshd.port} "),
        transport(sshd, keys=[other]),
    ):
        pass
    with pytest.raises(LoginError, match="accepts no key that is here"), transport(sshd, keys=[]):
        pass
    with pytest.raises(LoginError, match="is no file, and so no private key"), transport(sshd, keys=[tmp_path / "nothing"]):
        pass


def test_a_locked_key_is_named_as_such(sshd: Sshd, tmp_path: Path) -> None:
    locked = sshd.make_key(tmp_path / "locked", "passphrase")
    with pytest.raises(LoginError, match="locked by a passphrase; unlock it by ssh-add"), transport(sshd, keys=[locked]):
        pass


def test_an_unknown_host_key_is_refused_until_it_is_accepted(sshd: Sshd, tmp_path: Path) -> None:
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.key.with_name("host_key.pub"))], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    path = tmp_path / "new" / "known_hosts"
    with pytest.raises(UnreachableError) as refused, transport(sshd, known_hosts=path):
        pass
    assert fingerprint in str(refused.value)
    assert "ssh_host_ed25519_key.pub" in str(refused.value)
    assert f"accept it once by: ssh -p {sshd.port} " in str(refused.value)
    assert not path.exists()
    path.parent.mkdir()
    path.write_text("# mine\nother.example ssh-ed25519 AAAA")
    with transport(sshd, known_hosts=path, accept_new=True):
        pass
    assert path.read_text().startswith("# mine\nother.example ssh-ed25519 AAAA\n[127.0.0.1]:")
    before = path.read_text()
    with transport(sshd, known_hosts=path, accept_new=True):
        pass
    assert path.read_text() == before
    with transport(sshd, known_hosts=path):
        pass


def test_a_host_key_that_was_accepted_is_one_for_openssh_too(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    with transport(sshd, known_hosts=path, accept_new=True):
        pass
    assert path.stat().st_mode & 0o777 == 0o600
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{sshd.port}", "-f", str(path)], capture_output=True, text=True, check=True
    )
    assert "found: line 1" in found.stdout


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_host_key_is_always_refused(sshd: Sshd, tmp_path: Path, accept_new: bool) -> None:
    sshd.trust(sshd.make_key(tmp_path / "before"))
    with pytest.raises(UnreachableError) as refused, transport(sshd, accept_new=accept_new):
        pass
    assert f"ssh-keygen -f {sshd.known_hosts} -R '[127.0.0.1]:{sshd.port}'" in str(refused.value)
    assert str(refused.value).count("SHA256:") == 2


def test_a_revoked_host_key_is_refused(sshd: Sshd) -> None:
    trusted = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text(trusted + "@revoked * " + " ".join(trusted.split()[-2:]) + "\n")
    with pytest.raises(UnreachableError, match="marks as revoked"), transport(sshd):
        pass


def test_hashed_names_and_several_keys_of_a_host_are_understood(sshd: Sshd, tmp_path: Path) -> None:
    other = sshd.make_key(tmp_path / "other").with_suffix(".pub").read_text().split()[1]
    right = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} ssh-ed25519 {other}\n{right}")
    subprocess.run(["ssh-keygen", "-Hf", str(sshd.known_hosts)], capture_output=True, check=True)
    hashed = sshd.known_hosts.read_text()
    assert hashed.count("|1|") == 2
    assert "127.0.0.1" not in hashed
    sshd.known_hosts.write_text(f"nonsense\n|1|x|y ssh-rsa ///\nx ssh-ed25519 AAAA\n* unknown AAAA\n{hashed}")
    with transport(sshd):
        pass


# --- passwords


class PasswordServer(paramiko.ServerInterface):
    """Lets in whoever has the password, and nobody with a key: what an image does before a key was brought there."""

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == SECRET else paramiko.AUTH_FAILED


@pytest.fixture
def password_host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its HOST, and a file that knows it."""
    key = paramiko.ECDSAKey.generate()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        served: list[paramiko.Transport] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server = paramiko.Transport(listening.accept()[0])
                    served.append(server)
                    server.add_server_key(key)
                    server.start_server(threading.Event(), PasswordServer())  # which does not wait for the client

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"xilinx@127.0.0.1:{port}", known
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for server in served:
            server.close()


def test_a_password_is_asked_once_and_only_where_no_key_does(password_host: tuple[str, Path]) -> None:
    host, known = password_host
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        return SECRET

    way = SshTransport(host, known, ask, keys=[], patience_s=PATIENCE_S)
    for _ in range(2):
        with way:
            pass
    assert len(asked) == 1
    assert SECRET not in repr(way) + repr(vars(way))


def test_no_password_and_a_wrong_one(password_host: tuple[str, Path]) -> None:
    host, known = password_host
    for password in (None, lambda: ""):
        with pytest.raises(LoginError, match="accepts no key that is here"), SshTransport(host, known, password, keys=[]):
            pass
    with pytest.raises(LoginError, match="does not accept the password"), SshTransport(host, known, lambda: "wrong", keys=[]):
        pass


def test_a_password_shows_nowhere(
    password_host: tuple[str, Path], sshd: Sshd, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the one that is right nor one that is not; also not where a traceback shows the variables of its frames."""
    caplog.set_level(logging.DEBUG)
    host, known = password_host
    said = []
    with SshTransport(host, known, lambda: SECRET, keys=[]):
        pass
    sshd.without_root("another")
    try:
        with SshTransport(host, known, lambda: SECRET[:-1], keys=[]):
            pass
    except LoginError as error:
        said += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    with transport(sshd, password=lambda: SECRET) as way:
        try:
            way.run(["true"], 20, root=True)
        except LoginError as error:
            said += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    printed = capfd.readouterr()
    whole = "".join([*said, *(record.getMessage() for record in caplog.records), printed.out, printed.err, sshd.sudo_log])
    assert "LoginError" in whole
    assert SECRET[:-1] not in whole


# --- root's rights


def test_root_needs_no_sudo(board: SshTransport) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can log in as root here")
    assert board.run(["id", "-u"], 20, root=True).output.strip() == "0"


def test_sudo_without_a_password(sshd: Sshd) -> None:
    sshd.without_root(None)
    with transport(sshd) as way:
        done = way.run(["sh", "-c", "echo $BY_SUDO; cat"], 20, root=True)
    assert (done.code, done.output) == (0, "1\n")
    assert "-S" not in sshd.sudo_log


def test_sudo_with_a_password_gets_it_by_standard_input_alone(sshd: Sshd) -> None:
    sshd.without_root(SECRET)
    look = "import pathlib; print([p.read_bytes() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')]); print(input())"
    with transport(sshd, password=lambda: SECRET) as way:
        done = way.run(["python3", "-c", look], 20, root=True)
        assert "EOFError" in done.errors  # the password is sudo's: what runs under it cannot read it
        assert "python3" in done.output
        assert SECRET not in done.output
        assert way.run(["sh", "-c", "echo $BY_SUDO"], 20).output == "\n"
        assert way.run(["sh", "-c", "echo $BY_SUDO"], 20, root=True).output == "1\n"
    assert SECRET not in sshd.sudo_log


def test_sudo_that_does_not_let_the_user(sshd: Sshd) -> None:
    sshd.without_root(SECRET)
    with transport(sshd) as way, pytest.raises(LoginError, match=r"wants the password of \S+, .*/etc/sudoers.d/bitloop"):
        way.run(["true"], 20, root=True)
    with transport(sshd, password=lambda: "wrong") as way, pytest.raises(LoginError, match="does not accept the password"):
        way.run(["true"], 20, root=True)


# --- commands


def test_nothing_of_the_users_home_is_imported(board: SshTransport, sshd: Sshd) -> None:
    for name in ("signal", "select", "subprocess", "hashlib", "json", "os"):
        (sshd.home / f"{name}.py").write_text("raise SystemExit('somebody else's module')")
    assert board.run(["echo", "here"], 20) == Completed(0, "here\n", "")
    board.upload(sshd.key, PurePosixPath("key"))  # which asks for the room on the card


def test_a_run_is_shown_signs_of_life(board: SshTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "SILENCE_S", 2.0)
    monkeypatch.setattr(ssh, "BEAT_S", 0.2)
    assert board.run(["sleep", "5"], 20).code == 0


def test_a_cable_that_was_pulled_ends_the_run(board: SshTransport, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing arrives any more, and nobody says that the connection has ended."""
    monkeypatch.setattr(ssh, "SILENCE_S", 1.0)
    monkeypatch.setattr(ssh, "BEAT_S", 600.0)
    done = board.run(["python3", "-c", STUBBORN], 60)
    assert done.code == supervisor.LEFT_ALONE
    assert all(has_ended(number) for number in numbers(sshd))


def test_arguments_arrive_as_they_are(board: SshTransport) -> None:
    strange = ["", " ", "a b", "$HOME", "`id`", "'", '"', "\\", "*", "-n", "x\ny", "größe", "; exit 3"]
    done = board.run(["python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *strange], 20)
    assert json.loads(done.output) == strange


@pytest.mark.parametrize("word", ["a\0b", "\udc80"])
def test_arguments_that_cannot_arrive_are_refused(board: SshTransport, word: str) -> None:
    with pytest.raises(BoardError, match="has an argument that no command can have"):
        board.run(["echo", word], 20)


def test_the_environment_of_pynq(board: SshTransport) -> None:
    done = board.run(["sh", "-c", 'echo "$XILINX_XRT"; exit 7'], 20, python=True)
    assert (done.code, done.output) == (7, "/usr\n")
    assert board.run(["sh", "-c", 'echo "$XILINX_XRT"'], 20).output == "\n"


def test_what_ended_badly_says_so(board: SshTransport) -> None:
    assert board.run(["python3", "-c", "raise SystemExit(3)"], 20).code == 3
    assert board.run(["sh", "-c", "kill -9 $$"], 20).code == 137
    done = board.run(["no-such-program"], 20)
    assert done.code == 127
    assert "No such file" in done.errors


def test_ten_megabytes_on_both_outputs(board: SshTransport) -> None:
    program = "import sys; [(sys.stdout.write('o' * 1000), sys.stderr.write('e' * 1000)) for _ in range(10_000)]"
    done = board.run(["python3", "-c", program], 120)
    assert (done.code, len(done.output), len(done.errors)) == (0, 10_000_000, 10_000_000)


def test_endless_output_is_ended(board: SshTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MAX_OUTPUT", 1 << 20)
    with pytest.raises(BoardError, match="yes wrote more than 1 MiB"):
        board.run(["yes"], 60)
    assert board.run(["true"], 20).code == 0


def test_after_the_time_limit_nothing_runs_any_more(board: SshTransport) -> None:
    with pytest.raises(BoardTimeoutError, match=r"^sh did not end on \S+ within 0\.5 s, and was ended$"):
        board.run(["sh", "-c", "echo $$ > numbers; sleep 600; true"], 0.5)
    assert board.run(["sh", "-c", "kill -0 $(cat numbers)"], 20).code == 1
    assert board.run(["sh", "-c", "exit 124"], 20).code == 124  # which is no time limit


def test_nor_does_what_root_began_or_what_does_not_let_itself_be_asked(sshd: Sshd) -> None:
    sshd.without_root(SECRET)
    with transport(sshd, password=lambda: SECRET) as way:
        with pytest.raises(BoardTimeoutError, match=r"^python3 did not end on \S+ within 3 s, and was ended$"):
            way.run(["python3", "-c", STUBBORN], 3, root=True)
        assert all(has_ended(number) for number in numbers(sshd))
        assert way.run(["echo", "here"], 20).output == "here\n"


def test_a_program_that_leaves_another_behind_is_not_waited_for(sshd: Sshd, board: SshTransport) -> None:
    done = board.run(["sh", "-c", "sleep 600 & echo $! > numbers"], 60)
    assert done.code == 0
    wait_for(lambda: has_ended(int((sshd.home / "numbers").read_text())))


def test_a_board_that_hangs_as_a_whole_is_given_up(sshd: Sshd) -> None:
    with transport(sshd, patience_s=1) as way:
        way.run(["true"], 20)
        stopped = sshd.sessions()
        for session in stopped:
            session.send_signal(signal.SIGSTOP)
        with pytest.raises(BoardError, match=r"does not answer any more|the connection to .* ended"):
            way.run(["true"], 0.5)
        for session in stopped:
            session.send_signal(signal.SIGCONT)


def test_a_connection_that_ends_in_a_run_ends_the_run(sshd: Sshd, board: SshTransport) -> None:
    threading.Thread(target=lambda: (numbers(sshd), sshd.cut()), daemon=True).start()
    with pytest.raises(ConnectionLostError, match=r"^the connection to .* ended in the middle of python3; .*try again$"):
        board.run(["python3", "-c", STUBBORN], 60)
    wait_for(lambda: all(has_ended(number) for number in numbers(sshd)))
    with pytest.raises(ConnectionLostError, match=r"there is no connection to .* any more"):
        board.run(["true"], 20)
    with board:
        assert board.run(["true"], 20).code == 0


def test_what_was_said_before_a_connection_ended_is_not_lost(sshd: Sshd, board: SshTransport) -> None:
    program = f"import sys; print('said', file=sys.stderr, flush=True)\n{STUBBORN}"
    threading.Thread(target=lambda: (numbers(sshd), sshd.cut()), daemon=True).start()
    with pytest.raises(ConnectionLostError) as raised:
        board.run(["python3", "-c", program], 60)
    assert raised.value.errors == "said\n"
    with board, pytest.raises(BoardTimeoutError) as late:
        board.run(["python3", "-c", program], 2)
    assert late.value.errors.startswith("said\n")


def test_an_interrupted_wait_ends_the_run(sshd: Sshd, board: SshTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    def ctrl_c(*_: object) -> tuple[None, bytearray]:
        numbers(sshd)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SshTransport, "_read", ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            board.run(["python3", "-c", STUBBORN], 60)
    wait_for(lambda: all(has_ended(number) for number in numbers(sshd)))


def test_without_a_connection_nothing_is_done(sshd: Sshd, tmp_path: Path) -> None:
    way = transport(sshd)
    for do in (
        lambda: way.run(["true"], 20),
        lambda: way.upload(sshd.key, PurePosixPath("key")),
        lambda: way.download(PurePosixPath("key"), tmp_path / "key"),
    ):
        with pytest.raises(ConnectionLostError, match="there is no connection"):
            do()


# --- files


def test_two_that_copy_to_the_same_place_are_told(sshd: Sshd, board: SshTransport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2_000_000))
    with transport(sshd) as other:
        meet: list[int] = []

        def also(done: int, total: int) -> None:
            if not meet:
                meet.append(done)
                other.upload(source, PurePosixPath("x"))

        with pytest.raises(BoardError, match=r"\.x\.part was taken away on .*; does another bitloop use it\? Try again"):
            board.upload(source, PurePosixPath("x"), also)
    assert (sshd.home / "x").read_bytes() == source.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files and folders of several sizes and strange names."""
    path = tmp_path / "source"
    (path / "below" / "empty").mkdir(parents=True)
    (path / "none").write_bytes(b"")
    (path / "below" / "it's $HOME; `id` größe.bin").write_bytes(os.urandom(300_000))
    (path / "-rf").write_bytes(b"x")
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_a_folder_arrives_and_replaces_what_was_there(sshd: Sshd, board: SshTransport, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    target = PurePosixPath("a/b/target")
    board.upload(folder, target, lambda done, total: told.append((done, total)))
    assert contents(sshd.home / target) == contents(folder)
    assert told[-1] == (300_001, 300_001)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {p.stat().st_mode & 0o777 for p in (sshd.home / target).rglob("*") if p.is_file()} == {0o644}
    (folder / "none").unlink()
    board.upload(folder, target)
    assert contents(sshd.home / target) == contents(folder)
    assert [p.name for p in (sshd.home / "a/b").iterdir()] == ["target"]


def test_a_file_goes_there_and_back(sshd: Sshd, board: SshTransport, tmp_path: Path) -> None:
    sent, target = tmp_path / "sent", PurePosixPath("it's; $HOME")
    for content in (os.urandom(3_000_000), b""):
        sent.write_bytes(content)
        board.upload(sent, target)
        board.download(target, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
    assert [p.name for p in sshd.home.iterdir()] == [target.name]


def test_what_is_not_there_cannot_be_had(sshd: Sshd, board: SshTransport, tmp_path: Path) -> None:
    (sshd.home / "folder").mkdir()
    for name in ("nothing", "folder"):
        with pytest.raises(BoardError, match=f"has no file {name}$"):
            board.download(PurePosixPath(name), tmp_path / "back")
    with pytest.raises(BoardError, match="is no file and no folder"):
        board.upload(tmp_path / "nothing", PurePosixPath("x"))
    assert not (tmp_path / "back").exists()


def test_links_are_not_followed(sshd: Sshd, board: SshTransport, folder: Path) -> None:
    (folder / "below" / "link").symlink_to("/etc/passwd")
    with pytest.raises(BoardError, match="is a link or no plain file"):
        board.upload(folder, PurePosixPath("x"))
    with pytest.raises(BoardError, match="is no file and no folder"):
        board.upload(folder / "below" / "link", PurePosixPath("x"))
    # nor on the board: what lies in the way is removed, and not what it leads to
    (folder / "below" / "link").unlink()
    outside = sshd.home / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (sshd.home / ".x.part").symlink_to(outside)
    board.upload(folder, PurePosixPath("x"))
    assert (outside / "kept").exists()
    assert contents(sshd.home / "x") == contents(folder)


@pytest.mark.parametrize("name", ["new\nline", "bell\a"])
def test_names_that_cannot_be_printed_are_refused(board: SshTransport, folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(BoardError, match="characters in its name that cannot be printed"):
        board.upload(folder, PurePosixPath("x"))
    with pytest.raises(BoardError, match="is no path to copy to"):
        board.upload(folder / "none", PurePosixPath(name))


@pytest.mark.parametrize("target", ["../x", "a/../../x", ".", "/"])
def test_targets_outside_are_refused(board: SshTransport, folder: Path, target: str) -> None:
    with pytest.raises(BoardError, match="is no path to copy to"):
        board.upload(folder, PurePosixPath(target))


def test_a_connection_that_ends_in_a_copy_leaves_nothing_that_is_taken_for_whole(
    sshd: Sshd, board: SshTransport, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(os.urandom(2_000_000))
    old = tmp_path / "old"
    old.mkdir()
    (old / "a").write_bytes(b"before")
    board.upload(old, PurePosixPath("x"))

    def cut(done: int, total: int) -> None:
        if done > total / 2:
            sshd.cut()

    with pytest.raises(ConnectionLostError, match="ended in the middle of copying x"):
        board.upload(source, PurePosixPath("x"), cut)
    assert contents(sshd.home / "x") == {"a": b"before"}
    with board:
        board.upload(source, PurePosixPath("x"))
    assert contents(sshd.home / "x") == contents(source)
    assert [p.name for p in sshd.home.iterdir()] == ["x"]


def test_an_interrupted_copy_is_removed(sshd: Sshd, board: SshTransport, folder: Path) -> None:
    def ctrl_c(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        board.upload(folder, PurePosixPath("x"), ctrl_c)
    assert list(sshd.home.iterdir()) == []
    assert board.run(["true"], 20).code == 0


@pytest.fixture
def small_card(sshd: Sshd) -> Iterator[Path]:
    """A card of 4 MiB for a home."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "bitloop-test", str(sshd.home)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here, which takes root's rights: {mounted.stderr.strip()}")
    yield sshd.home
    subprocess.run(["umount", "-l", str(sshd.home)], check=True)


def test_a_full_card_is_seen_before_anything_is_copied(small_card: Path, board: SshTransport, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(5 << 20))
    with pytest.raises(NoSpaceError, match=r"^the card of \S+ has 4\.2 MB free and 6\.3 MB are wanted; "):
        board.upload(source, PurePosixPath("x"))
    assert list(small_card.iterdir()) == []


def test_a_card_that_fills_up_in_the_middle(small_card: Path, board: SshTransport, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(2 << 20))

    def fill(done: int, total: int) -> None:
        with contextlib.suppress(OSError), (small_card / "somebody-else").open("ab") as file:
            file.write(bytes(4 << 20))

    with pytest.raises(NoSpaceError, match=r"has 0\.0 MB free"):
        board.upload(source, PurePosixPath("x"), fill)
    assert [p.name for p in small_card.iterdir()] == ["somebody-else"]
    (small_card / "somebody-else").unlink()
    board.upload(source, PurePosixPath("x"))
    assert (small_card / "x").stat().st_size == 2 << 20


def test_a_file_in_the_way_of_a_folder(sshd: Sshd, board: SshTransport, folder: Path) -> None:
    (sshd.home / "file").touch()
    with pytest.raises(BoardError, match=r"^file on the board is a file, and a folder is wanted there"):
        board.upload(folder, PurePosixPath("file/x"))
