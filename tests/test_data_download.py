"""Downloads: all of a file or nothing, against a stub in the place of the network."""

import hashlib
import http.client
import io
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fastconv.data import DownloadError, download
from fastconv.data.download import fetch

DATA = bytes(range(256)) * 700
SHA256 = hashlib.sha256(DATA).hexdigest()
MIRROR = "https://mirror.example/files/"
OTHER = "https://other.example/"


def answer(body: bytes = DATA, status: str = "200 OK", length: int | None = -1, **headers: str) -> bytes:
    """The bytes of an HTTP answer; by default with the right Content-Length."""
    if length == -1:
        length = len(body)
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Network(urllib.request.HTTPSHandler):
    """Stands in for TLS: answers by URL, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, bytes | BaseException | Callable[[], bytes]] = {}
        self.asked: list[str] = []

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        self.asked.append(request.full_url)
        found = self.answers.get(request.full_url, urllib.error.URLError("no route"))
        if callable(found):
            found = found()
        if isinstance(found, BaseException):
            raise found
        raw = found

        class Socket:
            def makefile(self, mode: str) -> io.BytesIO:
                return io.BytesIO(raw)

        response = http.client.HTTPResponse(Socket())  # type: ignore[arg-type]
        response.begin()
        response.url = request.full_url  # type: ignore[attr-defined]
        response.msg = response.reason  # type: ignore[assignment]
        return response


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    stub = Network()
    monkeypatch.setattr(download, "_https", lambda: stub)
    return stub


def fetched(target: Path, mirrors: tuple[str, ...] = (MIRROR,)) -> bytes:
    """Fetch, and check that nothing but the file is left in its folder."""
    fetch(mirrors, target, len(DATA), SHA256)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return target.read_bytes()


def test_a_download(network: Network, tmp_path: Path) -> None:
    network.answers[MIRROR + "data.gz"] = answer()
    assert fetched(tmp_path / "data.gz") == DATA
    assert network.asked == [MIRROR + "data.gz"]


def test_without_content_length(network: Network, tmp_path: Path) -> None:
    network.answers[MIRROR + "data.gz"] = answer(length=None)
    assert fetched(tmp_path / "data.gz") == DATA


def test_the_second_mirror_steps_in(network: Network, tmp_path: Path) -> None:
    network.answers[MIRROR + "data.gz"] = answer(b"gone", "404 Not Found")
    network.answers[OTHER + "data.gz"] = answer()
    assert fetched(tmp_path / "data.gz", (MIRROR, OTHER)) == DATA


PAGE = b"<!DOCTYPE html><html><body>Log in to this network</body></html>"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(b"", "302 Found", Location="https://evil.example/data.gz"), "redirect to .* refused"),
        (answer(b"", "302 Found", Location="/elsewhere/data.gz"), "redirect to /elsewhere/data.gz refused"),
        (
            answer(b"", "308 Moved", Location="https://evil.example/\x1b[2J" + "x" * 9000),
            r"redirect to .{10,200} refused",
        ),
        (answer(b"", "303 See Other"), "redirect to None refused"),
        (answer(b"", "301 Moved", Location="http://mirror.example/files/data.gz"), "redirect to .* refused"),
        (answer(b"", "307 Moved", Location="https://mirror.example:8443/data.gz"), "redirect to .* refused"),
        (answer(b"", "302 Found", Location="file:///etc/passwd"), "(?i)redirect"),
        (answer(b"", "302 Found", Location=MIRROR + "data.gz"), "(?i)redirect"),
        (answer(b"gone", "404 Not Found"), "Not Found"),
        (answer(b"no", "500 Internal Server Error"), "Internal Server Error"),
        (answer(b"", "204 No Content"), "status 204"),
        (answer(PAGE, Content_Type="text/html; charset=utf-8"), "web page"),
        (answer(PAGE, length=None), "web page"),
        (answer(b"  \n" + PAGE + bytes(len(DATA)), length=None), "web page"),
        (answer(DATA[:-1]), f"{len(DATA) - 1} bytes announced, expected {len(DATA)}"),
        (answer(DATA + b"x"), f"{len(DATA) + 1} bytes announced"),
        (answer(DATA[:1000], length=len(DATA)), "1000 bytes came, expected"),
        (answer(DATA[:1000], length=None), "1000 bytes came, expected"),
        (answer(DATA + b"x", length=None), f"more than {len(DATA)} bytes"),
        (answer(b"\0" + DATA[1:-1] + b"\0"), "SHA-256 is"),
        (urllib.error.URLError("name or service not known"), "name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError("reset"), "reset"),
        (http.client.RemoteDisconnected("closed"), "closed"),
    ],
)
def test_refused(network: Network, tmp_path: Path, given: bytes | BaseException, message: str) -> None:
    network.answers[MIRROR + "data.gz"] = given
    with pytest.raises(DownloadError, match=message):
        fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)
    assert list(tmp_path.iterdir()) == []
    assert "https://evil.example/data.gz" not in network.asked


def test_what_was_there_stays_when_a_download_fails(network: Network, tmp_path: Path) -> None:
    (tmp_path / "data.gz").write_bytes(b"old")
    network.answers[MIRROR + "data.gz"] = answer(DATA[:500], length=len(DATA))
    with pytest.raises(DownloadError):
        fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)
    assert (tmp_path / "data.gz").read_bytes() == b"old"


def test_all_reasons_are_told_and_each_mirror_is_asked_once(network: Network, tmp_path: Path) -> None:
    network.answers[OTHER + "data.gz"] = answer(b"", "403 Forbidden")
    with pytest.raises(DownloadError, match=r"mirror\.example.*no route; .*other\.example.*Forbidden"):
        fetch((MIRROR, OTHER), tmp_path / "data.gz", len(DATA), SHA256)
    assert network.asked == [MIRROR + "data.gz", OTHER + "data.gz"]


def test_only_https(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="https"):
        fetch(("http://mirror.example/",), tmp_path / "data.gz", len(DATA), SHA256)


def test_a_name_server_that_does_not_answer(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.05)
    network.answers[MIRROR + "data.gz"] = lambda: answer() if release.wait(10) else b""
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"no answer within 0\.05 seconds"):
        fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)
    assert time.monotonic() - begun < 5
    release.set()
    assert list(tmp_path.iterdir()) == []


def test_a_trickle_is_given_up(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network.answers[MIRROR + "data.gz"] = answer()
    ticks = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(ticks))
    with pytest.raises(DownloadError, match="too slow"):
        fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)


def test_an_interrupt_leaves_nothing_behind(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network.answers[MIRROR + "data.gz"] = answer()

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_oserror_and_leaves_nothing_behind(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.answers[MIRROR + "data.gz"] = answer()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch((MIRROR, OTHER), tmp_path / "data.gz", len(DATA), SHA256)
    assert list(tmp_path.iterdir()) == []
    assert network.asked == [MIRROR + "data.gz"]


def test_several_at_once(network: Network, tmp_path: Path) -> None:
    gate = threading.Barrier(6)

    def slowly() -> bytes:
        gate.wait(10)
        return answer()

    network.answers[MIRROR + "data.gz"] = slowly
    failures = []

    def work() -> None:
        try:
            fetch((MIRROR,), tmp_path / "data.gz", len(DATA), SHA256)
            assert (tmp_path / "data.gz").read_bytes() == DATA
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["data.gz"]
