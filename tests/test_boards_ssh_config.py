"""What bitloop takes of `~/.ssh/config`: as a file, and on the way to a real sshd on loopback."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boards.errors import BoardError, LoginError
from boards.ssh import SshTransport
from boards.ssh_config import way_to
from boards.ssh_connection import Address, Way, parse_address
from tests.sshd import PATIENCE_S, Sshd

CONFIG = """
# boards
Host z2 Bench
    HostName 192.168.2.99
    User root
    Port 2222
    IdentityFile {folder}/board
    IdentityFile {folder}/nothing
    IdentitiesOnly yes

Host *.lab
    HostName %h.example.org
    User someone

Host behind
    ProxyJump gate
Host inside
    ProxyCommand nc -X connect %h %p
Host direct
    ProxyJump none
    ProxyCommand none

Host loose
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null

Host six
    HostName FE80::1%enP1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "board").touch()
    path = tmp_path / "config"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("z2", Address("root", "192.168.2.99", 2222)),
        ("Bench", Address("root", "192.168.2.99", 2222)),
        ("me@z2:22", Address("me", "192.168.2.99", 22)),  # what HOST says goes before it
        ("a.lab", Address("someone", "a.lab.example.org", 22)),
        ("192.168.2.99", Address("xilinx", "192.168.2.99", 22)),
        ("direct", Address("xilinx", "direct", 22)),
        ("loose", Address("xilinx", "loose", 22)),
        ("six", Address("xilinx", "fe80::1%enP1", 22)),
        ("[::1]:23", Address("xilinx", "::1", 23)),
    ],
)
def test_an_address_is_looked_up(config: Path, text: str, address: Address) -> None:
    assert way_to(text, config).address == address


def test_keys_are_those_that_are_named_and_there(config: Path, tmp_path: Path) -> None:
    assert way_to("z2", config) == Way(Address("root", "192.168.2.99", 2222), (tmp_path / "board",), any_of_agent=False)
    assert way_to("six", config).keys is None
    assert way_to("six", config).any_of_agent


def test_without_a_configuration_nothing_is_looked_up(config: Path, tmp_path: Path) -> None:
    for none in (None, tmp_path / "nowhere"):
        assert way_to("z2", none) == Way(Address("xilinx", "z2", 22))


@pytest.mark.parametrize(("text", "option"), [("behind", "ProxyJump"), ("me@inside:2200", "ProxyCommand")])
def test_a_way_through_another_host_is_refused_with_what_to_do(config: Path, text: str, option: str) -> None:
    with pytest.raises(BoardError) as refused:
        way_to(text, config)
    assert f"{config} leads to " in str(refused.value)
    assert f"by {option}, which bitloop does not take; open a tunnel" in str(refused.value)
    assert "@localhost:2222" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Host x\n  HostName -oProxyCommand=id\n", "which is no address; mend HostName, User or Port there"),
        ("Host x\n  HostName a b\n", "which is no address"),
        ("Host x\n  Port 70000\n", "which is no address"),
        ("Host x\n  Port ssh\n", "which is no address"),
        ("Host x\n  User a b\n", "which is no address"),
        ("Host x\n  nonsense\n", r"cannot be read \(Unparsable line nonsense\); mend it, or move it away"),
        ('Host "x\n', "cannot be read"),
    ],
)
def test_a_configuration_that_does_not_do_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(BoardError, match=said) as refused:
        way_to("x", tmp_path / "config")
    assert str(tmp_path / "config") in str(refused.value)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"Host \xff\xfe\n")
    with pytest.raises(BoardError, match="config cannot be read"):
        way_to("x", tmp_path / "config")
    with pytest.raises(BoardError, match=r"^HOST is 'a b'"):
        way_to("a b", tmp_path / "config")  # which is wrong whatever is in it


OPTIONS = ("Host", "Match", "HostName", "User", "Port", "IdentityFile", "IdentitiesOnly", "ProxyJump", "CanonicalizeHostname")
WORDS = st.sampled_from(["x", "*", "all", "host", "yes", "none", "/", "..", '""', "%h", "%%", "~", "=", "user", "!x", "22"])
LINES = st.tuples(st.sampled_from(OPTIONS), st.one_of(WORDS, st.text(max_size=10))).map(" ".join)


@given(st.lists(LINES, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_configuration_is_a_way_or_refused_in_one_line(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "config").write_text("\n".join(lines), encoding="utf-8")
    said = ""
    try:
        address = way_to("x", tmp_path / "config").address
    except BoardError as error:
        said = str(error)
    else:
        assert parse_address(str(address)) == address or "%" in address.host
    assert "\n" not in said


# --- against a server


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent without keys."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield
    process.terminate()
    process.wait()


def add(*keys: Path) -> None:
    subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True)


def by_name(sshd: Sshd, tmp_path: Path, *lines: str) -> SshTransport:
    """The way to the server by the name of board, with more lines about it."""
    user, _, _ = sshd.host.partition("@")
    path = tmp_path / "config"
    told = ["Host board", "HostName 127.0.0.1", f"Port {sshd.port}", f"User {user}", *lines]
    path.write_text("\n".join(told) + "\n")
    return SshTransport("board", sshd.known_hosts, config=path, patience_s=PATIENCE_S)


def test_a_named_key_lets_the_user_in(sshd: Sshd, tmp_path: Path) -> None:
    with by_name(sshd, tmp_path, f"IdentityFile {sshd.key}", "IdentitiesOnly yes") as way:
        assert way.run(["echo", "here"], 20).output == "here\n"
        assert way.address == "board"


def test_the_host_key_is_held_against_known_hosts_whatever_the_configuration_says(sshd: Sshd, tmp_path: Path) -> None:
    sshd.known_hosts.write_text("")
    told = [f"IdentityFile {sshd.key}", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
    with pytest.raises(BoardError, match="shows the host key"), by_name(sshd, tmp_path, *told):
        pass


def test_the_agents_key_lets_the_user_in(sshd: Sshd, tmp_path: Path, agent: None) -> None:
    add(sshd.key)
    with by_name(sshd, tmp_path) as way:
        assert way.run(["echo", "here"], 20).output == "here\n"


def test_a_server_that_hangs_up_on_many_keys_is_not_taken_for_something_else(sshd: Sshd, tmp_path: Path, agent: None) -> None:
    others = [sshd.make_key(tmp_path / f"key-{n}") for n in range(7)]
    add(*others, sshd.key)
    with pytest.raises(LoginError, match=r"hung up while keys were tried, .* IdentitiesOnly yes"), by_name(sshd, tmp_path):
        pass
    with by_name(sshd, tmp_path, f"IdentityFile {sshd.key}", "IdentitiesOnly yes") as way:
        assert way.run(["true"], 20).code == 0


@pytest.mark.parametrize(("named", "is_there"), [("key", True), ("key", False), ("key.pub", False)])
def test_of_the_agent_it_may_be_the_named_key_alone(
    sshd: Sshd, tmp_path: Path, agent: None, named: str, is_there: bool
) -> None:
    """Its file needs a passphrase, and the agent has it open; or its public half alone is there."""
    others = [sshd.make_key(tmp_path / f"key-{n}") for n in range(7)]
    add(*others, sshd.key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "passphrase", "-f", str(sshd.key)], check=True)
    if not is_there:
        sshd.key.unlink()
    with by_name(sshd, tmp_path, f"IdentityFile {sshd.key.with_name(named)}", "IdentitiesOnly yes") as way:
        assert way.run(["true"], 20).code == 0
