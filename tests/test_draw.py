"""`fastconv draw`: the server, what it answers and all that it refuses; and how the command starts and ends."""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fastconv import data, models, serialization
from fastconv.cli import _draw_server, draw, main
from fastconv.cli._draw_server import MOST_BODY, DrawServer
from fastconv.cli._last_model import last_model
from fastconv.cli._recognizer import Recognizer

SEVEN = [[0.25, 0.2, 0.75, 0.18, 0.45, 0.85]]
GUESS = {"strokes": SEVEN, "pen": 0.08}


def save(path, net="fast"):
    serialization.save_model(path, models.build(net, 0), serialization.ModelInfo(net, "digits", 1 / 255, 0.0))
    return path


@contextlib.contextmanager
def serving(path):
    with DrawServer(Recognizer(path), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(save(tmp_path_factory.mktemp("model") / "m.npz")) as running:
        yield running


def ask(server, path="/", method="GET", body=None, **headers):
    """Status, headers and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def guess(server, body, **headers):
    status, _, answer = ask(server, "/guess", "POST", body, **headers)
    return status, json.loads(answer)


def raw(server, text, wait=30.0):
    """What comes back for these bytes, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(text if isinstance(text, bytes) else text.encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(65536):
                answer += block
        return answer


# -- what it answers ---------------------------------------------------------------------------------------------------


def test_the_page(server):
    status, headers, body = ask(server)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert body == resources.files("fastconv.cli").joinpath("draw.html").read_bytes()
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert ask(server, method="HEAD")[0::2] == (200, b"")


def test_the_page_needs_nothing_but_itself():
    page = resources.files("fastconv.cli").joinpath("draw.html").read_text(encoding="utf-8")
    text = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert not re.search(r"\son[a-z]+=|\sstyle=|eval\(|innerHTML|new Function", text)
    assert page.count("<script>") == page.count("<style>") == 1
    assert "<script " not in page
    assert '<link rel="stylesheet"' not in page


def test_the_page_goes_where_the_package_goes():
    found = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "draw.html" in found["tool"]["setuptools"]["package-data"]["fastconv.cli"]


def test_the_model(server):
    status, headers, body = ask(server, "/model")
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    found = json.loads(body)
    assert (found["net"], found["dataset"], found["file"]) == ("fast", "digits", "m.npz")
    assert found["parameters"] == 215_194
    assert found["classes"] == list("0123456789")
    assert found["input"] == [1, 28, 28]
    assert [(layer["count"], layer["height"], layer["width"]) for layer in found["maps"]] == [
        (24, 24, 24),
        (32, 10, 10),
    ]


def test_a_guess(server):
    status, found = guess(server, GUESS)
    assert status == 200
    assert len(found["probabilities"]) == 10
    assert abs(sum(found["probabilities"]) - 1) < 1e-6
    assert found["label"] == str(np.argmax(found["probabilities"]))
    assert found["milliseconds"]["network"] > 0
    image = np.frombuffer(base64.b64decode(found["image"]["data"]), np.uint8).reshape(28, 28)
    expected = server.recognizer.prepare_strokes([np.reshape(stroke, (-1, 2)) for stroke in SEVEN], 0.08)
    np.testing.assert_array_equal(image, np.rint(expected[0] * 255))
    for layer in found["maps"]:
        assert len(base64.b64decode(layer["data"])) == layer["count"] * layer["height"] * layer["width"]
    np.testing.assert_allclose(found["probabilities"], server.recognizer.probabilities(expected[None])[0])


@pytest.mark.parametrize("strokes", [[], [[]], [[], []]])
def test_an_empty_sheet_makes_no_guess(server, strokes):
    status, found = guess(server, {"strokes": strokes, "pen": 0.08})
    assert status == 200
    assert found == {"label": None, "probabilities": None, "image": None, "maps": [], "milliseconds": None}


@pytest.mark.parametrize("strokes", [[[0.5, 0.5]], [[-1, 2, 2, -1]], [[0.1, 0.1] * 5000], [[0, 0, 1, 1]] * 500])
def test_odd_drawings(server, strokes):
    status, found = guess(server, {"strokes": strokes, "pen": 1})
    assert status == 200
    assert np.isfinite(found["probabilities"]).all()


@pytest.mark.parametrize("net", models.names())
def test_every_network(tmp_path, net):
    with serving(save(tmp_path / "m.npz", net)) as running:
        status, found = guess(running, GUESS)
        assert status == 200
        layers = json.loads(ask(running, "/model")[2])["maps"]
        assert len(layers) == len(found["maps"]) == {"ann": 0, "scratch": 1}.get(net, 2)


def test_the_maps_are_what_the_layers_give(tmp_path):
    recognizer = Recognizer(save(tmp_path / "m.npz", "keras"))
    image = (data.digits(1).images[0] / np.float32(255)).astype(np.float32)[None]
    first, second = recognizer.feature_maps(image)
    for layer, depth in ((first, 2), (second, 5)):
        values = recognizer.model[:depth](image[None])[0]
        most = np.quantile(values, 0.99)
        np.testing.assert_array_equal(layer.maps, np.rint(np.minimum(values / most, 1) * 255).astype(np.uint8))


def test_one_connection_many_guesses_at_once(server):
    expected = guess(server, GUESS)[1]["probabilities"]
    wrong = []

    def many():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for _ in range(20):
            connection.request("POST", "/guess", json.dumps(GUESS), {"Content-Type": "application/json"})
            if json.loads(connection.getresponse().read())["probabilities"] != expected:
                wrong.append(1)
        connection.close()

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_model_is_called_by_one_thread_at_a_time(server, monkeypatch):
    inside, most = [], []
    original = server.recognizer.probabilities

    def slow(images):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return original(images)

    monkeypatch.setattr(server.recognizer, "probabilities", slow)
    threads = [threading.Thread(target=guess, args=(server, GUESS)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_hosts(server):
    assert ask(server, Host=f"localhost:{server.port}")[0] == 200
    assert ask(server, Host=f"LOCALHOST:{server.port}")[0] == 200
    for host in ("example.com", f"example.com:{server.port}", "127.0.0.1", f"127.0.0.1:{server.port + 1}", "", "[::1]"):
        assert ask(server, Host=host)[0] == 403, host
        assert guess(server, GUESS, Host=host)[0] == 403, host
    assert raw(server, "GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    own = f"Host: 127.0.0.1:{server.port}\r\n"
    assert raw(server, f"GET / HTTP/1.1\r\n{own}Host: example.com\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert b"<html" not in raw(server, "GET /\r\n\r\n")


def test_origins(server):
    for host in ("127.0.0.1", "localhost"):
        assert guess(server, GUESS, Origin=f"http://{host}:{server.port}")[0] == 200
    for origin in ("http://example.com", "null", f"https://127.0.0.1:{server.port}", "http://127.0.0.1", "file://"):
        assert guess(server, GUESS, Origin=origin)[0] == 403, origin
        assert ask(server, "/model", Origin=origin)[0] == 403, origin
    for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)):
        assert guess(server, GUESS, Sec_Fetch_Site=site)[0] == status
    assert "Access-Control-Allow-Origin" not in ask(server, Origin=f"http://127.0.0.1:{server.port}")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/guess/", "/index.html", "/draw.html", "/favicon.ico", "/../../etc/passwd", "/..%2f..%2fetc/passwd",
        "//etc/passwd", "/?x=1", "/%2e%2e/", "/model/../", "/static/../../pyproject.toml", "*", "http://127.0.0.1/",
    ],
)  # fmt: skip
def test_other_paths(server, path):
    for method in ("GET", "POST", "HEAD"):
        status, _, body = ask(server, path, method)
        assert status == (403 if path.startswith("http:") else 404)  # http.client takes Host from there
        assert method == "HEAD" or list(json.loads(body)) == ["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 99])
def test_other_methods(server, method):
    for path in ("/", "/model", "/guess"):
        assert ask(server, path, method)[0] in (405, 501)
    assert ask(server, "/guess")[0] == 405
    assert ask(server, "/", "POST", {})[0] == 405


def test_sizes(server):
    status, found = guess(server, b" " * (MOST_BODY + 1), Content_Type="application/json")
    assert (status, list(found)) == (413, ["error"])
    own = f"Host: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    assert raw(server, f"POST /guess HTTP/1.1\r\n{own}Content-Length: 999999999999\r\n\r\n").startswith(
        b"HTTP/1.1 413 "
    )
    assert raw(server, f"POST /guess HTTP/1.1\r\n{own}\r\n").startswith(b"HTTP/1.1 411 ")
    chunked = f"POST /guess HTTP/1.1\r\n{own}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert raw(server, chunked).startswith(b"HTTP/1.1 411 ")
    for length in ("-1", "x", "1e3", "", "5\r\nContent-Length: 6", "9" * 5000):
        answer = raw(server, f"POST /guess HTTP/1.1\r\n{own}Content-Length: {length}\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 "), length
    assert raw(server, f"GET / HTTP/1.1\r\n{own}Content-Length: 3\r\n\r\nabc").startswith(b"HTTP/1.1 400 ")
    assert raw(server, f"GET /{'x' * 70_000} HTTP/1.1\r\n{own}\r\n").startswith(b"HTTP/1.1 414 ")
    assert raw(server, f"GET / HTTP/1.1\r\n{own}X: {'x' * 70_000}\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert (
        raw(server, f"GET / HTTP/1.1\r\n{own}{'X: x' * 200}".replace("X: xX", "X: x\r\nX") + "\r\n\r\n")[9:12] == b"431"
    )
    assert guess(server, GUESS)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b"{}", b'{"strokes": 1}', b'{"strokes": [1]}',
        b'{"strokes": [[1]]}', b'{"strokes": [["a", "b"]]}', b'{"strokes": [[NaN, 0]]}', b'{"strokes": [[1e400, 0]]}',
        b'{"strokes": [[0, 3]]}', b'{"strokes": [[true, 0]]}', b'{"strokes": [[[0], 0]]}',
        b'{"strokes": {"0": [0, 0]}}',
        b'{"strokes": [[0, 0]], "pen": 0}', b'{"strokes": [[0, 0]], "pen": 1.5}', b'{"strokes": [[0, 0]], "pen": null}',
        b'{"strokes": [[0, 0]], "pen": NaN}', b'{"strokes": [[' + b"9" * 5000 + b", 0]]}",
        b'{"strokes": [[' + b"9" * 400 + b", 0]]}", json.dumps({"strokes": [[0, 0]] * 501}).encode(),
        json.dumps({"strokes": [[0, 0] * 10_001]}).encode(),
    ],
    ids=range(25),
)  # fmt: skip
def test_bodies(server, body):
    status, found = guess(server, body, Content_Type="application/json")
    assert (status, list(found)) == (400, ["error"])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_another_page_could_send(server, kind):
    assert guess(server, json.dumps(GUESS).encode(), Content_Type=kind)[0] == 415


def test_nonsense(server):
    for text in (
        b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\0" * 100 + b"\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        answer = raw(server, text)
        assert b"<html" not in answer
        assert not answer or re.search(rb"40[03]|505", answer[:20])
    assert guess(server, GUESS)[0] == 200


def test_slow_clients_are_let_go(server, monkeypatch):
    monkeypatch.setattr(_draw_server, "REQUEST_SECONDS", 0.5)
    start = time.monotonic()
    assert raw(server, "GET / HT") == b""
    head = f"POST /guess HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    assert raw(server, head + "Content-Length: 100\r\n\r\nabc") == b""
    assert 0.9 < time.monotonic() - start < 15
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:  # a byte now and then
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            for letter in head * 4:
                connection.sendall(letter.encode())
                time.sleep(0.05)
        assert time.monotonic() - begin < 15


def test_too_many_connections(server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(_draw_server.MOST_CONNECTIONS + 8)]
    time.sleep(0.2)
    with pytest.raises(ConnectionError):  # closed at once
        guess(server, GUESS)
    for connection in idle:
        connection.close()
    end = time.monotonic() + 30
    while True:
        try:
            assert guess(server, GUESS)[0] == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_failure_of_the_model_is_said(server, monkeypatch):
    def fail(images):
        raise ValueError("scores are not finite")

    monkeypatch.setattr(server.recognizer, "probabilities", fail)
    assert guess(server, GUESS) == (500, {"error": "ValueError: scores are not finite"})
    monkeypatch.undo()
    assert guess(server, GUESS)[0] == 200


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, and no MNIST on the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_it_starts_and_ends(tmp_path):
    save(tmp_path / "m.npz")
    command = [sys.executable, "-m", "fastconv", "draw", "m.npz", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "model: m.npz (fast, trained on digits)\n"
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)  # stays open
        connection.request("POST", "/guess", json.dumps(GUESS), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert (out, err) == ("", "\nstopped\n")
        connection.close()
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken(tmp_path, monkeypatch, capsys):
    path = save(tmp_path / "m.npz")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["draw", str(path), "--no-browser", "--port", str(port)]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"fastconv: error: --port: cannot serve at port {port}")
        assert len(err.splitlines()) == 1
        monkeypatch.setattr(draw, "PORT", port)
        with draw._server(Recognizer(path), None) as other:
            assert other.port != port


@pytest.mark.parametrize("port", ["-1", "65536", "x", ""])
def test_wrong_ports(port):
    with pytest.raises(SystemExit) as ended:
        main(["draw", "--port", port])
    assert ended.value.code == 2


@pytest.mark.usefixtures("nowhere")
def test_models(tmp_path, monkeypatch, capsys):
    """The one that is named, else the last one trained, else `fast` is trained first, and said to be."""
    shown = []
    monkeypatch.setattr(DrawServer, "serve_forever", lambda self, poll_interval: shown.append(self.recognizer.path))
    assert main(["draw", "missing.npz", "--no-browser"]) == 1
    assert "missing.npz" in capsys.readouterr().err
    seen = []

    def small(args, original=draw.train.run):
        seen.append((args.net, args.no_download))
        args.train_size, args.data, args.quiet = 500, "digits", True
        return original(args)

    monkeypatch.setattr(draw.train, "run", small)
    assert main(["draw", "--no-browser"]) == 0
    assert seen == [("fast", True)]
    assert "training the network `fast` first" in capsys.readouterr().err
    assert shown == [last_model()]
    assert shown[0].parent == tmp_path / "cache" / "fastconv" / "models"
    assert main(["draw", "--no-browser"]) == 0
    assert len(seen) == 1
    named = save(tmp_path / "m.npz")
    assert main(["draw", str(named), "--no-browser"]) == 0
    assert shown[1:] == [shown[0], named]


def test_the_browser_is_opened_where_there_is_a_screen(tmp_path, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr(draw.webbrowser, "open", lambda url: opened.set())
    monkeypatch.setattr(DrawServer, "serve_forever", lambda self, poll_interval: None)
    path = str(save(tmp_path / "m.npz"))
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(["draw", path, "--no-browser"]) == 0
    assert not opened.wait(0.05)
    assert main(["draw", path]) == 0
    assert opened.wait(5)
