"""Prepare the next items of an iterator in a thread while the present one is used."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")

SECONDS = 1.0  # between two looks at whether the thread is still there
_END = object()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made beforehand in a thread.

    What `items` raises comes out in its place.  The thread ends with the iterator: when it is exhausted, closed, or
    forgotten, or when what uses it fails.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        last: Any = _END
        try:
            for item in items:
                waiting.put(item)
                if stop.is_set():
                    return
        except BaseException as error:
            last = _Failure(error)
        waiting.put(last)

    thread = threading.Thread(target=work, name="fastconv batches", daemon=True)
    thread.start()
    try:
        while True:
            item = _next(waiting, thread)
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                waiting.get_nowait()  # it may wait for room
            thread.join(0.01)


def _next(waiting: "queue.Queue[Any]", thread: threading.Thread) -> Any:
    """What the thread has made next; RuntimeError where it is gone, as in a child after fork."""
    while True:
        try:
            return waiting.get(timeout=SECONDS)
        except queue.Empty:
            if not thread.is_alive() and waiting.empty():
                raise RuntimeError(
                    "Loader: the thread that prepares batches is gone; begin a new epoch in a process that was forked"
                ) from None
