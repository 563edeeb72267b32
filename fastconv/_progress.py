"""The progress line of a training run, on stderr.

On a terminal: tqdm's bar where tqdm is installed, else one line that is rewritten.  Elsewhere (a file, a pipe): one
plain line an epoch.  At most ten updates a second, and lines for epochs at most once a second, however short they are.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, TextIO

BAR_INTERVAL = 0.1  # seconds between two updates of a bar
LINE_INTERVAL = 1.0  # seconds between the lines of two epochs


class Silent:
    """No progress at all; the others have the same methods."""

    def step(self, images: int, loss: float, right: float) -> None:
        """A batch has been trained on; `loss` is its mean, `right` how many of its images were right."""

    def epoch(self, entry: dict[str, Any], last: bool) -> None:
        """An epoch is over; `entry` is its line in the history."""

    def close(self) -> None:
        """Training is over."""


class Lines(Silent):
    """One line an epoch."""

    def __init__(self, epochs: int, stream: TextIO) -> None:
        self._epochs = epochs
        self._stream = stream
        self._next_line = 0.0

    def epoch(self, entry: dict[str, Any], last: bool) -> None:
        now = time.monotonic()
        if last or now >= self._next_line:
            self._next_line = now + LINE_INTERVAL
            self._write(describe(entry, self._epochs))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Running:
    """Loss and accuracy as they are now: means in which what was `FADES` steps ago counts a third."""

    FADES = 50

    def __init__(self) -> None:
        self._steps = 0
        self._loss = self._share = 0.0

    def add(self, images: int, loss: float, right: float) -> None:
        self._steps += 1
        weight = 1 / min(self._steps, self.FADES)
        self._loss += weight * (loss - self._loss)
        self._share += weight * (right / max(images, 1) - self._share)

    def __str__(self) -> str:
        return f"  loss {self._loss:.4f}  accuracy {self._share:.1%}" if self._steps else ""


def short_time(seconds: float) -> str:
    """1:23, or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Rewritten(Lines):
    """A line on a terminal that is written over."""

    def __init__(self, epochs: int, images: int | None, done: int, stream: TextIO) -> None:
        super().__init__(epochs, stream)
        self._images = images
        self._done = self._before = done
        self._next_update = self._begin = time.monotonic()
        self._running = Running()

    def step(self, images: int, loss: float, right: float) -> None:
        self._done += images
        self._running.add(images, loss, right)
        now = time.monotonic()
        if now < self._next_update:
            return
        self._next_update = now + BAR_INTERVAL
        rate = (self._done - self._before) / max(now - self._begin, 1e-9)
        share, left = f"{self._done} images", ""
        if self._images:
            share = f"{100 * self._done / self._images:3.0f} %"
            left = f"  {short_time((self._images - self._done) / max(rate, 1e-9))} left"
        self._stream.write(f"\r\x1b[K{share}{self._running}  {rate:,.0f} images/s{left}")
        self._stream.flush()

    def _write(self, line: str) -> None:
        super()._write("\r\x1b[K" + line)

    def close(self) -> None:
        self._stream.write("\r\x1b[K")
        self._stream.flush()


class Bar(Lines):
    """tqdm's bar over the whole run, with loss, accuracy, images a second and the time that is left."""

    FORMAT = "{desc}  {percentage:3.0f} %|{bar}| {rate_fmt}  {remaining} left"

    def __init__(self, epochs: int, images: int | None, done: int, epoch: int, stream: TextIO, tqdm: Any) -> None:
        super().__init__(epochs, stream)
        self._epoch = epoch
        self._running = Running()
        self._bar = tqdm(
            total=images,
            initial=done,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            file=stream,
            desc=self._description(),
            bar_format=self.FORMAT if images else None,
        )
        self._done = 0
        self._next_update = 0.0

    def _description(self) -> str:
        return f"epoch {min(self._epoch, self._epochs)}/{self._epochs}{self._running}"

    def step(self, images: int, loss: float, right: float) -> None:
        self._done += images
        self._running.add(images, loss, right)
        now = time.monotonic()
        if now >= self._next_update:
            self._next_update = now + BAR_INTERVAL
            self._bar.set_description_str(self._description(), refresh=False)
            self._bar.update(self._done)
            self._done = 0

    def epoch(self, entry: dict[str, Any], last: bool) -> None:
        super().epoch(entry, last)
        self._epoch = int(entry["epoch"]) + 1

    def _write(self, line: str) -> None:
        self._bar.write(line, file=self._stream)

    def close(self) -> None:
        self._bar.update(self._done)
        self._bar.close()


def describe(entry: dict[str, Any], epochs: int) -> str:
    """An epoch in one line."""
    text = f"epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.4f}  accuracy {entry['train_accuracy']:.2%}"
    if "validation_accuracy" in entry:
        text += f"  held out {entry['validation_accuracy']:.2%}"
    return f"{text}  {entry['train_seconds']:.1f} s"


def make(show: bool, epochs: int, images: int | None, done: int = 0, epoch: int = 1) -> Silent:
    """The progress that suits where stderr goes.

    `images` is how many the whole run goes through, if known, and `done` how many of them it went through before it was
    resumed; `epochs` is the number of the last epoch, `epoch` that of the one that comes now.
    """
    stream = sys.stderr
    if not show or stream is None:
        return Silent()
    if not stream.isatty():
        return Lines(epochs, stream)
    try:
        tqdm = importlib.import_module("tqdm").tqdm
    except ImportError:
        return Rewritten(epochs, images, done, stream)
    return Bar(epochs, images, done, epoch, stream, tqdm)
