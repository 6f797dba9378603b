"""From HOST to the way into a board, with what the user's `~/.ssh/config` says of it.

HostName, User, Port, IdentityFile and IdentitiesOnly are taken; what HOST itself says goes before them. ProxyJump and
ProxyCommand are refused, as a board behind another host is not reached without them. Nothing else is taken: no option there
makes bitloop less strict about host keys. paramiko reads the file; it follows no Include.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import paramiko

from boards.errors import BoardError
from boards.ssh_connection import ADDRESS, PORT, PUBLIC, USER, Address, Way, parse_address

HOST_NAME = re.compile(r"[\w.:][\w.:%-]*", re.ASCII)  # also an IPv6 address with its interface
USER_NAME = re.compile(r"[\w.][\w.-]*", re.ASCII)
DETOURS = {"proxyjump": "ProxyJump", "proxycommand": "ProxyCommand"}


def way_to(text: str, config: Path | None = None) -> Way:
    """The way to what HOST says: `[user@]host[:port]`, where host may be a Host of the configuration.

    Args:
        text: as given to HOST; an IPv6 address stands in brackets.
        config: the user's configuration of ssh; None for none, and one that is not there is as good as an empty one.

    Raises:
        BoardError: HOST says nothing of the kind, the configuration cannot be read, or it leads through another host.
    """
    address, said = parse_address(text), ADDRESS.fullmatch(text)
    assert said is not None
    named = str(said["six"] or said["host"])
    told: dict[str, Any] = {} if config is None else _options(config, named)
    user = address.user if said["user"] else told.get("user", USER)
    port = str(address.port) if said["port"] else told.get("port", str(PORT))
    host = told.get("hostname", named)
    if not (HOST_NAME.fullmatch(host) and USER_NAME.fullmatch(user) and _is_port(port)):
        raise BoardError(
            f"{config} makes {user}@{host}, port {port}, of HOST={text}, which is no address; mend HostName, User or Port there"
        )
    for option, name in DETOURS.items():
        if told.get(option, "none").lower() != "none":
            raise BoardError(
                f"{config} leads to {named} by {name}, which bitloop does not take; open a tunnel through the host between, by "
                f"ssh -N -L 2222:{host}:{port} and its name, and give HOST={user}@localhost:2222"
            )
    keys = None if "identityfile" not in told else tuple(_keys(map(Path, told["identityfile"])))
    name, percent, interface = host.partition("%")
    address = Address(user, name.lower() + percent + interface, int(port))
    return Way(address, keys, told.get("identitiesonly", "no").lower() != "yes")


def _options(config: Path, host: str) -> dict[str, Any]:
    """What a configuration says of a host: option, in small letters, to value; of IdentityFile a list of them.

    Raises:
        BoardError: it cannot be read.
    """
    if not config.exists():
        return {}
    try:
        found = dict(paramiko.SSHConfig.from_text(config.read_text(encoding="utf-8")).lookup(host))
    except Exception as error:  # of the system, of paramiko, of a command that a Match runs
        line = " ".join(str(error).split()) or type(error).__name__
        raise BoardError(f"{config} cannot be read ({line}); mend it, or move it away") from error
    return {name: value for name, value in found.items() if value is not None}


def _keys(named: Iterable[Path]) -> Iterator[Path]:
    """The files of keys that are there, or of their public halves: the agent may have the rest."""
    for path in named:
        yield from [found for found in (path, Path(f"{path}{PUBLIC}")) if found.is_file()][:1]


def _is_port(text: str) -> bool:
    return re.fullmatch(r"\d{1,5}", text, re.ASCII) is not None and 0 < int(text) < 1 << 16
