"""A real board over ssh: `SshTransport`.

By paramiko, not by the programs ssh and scp: a password can be handed over without a terminal and without showing it to
anybody, errors come as such and not as a program's text, and every wait has a limit. Nothing secret is kept in a message, a
log, a file, or an argument of a process, here or on the board.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import paramiko
from pydantic import SecretStr

from boards import sftp, supervisor
from boards.errors import BoardError, BoardTimeoutError, ConnectionLostError, LoginError
from boards.load import SPARE, check_target, load_of, part_of
from boards.ssh_config import way_to
from boards.ssh_connection import Way, connect
from boards.transport import Completed, title_of

PATIENCE_S = 20.0
BEAT_S, SILENCE_S = 5.0, 30.0  # between two signs of life while a command runs, and how long a board waits for one
MAX_OUTPUT = 64 << 20  # bytes of each of the two

# What a login at the image would have: the board's name, XRT's place and pynq's virtual environment. Only what is there is
# sourced, and what it prints is not mixed with what the program prints.
PYNQ = (
    'for name in boardname xrt_setup pynq_venv; do file=/etc/profile.d/$name.sh; [ -r "$file" ] && . "$file" >&2; done; '
    'export XILINX_XRT="${XILINX_XRT:-/usr}"; exec "$@"'
)
FREE = "import os, sys; card = os.statvfs(sys.argv[1]); print(card.f_bavail * card.f_frsize)"
PYTHON = ("python3", "-I")  # no module of the user's home, and none of Python's variables, by root least of all
# -k: what sudo remembers of an earlier call must not decide whether it reads a password
SUDO, SUDO_BY_PASSWORD = ("sudo", "-k", "-n", "--"), ("sudo", "-k", "-S", "-p", "", "--")
NO_PASSWORD = SecretStr("")

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it has to say comes as exceptions


class SshTransport:
    """The way to a board over ssh; see `boards.transport.Transport`. One thread at a time.

    Commands and relative paths begin in the user's home. Every command runs under `boards.supervisor`, which ends it when its
    time is up and when the connection is gone.

    Args:
        host: as given to HOST.
        known_hosts: the user's file of host keys.
        password: is asked once, and only if the board does not let the user in by a key, or sudo wants one; None for none.
        keys: files of private keys; None for those of `config`, of the agent and of ~/.ssh.
        config: the user's configuration of ssh (`boards.ssh_config`); None for none.
        accept_new: whether the host key of a board that is not in `known_hosts` is taken down there instead of refused.
        patience_s: for one answer of the board: to connect, to take a file's next piece, to end what is to be ended.
    """

    simulated = False

    def __init__(
        self,
        host: str,
        known_hosts: Path,
        password: Callable[[], str] | None = None,
        *,
        keys: Sequence[Path] | None = None,
        config: Path | None = None,
        accept_new: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._host, self._way = host, way_to(host, config)
        if keys is not None:
            self._way = Way(self._way.address, tuple(keys), any_of_agent=False)
        self._known_hosts, self._accepts_new = known_hosts, accept_new
        self._ask, self._secret = password, None if password else NO_PASSWORD
        self._patience_s = patience_s
        self._client: Any = None
        self._rights: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"SshTransport({self._host!r})"

    @property
    def address(self) -> str:
        """As given to HOST."""
        return self._host

    def __enter__(self) -> SshTransport:
        self.__exit__()
        try:
            self._client = self._connected(None)
        except LoginError:
            if not self._password().get_secret_value():
                raise
            self._client = self._connected(self._password())
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._rights = None

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        """Run a command to its end; see `boards.transport.Transport`.

        Raises:
            BoardTimeoutError, ConnectionLostError: as there.
            LoginError: the user does not get root's rights.
            BoardError: the command cannot be sent, or it writes more than 64 MiB.
        """
        if not all(_can_be_sent(word) for word in command):
            raise BoardError(
                f"{title_of(command)!r} has an argument that no command can have, with a zero byte or half a character"
            )
        words = ["bash", "-c", PYNQ, "bash", *command] if python else command
        limits = (timeout_s, self._patience_s / 2, SILENCE_S)  # half: what is ended has to be told of in time
        program = Path(supervisor.__file__).read_text(encoding="utf-8")
        supervised = [*PYTHON, "-c", program, *(f"{limit:g}" for limit in limits), *words]
        rights = self._root() if root else ()
        with_password = rights == SUDO_BY_PASSWORD
        done = self._run([*rights, *supervised], timeout_s, title_of(command), with_password=with_password, beats=True)
        if supervisor.was_late(done.code, done.errors):
            raise self._late(title_of(command), timeout_s, "and was ended", done.errors)
        return done

    def upload(self, source: Path, target: PurePosixPath, progress: Callable[[int, int], None] | None = None) -> None:
        """Copy a file or a folder there; see `boards.transport.Transport`.

        Raises:
            NoSpaceError, ConnectionLostError: as there.
            BoardError: something in the source is no plain file, or the board does not take it.
        """
        check_target(target)
        load, part = load_of(source), part_of(target)
        with self._files(f"copying {target}") as client:
            sftp.make_folder(client, target.parent)
            sftp.remove(client, part)
            load.check_space(self._n_free(target.parent), self._host)
            try:
                sftp.put(client, load, part, progress)
            except OSError as error:
                if _is_lost(client, error):
                    raise
                if isinstance(error, FileNotFoundError):
                    raise BoardError(
                        f"{part} was taken away on {self._host} while it was copied; does another bitloop use it? Try again"
                    ) from error
                # before it is freed again: of a full card the board says "Failure" and no more
                n_free = self._n_free(target.parent)
                sftp.remove(client, part)
                if n_free < SPARE:
                    load.check_space(n_free, self._host)
                raise BoardError(f"{self._host} does not take {target} ({error}); is its card read-only or damaged?") from error
            except BaseException:  # Ctrl-C
                with contextlib.suppress(Exception):
                    sftp.remove(client, part)
                raise
            sftp.put_in_place(client, part, target)

    def download(self, source: PurePosixPath, target: Path) -> None:
        """Copy a file here; see `boards.transport.Transport`."""
        with self._files(f"copying {source}") as client:
            sftp.get(client, source, target, self._host)

    def _connected(self, password: SecretStr | None) -> Any:
        return connect(self._way, self._known_hosts, self._accepts_new, password, self._patience_s)

    def _password(self) -> SecretStr:
        """The password, asked once; empty where there is none."""
        if self._secret is None and self._ask is not None:
            self._secret = SecretStr(self._ask())
        return self._secret or NO_PASSWORD

    def _root(self) -> tuple[str, ...]:
        """What must stand before a command to give it root's rights: nothing for root itself, sudo, or sudo with a password."""
        if self._rights is None:
            self._rights = self._find_rights()
        return self._rights

    def _find_rights(self) -> tuple[str, ...]:
        if self._run(["id", "-u"], self._patience_s, "id").output.strip() == "0":
            return ()
        found = self._run([*SUDO, "true"], self._patience_s, "sudo")
        if found.code == 0:
            return SUDO
        user = self._way.address.user
        if found.code == supervisor.NOT_STARTED:
            raise LoginError(f"{self._host} has no sudo, and the FPGA needs root's rights; log in as root")
        if not self._password().get_secret_value():
            raise LoginError(
                f"sudo at {self._host} wants the password of {user}, and the FPGA needs root's rights; give it, or write "
                f"'{user} ALL=(ALL) NOPASSWD: ALL' to /etc/sudoers.d/bitloop there"
            )
        if self._run([*SUDO_BY_PASSWORD, "true"], self._patience_s, "sudo", with_password=True, ends=True).code != 0:
            raise LoginError(f"sudo at {self._host} does not accept the password, or does not let {user} do everything")
        return SUDO_BY_PASSWORD

    def _n_free(self, folder: PurePosixPath) -> int:
        """Bytes that the user may still write where a folder is."""
        done = self.run([*PYTHON, "-c", FREE, str(folder)], self._patience_s)
        if done.code != 0 or not done.output.strip().isdigit():
            said = (done.errors.strip() or done.output.strip() or "nothing").splitlines()[-1]
            raise BoardError(f"{self._host} does not say how much of its card is free; it says: {said}")
        return int(done.output)

    def _run(
        self, words: Sequence[str], timeout_s: float, title: str, *, with_password: bool = False, ends: bool = False,
        beats: bool = False,
    ) -> Completed:  # fmt: skip
        """Run words as they are; `ends` closes their standard input behind the password, `beats` shows them signs of life."""
        until = time.monotonic() + timeout_s + self._patience_s
        with self._attended(title, timeout_s + 2 * self._patience_s):
            channel = self._transport(title).open_session(timeout=self._patience_s)
            try:
                channel.exec_command(shlex.join(words))
                if with_password:
                    channel.sendall(f"{self._password().get_secret_value()}\n".encode())
                if ends:
                    channel.shutdown_write()
                with _beating(channel) if beats else contextlib.nullcontext():
                    output, errors = self._read(channel, until, title)
                said = errors.decode(errors="replace")
                if output is None or not channel.status_event.wait(max(0.0, until - time.monotonic())):
                    raise self._late(title, timeout_s, "and does not answer any more; restart it", said)
                if channel.exit_status < 0:  # ended by a signal, as when the board restarts, or with the connection
                    raise self._lost(title, said)
                return Completed(channel.exit_status, output.decode(errors="replace"), said)
            finally:
                channel.close()  # the supervisor sees it, and ends what still runs

    def _read(self, channel: Any, until: float, title: str) -> tuple[bytearray | None, bytearray]:
        """Both outputs to their ends; None where they have not come by then."""
        output, errors = bytearray(), bytearray()
        beside = threading.Thread(target=_read_all, args=(channel, errors), daemon=True)
        beside.start()
        try:
            while True:
                channel.settimeout(max(0.001, until - time.monotonic()))
                piece = channel.recv(1 << 16)
                if not piece:
                    break
                output += piece
                if len(output) > MAX_OUTPUT:
                    raise BoardError(f"{title} wrote more than {MAX_OUTPUT >> 20} MiB on {self._host} and was ended")
        except TimeoutError:
            return None, errors
        beside.join(max(0.0, until - time.monotonic()))
        return None if beside.is_alive() else output, errors

    def _transport(self, title: str) -> Any:
        """The connection, which must be there."""
        transport = self._client.get_transport() if self._client is not None else None
        if transport is None or not transport.is_active():
            raise ConnectionLostError(f"there is no connection to {self._host} any more; begin {title} again")
        return transport

    @contextlib.contextmanager
    def _files(self, title: str) -> Iterator[Any]:
        """What copies files."""
        with self._attended(title, self._patience_s):
            client = self._transport(title).open_sftp_client()
        client.get_channel().settimeout(self._patience_s)
        try:
            yield client
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(title) from error
        except OSError as error:
            if _is_lost(client, error):
                raise self._lost(title) from error
            raise BoardError(f"{title} failed with {self._host}: {' '.join(str(error).split())}") from error
        finally:
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):  # says goodbye, also to who is gone
                client.close()

    @contextlib.contextmanager
    def _attended(self, title: str, limit_s: float) -> Iterator[None]:
        """Ends a connection that is silent: paramiko waits for some answers for ever."""
        timer = threading.Timer(limit_s, self._client.close if self._client is not None else lambda: None)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(title) from error
        finally:
            timer.cancel()

    def _lost(self, title: str, errors: str = "") -> ConnectionLostError:
        return ConnectionLostError(
            f"the connection to {self._host} ended in the middle of {title}; if the board has not restarted, look at cable and "
            "power, and try again",
            errors,
        )

    def _late(self, title: str, timeout_s: float, what: str, errors: str) -> BoardTimeoutError:
        return BoardTimeoutError(f"{title} did not end on {self._host} within {timeout_s:g} s, {what}", errors)


def _is_lost(client: Any, error: OSError) -> bool:
    """Whether an error is the connection's, not one of a file."""
    return isinstance(error, TimeoutError | ConnectionError) or client.get_channel().closed


@contextlib.contextmanager
def _beating(channel: Any) -> Iterator[None]:
    """Shows the supervisor signs of life: by their end alone it learns of a cable that was pulled."""
    over = threading.Event()

    def beat() -> None:
        with contextlib.suppress(Exception):  # the connection's end is seen by who reads
            while not over.wait(BEAT_S):
                channel.sendall(b"\n")

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _read_all(channel: Any, into: bytearray) -> None:
    """Read standard error to its end, and of an endless one as much as anybody wants to know."""
    with contextlib.suppress(Exception):
        while piece := channel.recv_stderr(1 << 16):
            into += piece[: max(0, MAX_OUTPUT - len(into))]


def _can_be_sent(word: str) -> bool:
    try:
        return b"\0" not in word.encode()
    except UnicodeEncodeError:
        return False
