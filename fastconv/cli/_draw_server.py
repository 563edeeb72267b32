"""The server of `fastconv draw`: one page, and the answers to what is drawn on it, for this machine alone.

It listens at 127.0.0.1 and knows three addresses: GET / is the page, GET /model says what the model is, POST /guess
takes strokes and gives probabilities.  What other pages in the same browser could try is refused:

1. Host must be this server's own, or a name that somebody else's server resolves to 127.0.0.1 (DNS rebinding) would do.
2. Origin, where a browser sends it, must be this page's own; likewise Sec-Fetch-Site.
3. A guess must be JSON, which a browser does not send to another origin without asking first; asking (OPTIONS) fails.
4. The page may run its own script and style, known by their hashes, and load nothing from anywhere.

Sizes, times and the number of connections are bounded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import socket
import socketserver
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastconv._version import __version__
from fastconv.cli._recognizer import Recognizer

__all__ = ["DrawServer"]

HOST = "127.0.0.1"
MOST_BODY = 200_000  # bytes of a request's body
MOST_STROKES = 500
MOST_POINTS = 10_000  # of all strokes together
REQUEST_SECONDS = 20.0  # from the end of one request to the end of the next, all bytes of it
SEND_SECONDS = 10.0
MOST_CONNECTIONS = 32

_EXTENTS = ("count", "height", "width")
JSON = "application/json"
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class DrawServer(socketserver.ThreadingTCPServer):
    """Serves the page for one model.

    Parameters
    ----------
    recognizer : Recognizer
    port : int
        0 for any that is free.

    Attributes
    ----------
    url : str
        Where the page is.

    Raises
    ------
    OSError
        If the port is taken, or not ours to take.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two servers share a port
    request_queue_size = 16

    def __init__(self, recognizer: Recognizer, port: int) -> None:
        self.recognizer = recognizer
        self.page = resources.files("fastconv.cli").joinpath("draw.html").read_bytes()
        self.policy = _policy(self.page.decode())
        self._model_lock = threading.Lock()  # layers keep state between calls: one at a time
        self._connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), _Handler)
        self.port: int = self.server_address[1]
        self.url = f"http://{HOST}:{self.port}/"
        self.hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        if self.port == 80:
            self.hosts |= {HOST, "localhost"}
        self.origins = {f"http://{host}" for host in self.hosts}

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, unless there are too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What the thread does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or was too slow is nobody's business."""

    def describe(self) -> dict[str, Any]:
        """What the page says of the model."""
        recognizer = self.recognizer
        channels, height, width = recognizer.info.input_shape
        with self._model_lock:
            layers = recognizer.feature_maps(np.zeros((channels, height, width), np.float32))
        maps = [{"name": layer.name, **dict(zip(_EXTENTS, layer.maps.shape, strict=True))} for layer in layers]
        return {
            "net": recognizer.info.net,
            "dataset": recognizer.info.dataset,
            "file": recognizer.path.name,
            "parameters": sum(parameter.size for parameter in recognizer.model.parameters()),
            "classes": list(recognizer.info.classes),
            "input": [channels, height, width],
            "maps": maps,
            "version": __version__,
        }

    def guess(self, strokes: list[NDArray[Any]], pen: float) -> dict[str, Any]:
        """What the model takes strokes for; all None or empty where there are none."""
        begin = time.perf_counter()
        image = self.recognizer.prepare_strokes(strokes, pen)
        if image is None:
            return {"label": None, "probabilities": None, "image": None, "maps": [], "milliseconds": None}
        with self._model_lock:
            before = time.perf_counter()
            probabilities = self.recognizer.probabilities(image[None])[0]
            after = time.perf_counter()
            maps = self.recognizer.feature_maps(image)
        return {
            "label": self.recognizer.info.classes[int(np.argmax(probabilities))],
            "probabilities": [float(share) for share in probabilities],
            "image": _packed(np.rint(image[0] * 255).astype(np.uint8)[None]),
            "maps": [{"name": layer.name, **_packed(layer.maps)} for layer in maps],
            "milliseconds": {
                "preparing": round(1000 * (before - begin), 3),
                "network": round(1000 * (after - before), 3),
            },
        }


def _packed(planes: NDArray[np.uint8]) -> dict[str, Any]:
    """Planes (K, H, W) of grey as the page reads them."""
    extents = dict(zip(_EXTENTS, planes.shape, strict=True))
    return {**extents, "data": base64.b64encode(planes.tobytes()).decode()}


def _policy(page: str) -> str:
    """The Content-Security-Policy under which the page's own script and style run, and nothing else."""

    def hashes(tag: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _Refused(Exception):
    """A request that gets no answer but why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Bounded(io.RawIOBase):
    """Bytes from a socket until a deadline, however slowly they come."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: DrawServer
    protocol_version = "HTTP/1.1"
    server_version = "fastconv"
    sys_version = ""
    disable_nagle_algorithm = True
    _known: ClassVar[dict[str, str]] = {"/": "GET", "/model": "GET", "/guess": "POST"}

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        super().setup()
        self._raw = _Bounded(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._raw)

    def handle_one_request(self) -> None:
        self._raw.deadline = time.monotonic() + REQUEST_SECONDS
        try:
            super().handle_one_request()
        except OSError:  # too slow, or gone
            self.close_connection = True

    def parse_request(self) -> bool:
        """The line and the headers; what is right about them is settled before any method is looked at."""
        if not super().parse_request():
            return False
        try:
            self._check()
        except _Refused as refusal:
            self._refuse(refusal)
            return False
        return True

    def _check(self) -> None:
        """Who asks, where, how, and for how much; raises _Refused."""
        headers = self.headers
        hosts = headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, f"this server is {self.server.url} and no other")
        origins = headers.get_all("Origin", [])
        if any(origin.strip().lower() not in self.server.origins for origin in origins):
            raise _Refused(HTTPStatus.FORBIDDEN, "requests from other origins are refused")
        if headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise _Refused(HTTPStatus.FORBIDDEN, "requests from other sites are refused")
        method = self._known.get(self.path)
        if method is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        if self.command != method and not (method == "GET" and self.command == "HEAD"):
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {method}")
        self._length = self._body_length()

    def _body_length(self) -> int:
        """The bytes of the body: announced, once, and not too many."""
        if "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the length must be announced")
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths:
            if self.command == "POST":
                raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the length must be announced")
            return 0
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0].strip()):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the length is no number")
        length = int(lengths[0])
        if length > MOST_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BODY:,} bytes are read")
        if length and self.command != "POST":
            raise _Refused(HTTPStatus.BAD_REQUEST, "this takes no body")
        return length

    # -- methods -------------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        """The page, or what the model is."""
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        else:
            self._answer_json(HTTPStatus.OK, self.server.describe())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A guess."""
        try:
            kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != JSON:
                raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected {JSON}")
            body = self.rfile.read(self._length)
            if len(body) != self._length:
                raise _Refused(HTTPStatus.BAD_REQUEST, "the body is shorter than announced")
            strokes, pen = _strokes(body)
            try:
                answer = self.server.guess(strokes, pen)
            except Exception as error:  # the page is to say so, and the next guess to work
                raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}") from None
            self._answer_json(HTTPStatus.OK, answer)
        except _Refused as refusal:
            self._refuse(refusal)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.connection.settimeout(SEND_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.server.policy)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer_json(self, status: HTTPStatus, value: Any) -> None:
        self._answer(status, JSON, json.dumps(value, allow_nan=False).encode())

    def _refuse(self, refusal: _Refused) -> None:
        """Say why, and close: the body of what is refused is not read."""
        self.close_connection = True
        self._answer_json(refusal.status, {"error": str(refusal)})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself (a line too long, an unknown method), in our form."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.request_version = "HTTP/1.1"
        self._answer_json(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def _strokes(body: bytes) -> tuple[list[NDArray[np.float64]], float]:
    """What a guess is asked of: {"strokes": [[x, y, x, y, ...], ...], "pen": width}, in widths of the sheet."""

    def wrong(reason: str) -> _Refused:
        return _Refused(HTTPStatus.BAD_REQUEST, reason)

    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise wrong("the body is no JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("strokes"), list):
        raise wrong('expected {"strokes": [[x, y, ...], ...], "pen": width}')
    strokes, pen = found["strokes"], found.get("pen", 0.08)
    if len(strokes) > MOST_STROKES:
        raise wrong(f"at most {MOST_STROKES} strokes")
    if not _is_number(pen) or not 0 < pen <= 1:
        raise wrong("pen must be a number above 0, at most 1")
    arrays, points = [], 0
    for stroke in strokes:
        if not isinstance(stroke, list) or len(stroke) % 2:
            raise wrong("a stroke must be a list of x, y, x, y, ...")
        points += len(stroke) // 2
        if points > MOST_POINTS:
            raise wrong(f"at most {MOST_POINTS} points")
        if not all(_is_number(value) and -1 <= value <= 2 for value in stroke):
            raise wrong("coordinates must be numbers from -1 to 2")
        if stroke:
            arrays.append(np.array(stroke, np.float64).reshape(-1, 2))
    return arrays, float(pen)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e9 < value < 1e9
