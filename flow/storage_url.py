"""The address of a shared store, `STORAGE`, and how no password of it is shown, kept or handed on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flow.errors import MissingExtraError, SettingsError

_SECRETS = ("password", "passwd", "sslpassword")
_IN_ARGUMENT = re.compile(r"([A-Za-z][\w+.-]*://[^:/?#@\s]*):.*@", re.DOTALL)  # up to the last @: a password may have one
_IN_TEXT = (
    (re.compile(r"([A-Za-z][\w+.-]*://[^:/?#@\s]*):\S*@"), r"\1:***@"),
    (re.compile(r"([?&](?:password|passwd|sslpassword)=)[^&\s]*"), r"\1***"),
)
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
# a machine that does not answer is an error after half a minute and not a search that waits
_CONNECT: Mapping[str, Mapping[str, Any]] = {
    "postgresql+psycopg": {
        "connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 30, "keepalives_interval": 10,
        "keepalives_count": 3,
    },
    "sqlite": {"timeout": 30},
}  # fmt: skip


@dataclass(frozen=True)
class StorageUrl:
    """Where a shared store is.

    Attributes:
        shown: the URL without any password, as messages name it.
        url: the same for SQLAlchemy, with the driver.
        secrets: what was taken out of it, by the name that the driver knows it by; never to be shown.
        connect_args: how to connect, secrets left out.
    """

    shown: str
    url: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_args: Mapping[str, Any] = field(default_factory=dict)

    def without_secrets(self, text: str) -> str:
        """A text, as an error of the driver's, with every secret in it masked."""
        for secret in self.secrets.values():
            if secret:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return without_passwords(text)


def without_passwords(text: str) -> str:
    """A text in which the passwords of URLs are masked."""
    for pattern, masked in _IN_TEXT:
        text = pattern.sub(masked, text)
    return text


def without_password(argument: str) -> str:
    """An argument of a command, in which the password of a URL is masked, whatever is in it."""
    return without_passwords(_IN_ARGUMENT.sub(r"\1:***@", argument))


def parse_storage(text: str) -> StorageUrl:
    """Take a URL apart.

    Args:
        text: as SQLAlchemy takes it; `postgresql://` means psycopg.

    Raises:
        SettingsError: it is no URL of a database; the text does not repeat it.
        MissingExtraError: the driver is not installed.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "STORAGE is no URL of a database; postgresql://user@host:port/database is wanted, or another one that SQLAlchemy "
            "takes; in a password write %40 for @, %2F for /, %3A for :"
        ) from None
    if any("@" in part for part in (url.host or "", url.database or "") if url.drivername != "sqlite"):
        raise SettingsError("STORAGE has an @ too many; in a password write %40 for @, %2F for / and %3A for :")
    secrets = {name: _one(value) for name, value in url.query.items() if name in _SECRETS}
    if url.password is not None:
        secrets["password"] = str(url.password)
    public = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    public = public.difference_update_query(secrets)
    url = public.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    _check_driver(url)
    connect = {k: v for k, v in _CONNECT.get(url.drivername, {}).items() if k not in url.query}
    shown = public.set(drivername="postgresql" if "postgresql" in url.drivername else url.drivername)
    return StorageUrl(_rendered(shown), _rendered(url), secrets, connect)


def _check_driver(url: URL) -> None:
    try:
        url.get_dialect().import_dbapi()
    except ImportError:
        what = "pip install 'bitloop[distributed]'" if "psycopg" in url.drivername else f"the driver of {url.drivername}"
        raise MissingExtraError(f"STORAGE={_rendered(url)} needs a driver that is not installed: {what}") from None
    except ArgumentError:
        raise SettingsError(
            f"STORAGE is a {url.drivername}:// URL, which SQLAlchemy does not know; postgresql://user@host/database is wanted"
        ) from None


def _rendered(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _one(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else value[-1]
