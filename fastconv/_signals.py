"""Ctrl-C and SIGTERM while something runs that should not be cut in the middle.

1. The first signal is noted, and whoever is at work looks for it where leaving is safe (`Interrupts.number`).
2. The second one leaves at once.
3. Only the main thread may set handlers, and only those that Python or this module has set are replaced: a signal that
   the process ignores (as under nohup), or that the caller handles, stays as it is.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from os import PathLike
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interrupts", "Leaving", "Terminated", "leaving", "terminate_with_an_exception"]


class Leaving(BaseException):
    """What ends a program on a signal.

    Attributes
    ----------
    at_once : bool
        Whether it cut what was running in the middle.
    checkpoint : path or None
        Where the run can be resumed from.
    problem : OSError or None
        Why there is no checkpoint of the last step, where one was asked for.
    message : str
        What a user should be told; may be empty.
    """

    at_once: bool = False
    checkpoint: str | PathLike[str] | None = None
    problem: OSError | None = None
    message: str = ""


class Interrupted(Leaving, KeyboardInterrupt):
    """Ctrl-C (SIGINT)."""


class Terminated(Leaving, SystemExit):
    """SIGTERM; a program that does not catch it exits with the status that shells give, 128 + 15."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def leaving(number: int, at_once: bool = False) -> Leaving:
    """The exception for a signal."""
    error = Terminated() if number == signal.SIGTERM else Interrupted()
    error.at_once = at_once
    return error


def _terminate(number: int, frame: FrameType | None) -> None:
    raise leaving(number, at_once=True)


class Interrupts:
    """While it is entered, Ctrl-C and SIGTERM are noted instead of acted on; the second one leaves at once.

    Attributes
    ----------
    number : int or None
        The signal that came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = _replace(self._note, (signal.SIGINT, signal.SIGTERM))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _restore(self._before)
        if self.number is not None and kind is None:  # it came too late for anybody to look
            raise leaving(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise leaving(number, at_once=True)
        self.number = number


@contextlib.contextmanager
def terminate_with_an_exception() -> Iterator[None]:
    """Within it SIGTERM raises `Terminated`, so that files are closed and temporary ones removed."""
    before = _replace(_terminate, (signal.SIGTERM,))
    try:
        yield
    finally:
        _restore(before)


def _replace(handler: Any, numbers: tuple[int, ...]) -> dict[int, Any]:
    """Set a handler where the present one is nobody's own; what was there before."""
    before: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return before
    for number in numbers:
        present = signal.getsignal(number)
        if present in (signal.default_int_handler, signal.SIG_DFL, _terminate):
            with contextlib.suppress(ValueError):  # an interpreter that may not
                signal.signal(number, handler)
                before[number] = present
    return before


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
