"""The URL of a shared store: what is taken, and that no password of it is ever shown."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL

from flow.config import SearchSettings
from flow.errors import MissingExtraError, SettingsError
from flow.storage_url import parse_storage, without_password, without_passwords

SECRET = "s3cret-Pass"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://me:{SECRET}@db.lab:5433/studies", "postgresql://me@db.lab:5433/studies"),
        (f"postgresql+psycopg://me:{SECRET}@db.lab/studies", "postgresql://me@db.lab/studies"),
        (f"postgresql://me@db.lab/studies?sslmode=require&password={SECRET}", "postgresql://me@db.lab/studies?sslmode=require"),
        (f"postgresql://me@db.lab/studies?sslpassword={SECRET}", "postgresql://me@db.lab/studies"),
        ("postgresql:///studies?host=/run/postgresql", "postgresql:///studies?host=%2Frun%2Fpostgresql"),
        ("sqlite:////shared/studies.db", "sqlite:////shared/studies.db"),
    ],
)
def test_what_is_shown_has_no_password(text: str, shown: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'bitloop[distributed]'")
    url = parse_storage(text)
    assert url.shown == shown
    assert SECRET not in repr(url) + url.url
    assert list(url.secrets.values()) == ([SECRET] if SECRET in text else [])
    if SECRET in text:
        assert SECRET not in url.without_secrets(f"cannot connect with {SECRET}, sorry")


@given(st.text(min_size=1, max_size=20))
def test_any_password_can_be_written_and_none_is_shown(password: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'bitloop[distributed]'")
    told = URL.create("postgresql", "me", f"x{password}x", "db", 5432, "studies").render_as_string(hide_password=False)
    url = parse_storage(told)
    assert url.secrets == {"password": f"x{password}x"}
    assert url.url == "postgresql+psycopg://me@db:5432/studies"
    assert without_password(f"--storage={told}") == "--storage=postgresql://me:***@db:5432/studies"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (f"{SECRET}", SettingsError, "STORAGE is no URL of a database; postgresql://user@host:port/database is wanted"),
        (f"postgresql://me:a@{SECRET}@db/studies", SettingsError, "STORAGE has an @ too many; in a password write %40"),
        (f"postgresql://me:a@{SECRET}/b@db/studies", SettingsError, "STORAGE has an @ too many; in a password write %40"),
        (f"postgresql://db:{SECRET}/studies", SettingsError, "STORAGE is no URL of a database"),
        (f"postgers://me:{SECRET}@db/studies", SettingsError, "STORAGE is a postgers:// URL, which SQLAlchemy does not know"),
        (f"oracle+cx_oracle://me:{SECRET}@db/studies", MissingExtraError, "STORAGE=oracle+cx_oracle://me@db/studies needs"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        parse_storage(text)
    assert str(caught.value).startswith(said)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # nor does a traceback show what it came from


def test_a_text_without_an_url_stays_as_it_is() -> None:
    for text in ("--trials", "xilinx@192.168.2.99", "runs/a:b", "http://host:8080/path", "postgresql://me@db/studies"):
        assert without_passwords(text) == without_password(text) == text


def test_settings_neither_show_nor_carry_it() -> None:
    settings = SearchSettings.model_validate({"storage": f"postgresql://me:{SECRET}@db/studies", "study": "ours"})
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    carried = pickle.dumps(settings)  # what Ray does with what a worker's function refers to
    assert SECRET.encode() not in carried
    assert pickle.loads(carried) == settings.model_copy(update={"storage": None})
    assert settings.storage is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"study": "ours"}, "STUDY=ours is a study in a shared STORAGE"),
        ({"storage": "sqlite://", "halving": True}, "HALVING=1 stops a trial by what all before it had, which runs that share"),
        ({"storage": "nonsense"}, "STORAGE is no URL of a database"),
        ({"storage": "sqlite://", "study": ""}, "STUDY has 0 characters; 1 to 200 are wanted"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SearchSettings.model_validate(settings).check()
    assert str(caught.value).startswith(said)
