"""Fetching data sets: checksum first, then parse, then one atomic write of `<name>.npz`; and choosing one.

Nothing is unpickled and nothing is extracted to disk: an archive's wanted members are read into memory.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import numpy as np

from models.arrays import Arrays, check_arrays
from models.datasets import dataset_info
from models.errors import DataError, DownloadError
from models.files import whole_file

CONNECT_TIMEOUT_S = 5.0  # also the longest silence of a server that answered
TOTAL_LIMIT_S = 900.0  # of one data set: the largest, 170 MB, then needs 190 kB/s
CHUNK_BYTES = 1 << 16
MAX_UNPACKED_BYTES = 256 << 20  # the largest, CIFAR-10's tar, has 184 MB


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        urls: the places that hold it, tried in this order.
        n_bytes: its exact size.
        sha256: of its bytes, 64 hex digits.
    """

    urls: tuple[str, ...]
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        files: what to fetch, by a name `parse` knows it by.
        parse: the files' bytes to the four arrays of an npz; raises ValueError, EOFError, OSError,
            `zlib.error` or `tarfile.TarError` where they are not what they should be.
    """

    files: Mapping[str, RemoteFile]
    parse: Callable[[Mapping[str, bytes]], Arrays]


@dataclass(frozen=True)
class DatasetChoice:
    """The data set to use, and one line for the user where it is not the one asked for."""

    name: str
    note: str | None = None


class _Capped(io.RawIOBase):
    """Reads through to another stream and raises ValueError once more than `limit` bytes have come."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, limit: int) -> None:
        self._stream, self._left, self._limit = stream, limit, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._limit} bytes")
        return data


def unpack_gzip(data: bytes, limit: int = MAX_UNPACKED_BYTES) -> _Capped:
    """A stream of what gzip bytes unpack to, at most `limit` bytes of it."""
    return _Capped(gzip.GzipFile(fileobj=io.BytesIO(data)), limit)


def parse_cifar10(files: Mapping[str, bytes]) -> Arrays:
    """CIFAR-10's binary version: records of a label and 32x32 red, green and blue values, plane after plane."""
    folder, record = "cifar-10-batches-bin", 1 + 3 * 32 * 32
    wanted = [f"{folder}/data_batch_{i}.bin" for i in range(1, 6)] + [f"{folder}/test_batch.bin"]
    found: dict[str, np.ndarray] = {}
    with tarfile.open(fileobj=unpack_gzip(files["archive"]), mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in wanted and member.isreg() else None
            if content is None:
                continue
            data = content.read()
            if not data or len(data) % record:
                raise ValueError(f"{member.name} has {len(data)} bytes, no whole number of {record}-byte records")
            found[member.name] = np.frombuffer(data, np.uint8).reshape(-1, record)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"the archive has no regular file {missing[0]}")

    def images(names: list[str]) -> np.ndarray:
        return np.concatenate([found[n][:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for n in names])

    def labels(names: list[str]) -> np.ndarray:
        return np.concatenate([found[n][:, 0] for n in names])

    train, test = wanted[:-1], wanted[-1:]
    return {"x_train": images(train), "y_train": labels(train), "x_test": images(test), "y_test": labels(test)}


def parse_idx(data: bytes) -> np.ndarray:
    """An idx file of unsigned bytes: 0, 0, 8, the number of dimensions, each as 4 bytes big-endian, the values."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 3:
        raise ValueError(f"an idx file of bytes was expected, it begins with {data[:4].hex(' ')}")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    n_values = int(np.prod(shape, dtype=object))
    if len(data) - start != n_values:
        raise ValueError(f"an idx file of shape {shape} has {len(data) - start} values")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def parse_mnist(files: Mapping[str, bytes]) -> Arrays:
    """MNIST and its like: each of the four arrays an idx file, gzipped."""
    return {name: parse_idx(unpack_gzip(data).read()) for name, data in files.items()}


def _idx_source(bases: tuple[str, ...], files: dict[str, tuple[str, int, str]]) -> Source:
    remote = {
        array: RemoteFile(tuple(base + name for base in bases), n_bytes, sha256)
        for array, (name, n_bytes, sha256) in files.items()
    }
    return Source(remote, parse_mnist)


# Sizes and SHA-256: tensorflow/datasets, tensorflow_datasets/url_checksums/{cifar10,mnist,fashion_mnist}.txt.
# CIFAR-10's is the file whose MD5, c32a1d4ab5d03f1284b67883e8d87530, stands on its authors' page.
SOURCES: dict[str, Source] = {
    "cifar10": Source(
        {
            "archive": RemoteFile(
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            )
        },
        parse_cifar10,
    ),
    "mnist": _idx_source(
        ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        {
            "x_train": ("train-images-idx3-ubyte.gz", 9_912_422,
                        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            "y_train": ("train-labels-idx1-ubyte.gz", 28_881,
                        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            "x_test": ("t10k-images-idx3-ubyte.gz", 1_648_877,
                       "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            "y_test": ("t10k-labels-idx1-ubyte.gz", 4_542,
                       "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        },
    ),
    "fashion_mnist": _idx_source(
        (
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        {
            "x_train": ("train-images-idx3-ubyte.gz", 26_421_880,
                        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            "y_train": ("train-labels-idx1-ubyte.gz", 29_515,
                        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            "x_test": ("t10k-images-idx3-ubyte.gz", 4_422_102,
                       "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            "y_test": ("t10k-labels-idx1-ubyte.gz", 5_148,
                       "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        },
    ),
}  # fmt: skip


def _read(url: str, file: RemoteFile, deadline_s: float, progress: Callable[[int], None]) -> bytes:
    """The bytes at `url`; OSError, HTTPException or ValueError unless they are the file's."""
    data, digest = bytearray(), hashlib.sha256()
    with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
        while chunk := response.read1(CHUNK_BYTES):
            data += chunk
            digest.update(chunk)
            progress(len(data))
            if len(data) > file.n_bytes:
                raise ValueError(f"more than the expected {file.n_bytes} bytes came")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"only {len(data)} of {file.n_bytes} bytes came in time")
    if len(data) != file.n_bytes:
        raise ValueError(f"{len(data)} bytes came, {file.n_bytes} were expected")
    if digest.hexdigest() != file.sha256:
        raise ValueError(f"its SHA-256 is {digest.hexdigest()}, {file.sha256} was expected")
    return bytes(data)


def _fetch(file: RemoteFile, deadline_s: float, progress: Callable[[int], None]) -> bytes:
    """The file's bytes from the first place that gives them; ValueError with every place's reason."""
    reasons = []
    for url in file.urls:
        place = urlsplit(url).netloc or url
        try:
            return _read(url, file, deadline_s, progress)
        except urllib.error.HTTPError as error:
            error.close()
            reasons.append(f"{place}: HTTP status {error.code}")
        except urllib.error.URLError as error:
            reasons.append(f"{place}: {error.reason}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{place}: {error or type(error).__name__}")
    raise ValueError("; ".join(reasons))


def write_npz(arrays: Arrays, path: Path) -> None:
    """Write arrays as npz, whole or not at all."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # none of the names is allow_pickle


def download(
    name: str,
    data_dir: Path,
    sources: Mapping[str, Source] = SOURCES,
    total_limit_s: float = TOTAL_LIMIT_S,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetch a data set and write it to `data_dir/<name>.npz`; on any failure nothing is left behind.

    Args:
        name: one of `sources`.
        data_dir: made where it is not there.
        sources: where each data set comes from.
        total_limit_s: give up after so many seconds.
        progress: called with bytes fetched and bytes in all.

    Raises:
        DownloadError: no connection, other bytes than expected, too slow, or no room for the file.
    """
    path = data_dir / f"{name}.npz"
    deadline_s = time.monotonic() + total_limit_s
    files = sources[name].files
    n_bytes = sum(f.n_bytes for f in files.values())
    content: dict[str, bytes] = {}

    def report(n_before: int, n_now: int) -> None:
        if progress is not None:
            progress(n_before + n_now, n_bytes)

    try:
        for key, file in files.items():
            content[key] = _fetch(file, deadline_s, partial(report, sum(map(len, content.values()))))
        arrays = sources[name].parse(content)
        check_arrays(arrays, f"the downloaded {name}")
        data_dir.mkdir(parents=True, exist_ok=True)
        write_npz(arrays, path)
    except (DataError, OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        reason = str(error) or type(error).__name__
        raise DownloadError(
            f"{name} cannot be downloaded ({reason}); put the data set at {path} (see 'Data' in README.md) or use DATASET=auto",
            reason,
        ) from error
    return path


def choose_dataset(requested: str, own: str, data_dir: Path, fetch: Callable[[str, Path], object] = download) -> DatasetChoice:
    """Say which data set to use, and see to it that its file is there. A file that is there is left as it is.

    Args:
        requested: a data set's name, a path to a user's own, or "auto" for the model's own one with digits to
            fall back on.
        own: the model's own data set.
        data_dir: where `<name>.npz` is looked for and written.
        fetch: gets a data set of that name into that folder, or raises `DownloadError`.

    Raises:
        UnknownDatasetError: no such name; the text holds the nearest.
        DataError: a path with no data set at it.
        DownloadError: a data set was asked for by name, is not there and cannot be downloaded.
    """
    info = dataset_info(own if requested == "auto" else requested)
    name = info.name
    if name == "digits" or info.path is not None or (data_dir / f"{name}.npz").exists():
        return DatasetChoice(name)
    try:
        fetch(name, data_dir)
    except DownloadError as error:
        if requested != "auto":
            raise
        return DatasetChoice(
            "digits",
            f"{name} is not in {data_dir} and could not be downloaded ({error.reason}); "
            f"using digits instead: put {name}.npz there (see 'Data' in README.md) for the real thing",
        )
    return DatasetChoice(name)
