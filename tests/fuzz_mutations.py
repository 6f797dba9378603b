"""Damage: bytes that were flipped, cut and moved, documents whose values and keys are wrong, archives with what must not be in.

Every function takes a generator of random numbers and gives what it makes of its sample; the same seed gives the same damage.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flow.errors import BITLOOP_ERRORS
from tests.bomb import Bomb

DEEP = 100_000  # levels, far beyond what Python's parsers can follow
FUSE = "bomb-went-off"  # in the working directory: what is there if a pickle was executed
Mutation = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """Something that is read.

    Attributes:
        name: of it.
        prepare: writes a valid one, and what must lie beside it, into a folder; gives the path of the file to be damaged.
        read: reads it; what must not be raised, it raises.
        mutate: damages its bytes.
        n: damaged ones in the long run.
        refusals: what may be raised.
        is_named: whether an error names the file or the folder it is in; what is no file has no name.
    """

    name: str
    prepare: Callable[[Path], Path]
    read: Callable[[Path], object]
    mutate: Mutation
    n: int
    refusals: tuple[type[Exception], ...] = BITLOOP_ERRORS
    is_named: bool = True


# --- bytes --------------------------------------------------------------------------------------------------------------


def _flip(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _set(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(out)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice((0, 1, len(data) - 1, rng.randrange(len(data))))]


def _cut_head(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(1, len(data) + 1) :]


def _range(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 256, len(data))))


def _delete(rng: random.Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + data[end:]


def _duplicate(rng: random.Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:end] + data[start:]


def _wipe(rng: random.Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return (
        data[:at] + rng.choice((rng.randbytes(rng.choice((1, 4, 64))), b"\0" * 8, b"\xff" * 4, b'"', b"{", b"\n")) + data[at:]
    )


def _swap(rng: random.Random, data: bytes) -> bytes:
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[b:] + data[a:b] + data[:a]


def _number(rng: random.Random, data: bytes) -> bytes:
    """Some four or eight bytes become a large number, as a length in a header would be."""
    at, value = rng.randrange(len(data)), rng.choice((2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
    told = struct.pack(rng.choice("<>") + ("I" if value < 2**32 else "Q"), value)
    return data[:at] + told + data[at + len(told) :]


BYTES: tuple[Mutation, ...] = (_flip, _flip, _set, _truncate, _cut_head, _delete, _duplicate, _wipe, _insert, _swap, _number)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """One thing done to some bytes, or two."""
    for _ in range(rng.choice((1, 1, 2))):
        data = rng.choice(BYTES)(rng, data) if data else data
    return data


# --- documents ----------------------------------------------------------------------------------------------------------


class Raw(str):
    """Text that stands in a JSON document as it is, whether that is JSON or not."""


WRONG = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, -1e-300, 0.5, "", "0", "1.5", "nan", "\0", "\n", "ü",
    "x" * 70_000,
    [], {}, [[]], [None], {"": None}, "../../../etc/passwd", "/etc/passwd", "a/../../b", "..", "C:\\x", "-rf",
    "$(reboot)", "%s%n",
    Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("9" * 5000), Raw('"\\ud800"'), Raw('"\\u0000"'),
    Raw("[" * DEEP + "]" * DEEP), Raw('{"a":' * DEEP + "1" + "}" * DEEP), Raw("tru"), Raw("01"), Raw("1,"), Raw("{"),
)  # fmt: skip
"""What may stand where something else is wanted."""


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: the container, and the key or index in it."""
    found: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        here = left.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in keys:
            found.append((here, key))
            left.append(here[key])
    return found


def mutate_document(rng: random.Random, document: Any) -> Any:
    """Another document: a value of another type or size, a key that is missing, unknown or moved; it may hold `Raw` text."""
    document = copy.deepcopy(document)
    places = _places(document)
    if not places:
        return rng.choice(WRONG)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        here, key = rng.choice(places)
        if (isinstance(key, int) and key >= len(here)) or (isinstance(here, dict) and key not in here):
            continue  # an earlier one took it
        what = rng.randrange(10)
        if what < 5:
            here[key] = rng.choice(WRONG)
        elif what == 5:
            del here[key]
        elif what == 6:
            other, name = rng.choice(places)
            if (isinstance(other, dict) and name in other) or (isinstance(other, list) and name < len(other)):
                here[key] = copy.deepcopy(other[name])
        elif what == 7 and isinstance(here, dict):
            here[rng.choice(("extra", "__class__", "", "../x", str(key).upper()))] = rng.choice(WRONG)
        elif what == 8 and isinstance(here, dict):
            here[rng.choice(("renamed", f"{key}_", "__init__"))] = here.pop(key)
        elif isinstance(here[key], (int, float)) and not isinstance(here[key], bool):  # a wrong unit, a wrong sign
            here[key] = here[key] * rng.choice((-1, 0, 1000, 1e-6, 1e12))
        elif isinstance(here, list):
            here += copy.deepcopy(here) * rng.choice((1, 20))
        else:
            here[key] = [here[key]]
    return document


def to_json(document: Any) -> str:
    """A document as JSON, `Raw` text as it is."""
    raws: list[Raw] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Raw):
            raws.append(value)
            return f"\x01{len(raws) - 1}\x01"
        if isinstance(value, dict):
            return {k: marked(v) for k, v in value.items()}
        return [marked(v) for v in value] if isinstance(value, list) else value

    text = json.dumps(marked(document))
    for i, raw in enumerate(raws):
        text = text.replace(f'"\\u0001{i}\\u0001"', raw)
    return text


def to_toml(document: Mapping[str, Any], prefix: str = "") -> str:
    """A document as TOML, as far as TOML has what is in it; `Raw` text as it is."""
    lines, tables = [], []
    for key, value in document.items():
        name = json.dumps(str(key))
        if isinstance(value, dict):
            tables.append(f"[{prefix}{name}]\n" + to_toml(value, f"{prefix}{name}."))
        elif value is not None:
            lines.append(f"{name} = {to_json(value)}\n")
    return "".join(lines + tables)


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """A damaged JSON document: mostly still JSON."""
    if rng.randrange(4) == 0:
        return mutate_bytes(rng, data)
    try:
        document = json.loads(data)
    except ValueError:
        return mutate_bytes(rng, data)
    text = to_json(mutate_document(rng, document))
    if rng.randrange(20) == 0:
        text = to_json(rng.choice(WRONG))
    if rng.randrange(30) == 0:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")), "replace")
    return text.encode("utf-8", "surrogatepass")


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Damaged JSON lines: one of them is."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = mutate_json(rng, lines[at])
    return b"\n".join(lines) + b"\n"


WORDS = (
    b"", b"0", b"-1", b"nan", b"NA", b"inf", b"1e999", b"9" * 5000, b"\xff\xfe", b"\0", b"=", b":", b",", b"@", b"[",
    b"]", b"../..",
    b"a" * 10_000, b"\n", b" ", b"\t", "é".encode(), b"$(reboot)", b"&lol;", b"<!DOCTYPE a [<!ENTITY lol 'x'>]>", b'"', b"#",
)  # fmt: skip


def mutate_text(rng: random.Random, data: bytes) -> bytes:
    """Damaged text: a word is another one, is missing, or comes twice; or any bytes."""
    if rng.randrange(3) == 0:
        return mutate_bytes(rng, data)
    words = data.split(b" ")
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(len(words))
        words[at : at + 1] = rng.choice(([rng.choice(WORDS)], [], [words[at]] * 2, [words[at] + rng.choice(WORDS)]))
        words = words or [b""]
    return b" ".join(words)


# --- archives -----------------------------------------------------------------------------------------------------------


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    """An .npy file that says of itself what it is told to."""
    told = header.encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(told)) + told + content


def _wrong_arrays(target: Path) -> list[bytes]:
    """Arrays that are none: lies about the size, other types, objects, code."""

    def say(shape: str, descr: str = "'|u1'", order: str = "False") -> str:
        return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"

    return [
        npy(say("(1000000000000,)"), bytes(16)), npy(say("(10000000000, 10000000000, 10000)"), bytes(16)),
        npy(say("(99999999999999999999999,)")), npy(say("(-1,)"), bytes(16)), npy(say("(2, -8)"), bytes(16)),
        npy(say("()"), b"\1"),
        npy(say("(0,)")), npy(say("(4, 0, 3)")), npy(say("(16,)", "'<f8'"), b"\xff" * 128), npy(say("(4,)", "'<c8'"),
        bytes(32)),
        npy(say("(2,)", "'<U1000000000'"), bytes(8)), npy(say("(2,)", "'<M8[s]'"), bytes(16)), npy(say("(2,)", "'|V4'"),
        bytes(8)),
        npy(say("(2,)", "[('a', '<i4'), ('b', '|O')]"), bytes(24)), npy(say("(1,)", "'|O'"), pickle.dumps(Bomb(target), 2)),
        npy(say("(2,)", "'|b1'"), b"\1\2"), npy(say("(2,)", "'<i8'", "True"), bytes(16)), npy(say("(True,)"), b"\0"),
        npy("__import__('os').mkdir('x')"), npy("{'descr': "), npy("(" * 3000), npy("[" * 100 + "]" * 100),
        npy(say("(2,)"), version=3),
        npy(say("(2,)"), bytes(2), version=9), pickle.dumps(Bomb(target), 2), b"", b"\x93NUMPY", b"PK\3\4", b"plain",
    ]  # fmt: skip


def mutate_npz(rng: random.Random, data: bytes) -> bytes:
    """A damaged archive of arrays: its bytes, or one of its members."""
    return mutate_zip(rng, data, _wrong_arrays(Path(FUSE)))


def mutate_zip(rng: random.Random, data: bytes, wrong: list[bytes]) -> bytes:
    """A damaged archive: its bytes, one of its members, or what it says of them.

    Args:
        rng: decides.
        data: the archive.
        wrong: what may stand in the place of a member.
    """
    if rng.randrange(3) == 0:
        return mutate_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    method = zipfile.ZIP_STORED
    what = rng.randrange(10)
    if what < 4:
        members[at] = (name, rng.choice(wrong))
    elif what < 6:
        members[at] = (name, mutate_bytes(rng, content))
    elif what == 6:
        del members[at]
    elif what == 7:
        members[at] = (rng.choice(("../../escaped.npy", "/escaped.npy", name.upper(), "", "x" * 5000, "\0.npy")), content)
    elif what == 8:
        members.append((rng.choice((name, "more.npy", f"{name}.npy")), rng.choice(wrong)))
    else:
        method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name or "empty")
            info.compress_type = method
            archive.writestr(info, content)
    whole = out.getvalue()
    if rng.randrange(6) == 0:  # what the list of members says of one: its size, its method, whether it is encrypted
        listed = whole.find(b"PK\1\2")
        field = rng.choice((8, 10, 16, 20, 24, 28, 42))
        return (
            whole[: listed + field]
            + rng.choice((b"\xff\xff", b"\1\0", b"\x63\0", rng.randbytes(2)))
            + whole[listed + field + 2 :]
        )
    return whole
