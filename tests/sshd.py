"""A real sshd on 127.0.0.1 with keys and a home of its own, in front of programs that stand in for a board's."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 5.0

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AllowUsers {user}
LogLevel ERROR
Subsystem sftp {sftp}
ForceCommand {folder}/shell
"""

# what a login at a board would be: its own home, its own programs first; nothing of this user's
SHELL = """#!/bin/sh
export HOME={folder}/home PATH={folder}/bin:/usr/local/bin:/usr/bin:/bin OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
cd "$HOME" || exit 1
case "$SSH_ORIGINAL_COMMAND" in {sftp}) exec {sftp} ;; esac
exec /bin/bash -c "$SSH_ORIGINAL_COMMAND"
"""

# python3 as the image has it: programs for the FPGA are run on the simulated board
PYTHON = """#!/bin/sh
case "$1" in *.py) {on_board} ;; esac
exec {python} -ES "$@"
"""

# sudo that remembers nothing, as -k wants it, and takes a password from standard input alone
SUDO = """#!/bin/sh
printf '%s\\n' "$*" >> {folder}/sudo.log
never= reads=
while :; do
  case "$1" in -k) shift ;; -n) never=1; shift ;; -S) reads=1; shift ;; -p) shift 2 ;; --) shift; break ;; *) exit 2 ;; esac
done
if [ -e {folder}/password ]; then
  [ -z "$never" ] || {{ echo "sudo: a password is required" >&2; exit 1; }}
  [ -n "$reads" ] || {{ echo "sudo: a terminal is required" >&2; exit 1; }}
  IFS= read -r given
  [ "$given" = "$(cat {folder}/password)" ] || {{ echo "sudo: 1 incorrect password attempt" >&2; exit 1; }}
fi
export BY_SUDO=1
exec "$@"
"""


class Sshd:
    """A server for as long as it is not stopped.

    Attributes:
        home: what a user of it has for a home.
        key: file of a private key that it accepts.
        known_hosts: file with its host key.
        host: as given to HOST.
    """

    def __init__(self, folder: Path, on_board: str = "") -> None:
        sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        if sshd is None:
            pytest.skip("openssh-server is not installed")
        self._folder, self.home, self.key = folder, folder / "home", folder / "key"
        self.known_hosts = folder / "known_hosts"
        for path in (self.home, folder / "bin"):
            path.mkdir(parents=True)
        self.make_key(folder / "host_key")
        self.make_key(self.key)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        sftp = next(path for base in ("lib", "libexec") for path in Path("/usr", base).glob("**/sftp-server"))
        self.program("shell", SHELL.format(folder=folder, sftp=sftp), folder)
        self.program("python3", PYTHON.format(on_board=on_board or ":", python=sys.executable))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd does not start for root without it
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        config = folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=folder, user=getpass.getuser(), sftp=sftp))
        self.host = f"{getpass.getuser()}@127.0.0.1:{self.port}"
        self.trust()
        self._process = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "sshd did not start"
            time.sleep(0.02)
        self.stop()
        raise AssertionError("sshd did not listen within 20 s")

    @staticmethod
    def make_key(path: Path, passphrase: str = "") -> Path:
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
        return path

    def trust(self, key: Path | None = None) -> None:
        """Have `known_hosts` say that the server has the key of a file; its own unless another is given."""
        public = (key or self._folder / "host_key").with_suffix(".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"# a comment\n[127.0.0.1]:{self.port} {' '.join(public)}\n")

    def program(self, name: str, text: str, folder: Path | None = None) -> None:
        """Put a program on the board's PATH."""
        path = (folder or self._folder / "bin") / name
        path.write_text(text)
        path.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)

    def without_root(self, password: str | None) -> None:
        """Have the user be none that may do everything, with a sudo that wants a password, or none."""
        self.program("id", "#!/bin/sh\necho 1000\n")
        self.program("sudo", SUDO.format(folder=self._folder))
        if password is not None:
            (self._folder / "password").write_text(password)

    @property
    def sudo_log(self) -> str:
        """Arguments of every call of sudo."""
        return (self._folder / "sudo.log").read_text()

    def sessions(self) -> list[psutil.Process]:
        """The processes of sshd that serve connections."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("sshd"):
                    found.append(process)
        return found

    def cut(self) -> None:
        """End every connection, as a restart of the board does."""
        for session in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends with the one that it was started by
                session.kill()

    def stop(self) -> None:
        found = [*psutil.Process(self._process.pid).children(recursive=True)]
        self._process.kill()
        self._process.wait()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
