"""Connecting to a board by ssh and logging in there."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from pydantic import SecretStr

from boards.errors import BoardError, LoginError, UnreachableError
from boards.ssh_host_keys import KnownHosts

USER, PORT = "xilinx", 22
PUBLIC = ".pub"  # behind the name of a private key's file: its public half
KEEPALIVE_S = 5
ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z_][\w.-]*)@)?(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][\w.-]*))(?::(?P<port>\d{1,5}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Address:
    """Where a board is: user, host (a name, an IPv4 or an IPv6 address), port."""

    user: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != PORT else "")

    @property
    def arguments(self) -> str:
        """Of the commands ssh and ssh-copy-id, by which a person gets there."""
        return (f"-p {self.port} " if self.port != PORT else "") + f"{self.user}@{self.host}"


@dataclass(frozen=True)
class Way:
    """How to get into a board.

    Attributes:
        address: where it is.
        keys: files of private keys that are meant for it; None for those of ~/.ssh.
        any_of_agent: whether any key of the agent may be shown, and not these alone.
    """

    address: Address
    keys: tuple[Path, ...] | None = None
    any_of_agent: bool = True


def parse_address(text: str) -> Address:
    """What HOST says: `[user@]host[:port]`, an IPv6 address in brackets.

    Raises:
        BoardError: it says nothing of the kind.
    """
    found = ADDRESS.fullmatch(text)
    port = int(found["port"] or PORT) if found else 0
    if not found or not 0 < port < 1 << 16:
        raise BoardError(f"HOST is {text!r}; user@host, user@host:port, or simulated is wanted, such as xilinx@192.168.2.99")
    return Address(found["user"] or USER, (found["six"] or found["host"]).lower(), port)


def connect(way: Way, known_hosts: Path, accept_new: bool, password: SecretStr | None, patience_s: float) -> paramiko.SSHClient:
    """Connect and log in.

    Args:
        way: where to, and by which keys.
        known_hosts: the user's file of host keys.
        accept_new: whether a host key that is not in it is taken down there.
        password: to log in with; None for keys.
        patience_s: for one answer.

    Raises:
        UnreachableError: nobody answers there, or not who is known.
        LoginError: the user is not let in.
    """
    address, by_keys = way.address, password is None
    trusted = KnownHosts(known_hosts, address.host, address.port, f"ssh {address.arguments}", accept_new)
    for key in way.keys or ():
        if not key.is_file():
            raise LoginError(f"{key} is no file, and so no private key; look for a slip in its path")
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(trusted)
    try:
        with _of_agent(way.keys or () if by_keys else ()) as own:
            client.connect(
                address.host, address.port, address.user, password=password.get_secret_value() if password else None,
                sock=_socket(address, patience_s), transport_factory=trusted.transport, pkey=own,
                key_filename=[str(key) for key in way.keys or () if key.suffix != PUBLIC] if by_keys else None,
                look_for_keys=by_keys and way.keys is None, allow_agent=by_keys and way.any_of_agent,
                timeout=patience_s, banner_timeout=patience_s, auth_timeout=patience_s, channel_timeout=patience_s,
            )  # fmt: skip
        client.get_transport().set_keepalive(KEEPALIVE_S)
    except BaseException as error:
        said = _login_error(address, error, by_keys, client)
        client.close()
        if said is not None:
            raise said from None  # what paramiko raises has the password in its frames
        if isinstance(error, paramiko.SSHException | EOFError | OSError):
            line = " ".join(str(error).split()) or type(error).__name__
            raise UnreachableError(
                f"what answers at {address} does not speak ssh as wanted ({line}); is it the board?"
            ) from None
        raise
    return client


def _login_error(a: Address, error: BaseException, by_keys: bool, client: paramiko.SSHClient) -> LoginError | None:
    """What to say where the host is the right one and the user is not let in; None where something else is wrong."""
    if isinstance(error, paramiko.PasswordRequiredException):
        return LoginError(f"the key for {a} is locked by a passphrase; unlock it by ssh-add, and try again")
    transport = client.get_transport()
    is_known = transport is not None and transport.initial_kex_done
    no_key = by_keys and is_known and isinstance(error, paramiko.SSHException)  # none at all, or one that cannot be read
    if not (no_key or isinstance(error, paramiko.AuthenticationException)):
        return None
    if by_keys and transport is not None and not transport.is_active():
        return LoginError(
            f"{a} hung up while keys were tried, as servers do after some six; say which is for it by IdentityFile and "
            "IdentitiesOnly yes in ~/.ssh/config, have the agent forget the others (ssh-add -d), or give a password"
        )
    if by_keys:
        return LoginError(f"{a} accepts no key that is here; bring one there by: ssh-copy-id {a.arguments}, or give a password")
    return LoginError(f"{a} does not accept the password; PYNQ's images begin with xilinx, for the user xilinx")


@contextlib.contextmanager
def _of_agent(keys: Iterable[Path]) -> Iterator[paramiko.PKey | None]:
    """The agent's own copy of one of these keys, which needs no passphrase; None where it has none of them."""
    wanted = set()
    for key in keys:
        with contextlib.suppress(OSError, UnicodeDecodeError, IndexError):
            public = key if key.suffix == PUBLIC else key.with_name(key.name + PUBLIC)
            wanted.add(public.read_text(encoding="utf-8").split()[1])
    agent = paramiko.Agent() if wanted else None
    try:
        yield next((key for key in agent.get_keys() if key.get_base64() in wanted), None) if agent else None
    finally:
        if agent:
            agent.close()


def _socket(a: Address, patience_s: float) -> socket.socket:
    """A connection whose end is noticed, also where nobody says so: a cable that is pulled, a board without power."""
    try:
        made = socket.create_connection((a.host, a.port), patience_s)
    except socket.gaierror as error:
        text = f"{a.host} is no name of a host ({error.strerror}); look for a slip, or give its number"
        raise UnreachableError(text) from error
    except ConnectionRefusedError as error:
        text = f"nobody listens at {a.host}, port {a.port}; wait until the board is up, and look whether its ssh server is on"
        raise UnreachableError(text) from error
    except TimeoutError as error:
        text = (
            f"{a.host} did not answer within {patience_s:g} s; look at power, cable and address: a PYNQ image is 192.168.2.99 "
            "and wants 192.168.2.x here"
        )
        raise UnreachableError(text) from error
    except OSError as error:
        text = f"there is no way to {a.host} ({error.strerror}); look at the cable, and at the address of this machine"
        raise UnreachableError(text) from error
    with contextlib.suppress(OSError, AttributeError):  # Linux has it
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * patience_s))
    return made
