"""`fastconv draw`: a page in the browser to draw a digit on, and to watch a network read it."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

import fastconv
from fastconv.cli import _arguments as arguments
from fastconv.cli import train
from fastconv.cli._draw_server import DrawServer
from fastconv.cli._last_model import last_model
from fastconv.cli._recognizer import Recognizer
from fastconv.data import cache_dir

PORT = 8420
TRIES = 20  # ports from there on


def add(subparsers: Any) -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "draw",
        help="draw a digit in the browser and watch a network read it",
        description="Open a page in the browser to draw a digit on: the probabilities move while you draw.  All of it "
        "stays on this machine.  Ctrl-C ends it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="file that fastconv train wrote (default: the model that was trained last; if there is none, the network "
        "`fast` is trained first, which takes seconds)",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"where the page is (default: {PORT}, or the next that is free)"
    )
    parser.add_argument("--no-browser", action="store_true", help="say where the page is, but do not open it")
    arguments.add_threads(parser)
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 0 (any that is free) to 65535, got {text}")
    return value


_port.__name__ = "int"


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    path = Path(args.model) if args.model else last_model() or _train()
    recognizer = Recognizer(path)
    if args.threads:
        fastconv.set_num_threads(args.threads)
    with _server(recognizer, args.port) as server:
        try:
            print(f"model: {path} ({recognizer.info.net}, trained on {recognizer.info.dataset})")
            print(f"draw a digit at {server.url} (Ctrl-C ends it)", flush=True)
            if not args.no_browser:
                _open(server.url)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("\nstopped", file=sys.stderr)
    return 0


def _train() -> Path:
    """Train the quickest network on what this machine has; the path of its file."""
    print("fastconv: found no trained model: training the network `fast` first, which takes seconds", file=sys.stderr)
    parser = train.add(argparse.ArgumentParser().add_subparsers())
    folder = cache_dir() / "models"
    status = train.run(parser.parse_args(["--net", "fast", "--no-download", "--out", str(folder)]))
    path = last_model()
    if status or path is None:
        raise RuntimeError(
            f"the network was trained, but its file in {folder} could not be noted; name it: fastconv draw MODEL"
        )
    return path


def _server(recognizer: Recognizer, port: int | None) -> DrawServer:
    """A server at that port, or at the first free one from PORT on where none was asked for."""
    if port is not None:
        try:
            return DrawServer(recognizer, port)
        except OSError as error:
            raise OSError(
                f"--port: cannot serve at port {port} ({error.strerror}); leave it out for a free one"
            ) from None
    for candidate in range(PORT, PORT + TRIES):
        try:
            return DrawServer(recognizer, candidate)
        except OSError:
            continue
    return DrawServer(recognizer, 0)


def _open(url: str) -> None:
    """Show the page in the user's browser, where there is a screen; a browser of text would take this terminal."""
    screen = (
        os.name == "nt" or sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if screen:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
