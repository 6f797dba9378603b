"""Who a board says it is, held against the user's `known_hosts`: a key that has changed is never accepted.

paramiko's own reading of that file is not enough: it looks at one key of a type where a file may have several, passes over
`@revoked`, and would write the file anew, without its comments, to add a line.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

import paramiko

from boards.errors import UnreachableError

REVOKED = "@revoked"
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")  # what a key of the type ssh-rsa may sign with


class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """The host keys that a user trusts; paramiko asks it of every key, as it has no other source.

    Args:
        path: of the file, in OpenSSH's format; none there is as good as an empty one.
        host, port: of the board.
        ssh: the command by which a user may look at the board's key, for messages.
        accept_new: whether the key of a host that the file does not have is taken down there.

    Raises:
        UnreachableError: the file cannot be read.
    """

    def __init__(self, path: Path, host: str, port: int, ssh: str, accept_new: bool = False) -> None:
        self._path, self._ssh, self._accepts_new = path, ssh, accept_new
        self._name = host if port == 22 else f"[{host}]:{port}"
        self._keys: list[paramiko.PKey] = []
        self._revoked: set[str] = set()
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        except OSError as error:
            raise UnreachableError(f"{path}, which says whom to trust, cannot be read ({error.strerror})") from error
        for line in lines:
            words = line.split()
            if len(words) > 3 and words[0] == REVOKED:
                self._revoked.add(words[3])
            else:
                self._keys += _keys_of(self._name, line)

    def transport(self, sock: object, disabled_algorithms: object = None) -> paramiko.Transport:
        """A transport which asks for the types of key that are known, lest a host show another that is not."""
        made = paramiko.Transport(sock, disabled_algorithms=disabled_algorithms)
        known = {key.get_name() for key in self._keys}
        if "ssh-rsa" in known:
            known.update(RSA_SIGNATURES)
        options = made.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda name: name not in known)
        return made

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        """Judge the key that a host shows.

        Raises:
            UnreachableError: it is another than before, it was revoked, or it is not known and new ones are not accepted.
        """
        shown = f"{key.get_name()} {key.fingerprint}"
        if key.get_base64() in self._revoked:
            raise UnreachableError(f"{self._name} shows the host key {shown}, which {self._path} marks as revoked")
        if any(known == key for known in self._keys):
            return
        if self._keys:
            known = ", ".join(f"{k.get_name()} {k.fingerprint}" for k in self._keys)
            raise UnreachableError(
                f"{self._name} shows the host key {shown}, but {self._path} has {known}: another board, a new card, or "
                f"somebody in between; if the card is new, remove the old key by: ssh-keygen -f {self._path} -R '{self._name}'"
            )
        if not self._accepts_new:
            raise UnreachableError(
                f"{self._name} shows the host key {shown}, which {self._path} does not have; compare it with what "
                f"ssh-keygen -lf /etc/ssh/ssh_host_{_short(key)}_key.pub says on the board, and accept it once by: {self._ssh}"
            )
        self._add(f"{self._name} {key.get_name()} {key.get_base64()}\n")

    def _add(self, line: str) -> None:
        """Append a line; whatever else the file holds stays as it is."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            with self._path.open("r+", encoding="utf-8", errors="replace") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                there = file.read()
                file.write(line if not there or there.endswith("\n") else f"\n{line}")
        except OSError as error:
            raise UnreachableError(f"the new host key cannot be kept in {self._path} ({error.strerror})") from error


def _keys_of(name: str, line: str) -> list[paramiko.PKey]:
    """The key on a line of the file, if the line is about a host; names may be hashed."""
    hosts = paramiko.HostKeys()
    if line.lstrip().startswith("#"):
        return []
    try:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line.strip())
        if entry is None or entry.key is None:
            return []
        for host in entry.hostnames:
            hosts.add(host, entry.key.get_name(), entry.key)
        return [entry.key] if hosts.check(name, entry.key) else []
    except Exception:  # a damaged line trusts nobody; paramiko says so in half a dozen ways
        return []


def _short(key: paramiko.PKey) -> str:
    """The type in the name of a server's file: rsa, ecdsa or ed25519."""
    return next((kind for kind in ("ed25519", "ecdsa") if kind in key.get_name()), "rsa")
