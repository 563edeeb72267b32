"""Downloads from a server on this machine: two processes at once, processes that are interrupted or killed, TLS.

Where a test is not about TLS, the child process speaks plain HTTP under the https address, so that no certificate is
needed; the package itself has no way to do so.
"""

import errno
import hashlib
import http.server
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastconv.data import DatasetNotFoundError, DownloadError, download, load, load_mnist, mnist
from fastconv.data.download import fetch

DATA = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()
STALE = ".data.gz.0123456789ab.part"

CHILD = f"""
import http.client, sys, urllib.request
from pathlib import Path
from fastconv.data import download

class Plain(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(http.client.HTTPConnection, request)

download._https = Plain
download.fetch([sys.argv[1]], Path(sys.argv[2]), {len(DATA)}, "{SHA256}")
"""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


class Server(http.server.ThreadingHTTPServer):
    """Sends DATA in two halves; the second one once `go_on` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go_on = threading.Event()
        self.go_on.set()
        self.halves = threading.Semaphore(0)  # one for each first half that was sent

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the other side was killed


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        half = len(DATA) // 2
        self.wfile.write(DATA[:half])
        self.wfile.flush()
        self.server.halves.release()
        self.server.go_on.wait(20)
        self.wfile.write(DATA[half:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.go_on.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def begin(server: Server, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a process that downloads data.gz to tmp_path."""
    running: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def start() -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", CHILD, server.url, str(tmp_path / "data.gz")]
        running.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to pass")


def test_two_processes_at_once(server: Server, begin: Callable[[], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    server.go_on.clear()
    processes = [begin(), begin()]
    for _ in processes:
        assert server.halves.acquire(timeout=20)
    until(lambda: len(names(tmp_path)) == 2)
    assert "data.gz" not in names(tmp_path)
    server.go_on.set()
    for process in processes:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors.decode()
    assert names(tmp_path) == ["data.gz"]
    assert (tmp_path / "data.gz").read_bytes() == DATA


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_on_the_way(
    server: Server, begin: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, by: signal.Signals
) -> None:
    """No half file under the final name; what a killed process leaves is removed later, once it is old."""
    server.go_on.clear()
    process = begin()
    assert server.halves.acquire(timeout=20)
    until(lambda: any(path.stat().st_size > 0 for path in tmp_path.iterdir()))
    process.send_signal(by)
    process.wait(20)
    left = names(tmp_path)
    assert "data.gz" not in left
    assert len(left) == (0 if by == signal.SIGINT else 1)
    server.go_on.set()
    again = begin()
    assert again.wait(20) == 0
    assert names(tmp_path) == sorted([*left, "data.gz"])  # it might be another process's, which is at work
    for name in left:
        hours_ago = time.time() - 2 * download.STALE_SECONDS
        os.utime(tmp_path / name, (hours_ago, hours_ago))
    assert begin().wait(20) == 0
    assert names(tmp_path) == ["data.gz"]
    assert (tmp_path / "data.gz").read_bytes() == DATA


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(path), "-days", "2", "-subj", "/CN=127.0.0.1"]
    made = subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"openssl cannot make a certificate: {made.stderr.strip()[-200:]}")
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.fixture
def tls(server: Server, certificate: Path) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_over_tls_with_a_certificate_that_is_trusted(
    tls: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetch([tls.url], tmp_path / "data.gz", len(DATA), SHA256)
    assert (tmp_path / "data.gz").read_bytes() == DATA


def test_a_certificate_that_nobody_signed_is_refused(
    tls: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch([tls.url], tmp_path / "data.gz", len(DATA), SHA256)
    assert names(tmp_path) == []


def test_a_certificate_for_another_name_is_refused(
    tls: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch([tls.url.replace("127.0.0.1", "localhost")], tmp_path / "data.gz", len(DATA), SHA256)


def test_a_server_that_does_not_speak_tls_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"(?i)ssl|record|handshake"):
        fetch([server.url], tmp_path / "data.gz", len(DATA), SHA256)


# -- the cache folder --------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, which does not exist yet, and a download that always succeeds."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setattr(mnist, "cache_dir", lambda: tmp_path / "above" / "fastconv")

    def arrives(mirrors: object, target: Path, size: int, sha256: str) -> None:
        target.write_bytes(b"")

    monkeypatch.setattr(mnist, "fetch", arrives)
    return tmp_path / "above" / "fastconv" / "mnist"


def test_modes(cache: Path, tls: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New folders are the user's alone; files are as the umask says, and never for others to write."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    before = os.umask(0)
    try:
        mnist.locate()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache.parent, cache.parent.parent)] == [0o700] * 3
        for mask, mode in ((0o000, 0o644), (0o022, 0o644), (0o077, 0o600)):
            os.umask(mask)
            fetch([tls.url], cache / "data.gz", len(DATA), SHA256)
            assert stat.S_IMODE((cache / "data.gz").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_link_in_the_way_is_replaced_and_not_followed(
    tls: Server, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "cache").mkdir()
    for leads_to in ("../precious", "nowhere"):
        (tmp_path / "cache" / "data.gz").unlink(missing_ok=True)
        (tmp_path / "cache" / "data.gz").symlink_to(leads_to)
        fetch([tls.url], tmp_path / "cache" / "data.gz", len(DATA), SHA256)
        assert not (tmp_path / "cache" / "data.gz").is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_link_in_place_of_the_temporary_file_is_not_followed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name cannot be guessed; here it is known."""
    monkeypatch.setattr(download.secrets, "token_hex", lambda length: "0123456789ab")
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / STALE).symlink_to("precious")
    with pytest.raises(FileExistsError):
        fetch([server.url], tmp_path / "data.gz", len(DATA), SHA256)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_only_our_own_old_temporary_files_are_removed(tmp_path: Path) -> None:
    others = [".data.gz.part", ".other.gz.0123456789ab.part", ".data.gz.xyz.part", "data.gz.0123456789ab.part"]
    for name in [STALE, *others]:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / STALE.replace("0", "f")).symlink_to("nowhere")  # new: it stays
    download._remove_stale(tmp_path / "data.gz")
    assert names(tmp_path) == sorted([*others, STALE.replace("0", "f")])


def test_a_folder_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is downloaded, with a way out; `auto` goes on with digits."""

    def read_only(path: Path, mode: int = 0o777) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(DatasetNotFoundError, match=r"cannot be written: Read-only file system; \$XDG_CACHE_HOME can"):
        load_mnist()
    found = load("auto", digits_size=60)
    assert found.name == "digits"
    assert found.notice is not None
    assert "cannot be written" in found.notice


def test_a_folder_without_the_right_to_write(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(mnist, "fetch", lambda *arguments: pytest.fail("it is known before the download"))
    with pytest.raises(DatasetNotFoundError, match=r"mnist: the cache cannot be written: Permission denied"):
        load_mnist()


def test_a_cache_that_must_not_be_looked_into(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(mnist, "_present", forbidden)
    assert mnist.find_mnist() is None
    assert load("auto", digits_size=60).name == "digits"


def test_a_link_that_leads_nowhere_in_place_of_the_folder(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.symlink_to("nowhere")
    with pytest.raises(DatasetNotFoundError, match="cannot be written: File exists"):
        load_mnist()
