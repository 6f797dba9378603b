"""Downloads from a server on this machine: verified, parsed, written whole; and what is said where they fail."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import download as module
from models.arrays import KEYS, Arrays
from models.data import load_splits
from models.datasets import DATASETS
from models.download import (
    SOURCES,
    DatasetChoice,
    RemoteFile,
    Source,
    choose_dataset,
    download,
    parse_cifar10,
    parse_idx,
    parse_mnist,
    unpack_gzip,
)
from models.errors import DataError, DownloadError, UnknownDatasetError
from models.npz_file import read_npz

# --- a server and small archives ---------------------------------------------------------------------------------


@dataclass
class Server:
    """Answers on the loopback interface: `files` as they are, `hangs` after a first byte until the test ends."""

    base: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def file(self, path: str, content: bytes, *other_urls: str) -> RemoteFile:
        """Serve content at a path, and how it would be asked for."""
        self.files[path] = content
        return RemoteFile((*other_urls, self.base + path), len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path not in state.files:
                self.send_error(404)
                return
            content = state.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path in state.hangs:
                self.wfile.write(content[:1])
                state.ended.wait()
                return
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        state.base = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield state
        state.ended.set()
        httpd.shutdown()
        thread.join()


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def grey_arrays() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (20, 4, 5), dtype=np.uint8),
        "y_train": (np.arange(20) % 3).astype(np.uint8),
        "x_test": rng.integers(0, 256, (6, 4, 5), dtype=np.uint8),
        "y_test": (np.arange(6) % 3).astype(np.uint8),
    }


def grey_source(server: Server, arrays: Arrays) -> dict[str, Source]:
    files = {key: server.file(f"/{key}.gz", gzip.compress(idx(array))) for key, array in arrays.items()}
    return {"grey": Source(files, parse_mnist)}


BATCHES = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)] + ["cifar-10-batches-bin/test_batch.bin"]


def cifar_records(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, bytes]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    y = (np.arange(n) % 10).astype(np.uint8)
    planes = x.transpose(0, 3, 1, 2).reshape(n, -1)
    return x, y, np.concatenate([y[:, None], planes], axis=1).tobytes()


def tar_gz(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return file.getvalue()


def failure(action: Callable[[], object]) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.reason in text
    assert isinstance(caught.value, DataError)
    return caught.value


# --- what works --------------------------------------------------------------------------------------------------


def test_idx_files_become_an_npz(server: Server, tmp_path: Path) -> None:
    arrays = grey_arrays()
    data_dir = tmp_path / "not" / "yet" / "there"
    path = download("grey", data_dir, grey_source(server, arrays))
    assert path == data_dir / "grey.npz"
    got = read_npz(path)
    assert all(np.array_equal(got[key], arrays[key]) for key in KEYS)
    assert list(data_dir.iterdir()) == [path]


def test_cifar_archive_becomes_an_npz(server: Server, tmp_path: Path) -> None:
    parts = [cifar_records(10 + i, i) for i in range(6)]
    members = {"cifar-10-batches-bin/readme.html": b"hello", "/etc/evil": b"x", "../evil": b"x"}
    members |= {name: part[2] for name, part in zip(BATCHES, parts, strict=True)}
    source = Source({"archive": server.file("/c.tar.gz", tar_gz(members))}, parse_cifar10)
    got = read_npz(download("cifar10", tmp_path / "data", {"cifar10": source}))
    assert np.array_equal(got["x_train"], np.concatenate([p[0] for p in parts[:5]]))
    assert np.array_equal(got["y_train"], np.concatenate([p[1] for p in parts[:5]]))
    assert np.array_equal(got["x_test"], parts[5][0])
    assert np.array_equal(got["y_test"], parts[5][1])
    assert [p.name for p in tmp_path.rglob("*")] == ["data", "cifar10.npz"]  # nothing else was unpacked


def test_the_next_place_is_asked_where_the_first_fails(server: Server, tmp_path: Path) -> None:
    arrays = grey_arrays()
    server.files["/other.gz"] = b"x" * 40
    sources = grey_source(server, arrays)
    good = sources["grey"].files["x_train"]
    first = (server.base + "/none", server.base + "/other.gz", "http://127.0.0.1:1/closed")
    files = {**sources["grey"].files, "x_train": RemoteFile((*first, *good.urls), good.n_bytes, good.sha256)}
    download("grey", tmp_path, {"grey": Source(files, parse_mnist)})
    assert server.asked[:3] == ["/none", "/other.gz", "/x_train.gz"]


def test_progress_goes_over_all_files_to_the_end(server: Server, tmp_path: Path) -> None:
    sources = grey_source(server, grey_arrays())
    total = sum(f.n_bytes for f in sources["grey"].files.values())
    calls: list[tuple[int, int]] = []
    download("grey", tmp_path, sources, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


# --- what does not -----------------------------------------------------------------------------------------------


def test_other_bytes_than_expected_are_never_parsed(server: Server, tmp_path: Path) -> None:
    file = server.file("/a", b"good bytes")
    server.files["/a"] = b"evil bytes"
    source = Source({"a": file}, lambda files: pytest.fail("parsed before it was verified"))
    error = failure(lambda: download("grey", tmp_path / "data", {"grey": source}))
    evil = hashlib.sha256(b"evil bytes").hexdigest()
    assert str(error) == (
        f"grey cannot be downloaded ({urlsplit(server.base).netloc}: its SHA-256 is {evil}, "
        f"{file.sha256} was expected); "
        f"put the data set at {tmp_path / 'data' / 'grey.npz'} (see 'Data' in README.md) or use DATASET=auto"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"short", "5 bytes came, 10 were expected"), (b"x" * 200_000, "more than the expected 10 bytes came")],
)
def test_another_size_than_expected(server: Server, tmp_path: Path, content: bytes, words: str) -> None:
    file = server.file("/a", b"good bytes")
    server.files["/a"] = content
    assert words in str(failure(lambda: download("a", tmp_path, {"a": Source({"a": file}, parse_mnist)})))
    assert list(tmp_path.iterdir()) == []


def test_every_place_and_its_reason_is_named(server: Server, tmp_path: Path) -> None:
    urls = (server.base + "/none", "http://127.0.0.1:1/closed", "nonsense")
    file = RemoteFile(urls, 10, "0" * 64)
    reason = failure(lambda: download("a", tmp_path / "data", {"a": Source({"a": file}, parse_mnist)})).reason
    assert f"{urlsplit(server.base).netloc}: HTTP status 404; " in reason
    assert "127.0.0.1:1: [Errno 111] Connection refused; " in reason
    assert "nonsense: unknown url type: 'nonsense'" in reason
    assert not (tmp_path / "data").exists()  # no folder is made for nothing


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.1)
    file = server.file("/a", b"good bytes")
    server.hangs.add("/a")
    assert "timed out" in failure(lambda: download("a", tmp_path, {"a": Source({"a": file}, parse_mnist)})).reason


def test_a_slow_download_is_given_up(server: Server, tmp_path: Path) -> None:
    sources = {"a": Source({"a": server.file("/a", bytes(10))}, parse_mnist)}
    error = failure(lambda: download("a", tmp_path, sources, total_limit_s=-1.0))
    assert "only 10 of 10 bytes came in time" in error.reason


def test_a_connection_that_breaks_off(server: Server, tmp_path: Path) -> None:
    file = server.file("/a", b"good bytes")
    server.hangs.add("/a")
    server.ended.set()  # the server says ten bytes, sends one and closes
    assert (
        "1 bytes came, 10 were expected"
        in failure(lambda: download("a", tmp_path, {"a": Source({"a": file}, parse_mnist)})).reason
    )


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"no tar"), "truncated header"),
        (tar_gz({}), "the archive has no regular file cifar-10-batches-bin/data_batch_1.bin"),
        (tar_gz({}, {BATCHES[0]: "/etc/passwd"}), "the archive has no regular file " + BATCHES[0]),
        (tar_gz({BATCHES[0]: bytes(3072)}), "data_batch_1.bin has 3072 bytes, no whole number of 3073-byte records"),
        (tar_gz({BATCHES[0]: b""}), "data_batch_1.bin has 0 bytes, no whole number of 3073-byte records"),
        (tar_gz({n: bytes(3073) for n in BATCHES[:5]}), "the archive has no regular file " + BATCHES[5]),
        (tar_gz({n: bytes(3073) for n in BATCHES}), "y_train in the downloaded cifar10 has the label 0 only"),
        (tar_gz({n: np.random.default_rng(0).bytes(3073 * 9) for n in BATCHES})[:-4000], ""),
    ],
    ids=["no gzip", "no tar", "empty", "link", "a byte short", "no record", "no test part", "one class", "truncated"],
)
def test_archives_that_are_not_cifar(server: Server, tmp_path: Path, archive: bytes, words: str) -> None:
    source = Source({"archive": server.file("/c", archive)}, parse_cifar10)
    assert words in failure(lambda: download("cifar10", tmp_path, {"cifar10": source})).reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an idx file of bytes was expected, it begins with "),
        (b"\0\0\x0d\x01\0\0\0\x00", "an idx file of bytes was expected, it begins with 00 00 0d 01"),
        (b"\0\0\x08\x04" + bytes(16), "an idx file of bytes was expected, it begins with 00 00 08 04"),
        (b"\0\0\x08\x01\0\0\0\x05abcd", "an idx file of shape (5,) has 4 values"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "an idx file of shape (4294967295, 4294967295, 4294967295) has 0 values"),
        (b"\0\0\x08\x03\0\0", "an idx file of shape"),
    ],
    ids=["empty", "doubles", "four dimensions", "short", "huge", "header cut off"],
)
def test_files_that_are_not_idx(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=r"^an idx file of") as caught:
        parse_idx(content)
    assert words in str(caught.value)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_idx_round_trip(shape: list[int], random: object) -> None:
    array = np.frombuffer(random.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)  # type: ignore[attr-defined]
    assert np.array_equal(parse_idx(idx(array)), array)


def test_unpacking_stops_at_its_limit() -> None:
    bomb = gzip.compress(bytes(10_000_000))  # 10 kB that want to be 10 MB
    assert unpack_gzip(bomb, 10_000_000).read() == bytes(10_000_000)
    with pytest.raises(ValueError, match=r"^it unpacks to more than 9999999 bytes$"):
        unpack_gzip(bomb, 9_999_999).read()
    stream = unpack_gzip(bomb, 100)
    assert len(stream.read(60)) == 60
    with pytest.raises(ValueError, match=r"^it unpacks to more than 100 bytes$"):
        stream.read(60)


# --- files are whole or not there --------------------------------------------------------------------------------


def test_ctrl_c_while_loading_leaves_nothing(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("grey", tmp_path / "data", grey_source(server, grey_arrays()), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_broken_write_leaves_no_half_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(file: io.BufferedWriter, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(np, "savez", half)
    if isinstance(error, OSError):
        reason = failure(lambda: download("grey", tmp_path, grey_source(server, grey_arrays()))).reason
        assert "No space left on device" in reason
    else:
        with pytest.raises(KeyboardInterrupt):
            download("grey", tmp_path, grey_source(server, grey_arrays()))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    error = failure(lambda: download("grey", tmp_path / "data", grey_source(server, grey_arrays())))
    assert "File exists" in error.reason
    assert (tmp_path / "data").read_bytes() == b"a file"


# --- the real places ---------------------------------------------------------------------------------------------


def test_every_data_set_but_digits_has_a_source() -> None:
    assert set(SOURCES) == set(DATASETS) - {"digits"}
    for source in SOURCES.values():
        for file in source.files.values():
            assert file.n_bytes < 200_000_000
            assert len(file.sha256) == 64
            assert int(file.sha256, 16)
            assert all(urlsplit(url).scheme in ("https", "http") for url in file.urls)
            assert urlsplit(file.urls[0]).scheme == "https"
    assert set(SOURCES["mnist"].files) == set(SOURCES["fashion_mnist"].files) == set(KEYS)


# --- choosing ----------------------------------------------------------------------------------------------------


def no_fetch(name: str, data_dir: Path) -> None:
    pytest.fail(f"{name} was fetched")


def offline(name: str, data_dir: Path) -> None:
    raise DownloadError(f"{name} cannot be downloaded (no network); put it there", "no network")


def test_auto_takes_the_models_own_set_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"")
    assert choose_dataset("auto", "mnist", tmp_path, no_fetch) == DatasetChoice("mnist", None)


def test_auto_downloads_the_models_own_set(tmp_path: Path) -> None:
    asked: list[tuple[str, Path]] = []
    assert choose_dataset("auto", "mnist", tmp_path, lambda *a: asked.append(a)) == DatasetChoice("mnist", None)
    assert asked == [("mnist", tmp_path)]


def test_auto_falls_back_on_digits_and_says_why_and_what_to_do(tmp_path: Path) -> None:
    assert choose_dataset("auto", "cifar10", tmp_path, offline) == DatasetChoice(
        "digits",
        f"cifar10 is not in {tmp_path} and could not be downloaded (no network); using digits instead: "
        "put cifar10.npz there (see 'Data' in README.md) for the real thing",
    )


def test_auto_hides_no_bug(tmp_path: Path) -> None:
    def broken(name: str, data_dir: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        choose_dataset("auto", "mnist", tmp_path, broken)


def test_digits_need_nothing(tmp_path: Path) -> None:
    assert choose_dataset("digits", "cifar10", tmp_path, no_fetch) == DatasetChoice("digits", None)
    assert choose_dataset("auto", "digits", tmp_path, no_fetch) == DatasetChoice("digits", None)


def test_a_named_set_is_taken_downloaded_or_an_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"^mnist cannot be downloaded \(no network\); put it there$"):
        choose_dataset("mnist", "cifar10", tmp_path, offline)
    assert choose_dataset("mnist", "cifar10", tmp_path, lambda *a: None) == DatasetChoice("mnist", None)
    (tmp_path / "mnist.npz").write_bytes(b"")
    assert choose_dataset("mnist", "cifar10", tmp_path, no_fetch) == DatasetChoice("mnist", None)


@pytest.mark.parametrize(("wrong", "near"), [("cifar", "cifar10"), ("Auto", "auto"), ("", "cifar10")])
def test_unknown_names(tmp_path: Path, wrong: str, near: str) -> None:
    with pytest.raises(UnknownDatasetError, match=r"^unknown data set '.*'; did you mean '.*'[?] There are") as caught:
        choose_dataset(wrong, "mnist", tmp_path, no_fetch)
    if wrong:
        assert f"did you mean {near!r}?" in str(caught.value)


def test_a_path_is_taken_as_it_is_or_an_error(tmp_path: Path) -> None:
    assert choose_dataset(str(tmp_path), "cifar10", tmp_path / "data", no_fetch) == DatasetChoice(str(tmp_path), None)
    with pytest.raises(DataError, match=r"^DATASET=.*/none\.npz is not there; "):
        choose_dataset(str(tmp_path / "none.npz"), "cifar10", tmp_path, no_fetch)


@pytest.mark.parametrize("requested", ["auto", "mnist"])
def test_a_corrupt_file_is_an_error_and_stays(tmp_path: Path, requested: str) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"corrupt")
    choice = choose_dataset(requested, "mnist", tmp_path, no_fetch)
    with pytest.raises(DataError, match="cannot be read as npz"):
        load_splits(choice.name, tmp_path, (1, 28, 28))
    assert path.read_bytes() == b"corrupt"


def test_the_whole_way_from_server_to_splits(server: Server, tmp_path: Path) -> None:
    n = 5200
    rng = np.random.default_rng(0)
    arrays = grey_arrays() | {
        "x_train": rng.integers(0, 256, (n, 4, 5), dtype=np.uint8), "y_train": (np.arange(n) % 3).astype(np.uint8),
    }  # fmt: skip
    sources = {"mnist": grey_source(server, arrays)["grey"]}
    choice = choose_dataset("auto", "mnist", tmp_path, lambda name, data_dir: download(name, data_dir, sources))
    assert len(load_splits(choice.name, tmp_path, (1, 28, 28)).train) == n - 5000
