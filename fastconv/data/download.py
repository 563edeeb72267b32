"""Fetch one file whose size and SHA-256 are known: all of it, or nothing.

Over TLS; redirects are refused.  What arrives goes to a temporary file in the target's folder and takes the target's
name only once its length and hash are right and it is on the disk, so that the name never stands for half a file, and
two processes that download at once do not disturb each other.  A process that is killed leaves its temporary file; a
later download of the same file removes it once it is certain that nobody writes it any more.
"""

import contextlib
import hashlib
import http.client
import os
import re
import secrets
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from fastconv._untrusted import shown
from fastconv.data.errors import DownloadError
from fastconv.data.idx import looks_like_html

__all__ = ["fetch"]

CONNECT_SECONDS = 6.0  # for name look-up, connection and the first answer together
STALL_SECONDS = 10.0  # without a single byte
SLOWEST = 20_000  # bytes a second, over the whole file and half a minute
STALE_SECONDS = 3600.0  # a temporary file that was last written so long ago is nobody's any more
_BLOCK = 1 << 16


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuse every redirect; urllib would also read its whole body, however long that is."""

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> NoReturn:
        fp.close()
        raise DownloadError(f"{req.full_url}: redirect to {shown(headers.get('Location'))} refused")

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _https() -> urllib.request.BaseHandler:
    """What speaks TLS: with the system's certificates, all checked."""
    return urllib.request.HTTPSHandler(context=ssl.create_default_context())


def _open(url: str) -> Any:
    """Open a URL over TLS; the answer of urllib."""
    opener = urllib.request.build_opener(_https(), _NoRedirects())
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "fastconv"})
    return opener.open(request, timeout=STALL_SECONDS)


def _open_soon(url: str) -> Any:
    """`_open`, but give up after CONNECT_SECONDS: a name server that does not answer has no time limit of its own."""
    answer: list[Any] = []
    failure: list[BaseException] = []
    lock = threading.Lock()
    given_up = False

    def work() -> None:
        try:
            response = _open(url)
        except BaseException as error:
            failure.append(error)
            return
        with lock:
            if not given_up:
                answer.append(response)
                return
        response.close()

    thread = threading.Thread(target=work, name="fastconv download", daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    with lock:
        given_up = True
    if failure:
        raise failure[0]
    if not answer:
        raise DownloadError(f"{url}: no answer within {CONNECT_SECONDS:g} seconds")
    return answer[0]


def _blocks(url: str, size: int) -> Iterator[bytes]:
    """The blocks of the file at `url`, whose length and kind are checked as far as they can be on the way."""
    with contextlib.closing(_open_soon(url)) as response:
        if response.status != 200:
            raise DownloadError(f"{url}: HTTP status {response.status}")
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise DownloadError(f"{url}: the answer is a web page, not the file")
        announced = response.headers.get("Content-Length")
        if announced is not None and announced.strip() != str(size):
            raise DownloadError(f"{url}: {shown(announced, 40)} bytes announced, expected {size}")
        deadline = time.monotonic() + 30 + size / SLOWEST
        received = 0
        while block := response.read1(min(_BLOCK, size + 1 - received)):
            if received == 0 and looks_like_html(block):
                raise DownloadError(f"{url}: the answer is a web page, not the file")
            received += len(block)
            if received > size:
                raise DownloadError(f"{url}: more than {size} bytes came")
            if time.monotonic() > deadline:
                raise DownloadError(f"{url}: too slow, given up after {received} of {size} bytes")
            yield block
        if received != size:
            raise DownloadError(f"{url}: {received} bytes came, expected {size}")


@contextlib.contextmanager
def _progress(name: str, size: int) -> Iterator[Any]:
    """A function to report bytes to: a bar on a terminal where tqdm is installed, else nothing."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda count: None
        return
    with tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        yield bar.update


def _fetch_one(url: str, target: Path, size: int, sha256: str) -> None:
    """Download `url` to `target`, or raise and leave nothing behind."""
    name = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # a link in its place is not followed
    handle = os.open(name, flags, 0o644)
    try:
        digest = hashlib.sha256()
        with open(handle, "wb") as file, _progress(target.name, size) as report:
            for block in _blocks(url, size):
                digest.update(block)
                file.write(block)
                report(len(block))
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise DownloadError(f"{url}: SHA-256 is {digest.hexdigest()}, expected {sha256}")
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    if os.name == "posix":  # the new name, too, is to survive a power cut
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_stale(target: Path) -> None:
    """Remove temporary files that downloads of `target` left behind when they were killed."""
    pattern = re.compile(re.escape(f".{target.name}.") + "[0-9a-f]{12}" + re.escape(".part"))
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            path = target.with_name(name)
            if pattern.fullmatch(name) and time.time() - path.lstat().st_mtime > STALE_SECONDS:
                path.unlink()


def fetch(mirrors: Sequence[str], target: Path, size: int, sha256: str) -> None:
    """Download a file from the first mirror that has it.

    Parameters
    ----------
    mirrors : sequence of str
        https addresses of folders, each with a slash at the end; the file's name there is that of `target`.
    target : Path
        Where it goes; its folder exists.  A file of that name is replaced.
    size : int
        Bytes.
    sha256 : str
        Hash of the contents, 64 hexadecimal digits.

    Raises
    ------
    DownloadError
        If no mirror gave the file; the message says for each why not.
    OSError
        If it cannot be written.
    """
    for mirror in mirrors:
        if urllib.parse.urlsplit(mirror).scheme != "https":
            raise ValueError(f"fetch: mirrors must be https addresses, got {mirror!r}")
    _remove_stale(target)
    reasons = []
    for mirror in mirrors:
        url = mirror + target.name
        try:
            _fetch_one(url, target, size, sha256)
            return
        except DownloadError as error:
            reasons.append(str(error))
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            reasons.append(f"{url}: {shown(getattr(error, 'reason', None) or str(error) or type(error).__name__)}")
    raise DownloadError("; ".join(reasons))
