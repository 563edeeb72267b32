"""What worker.py asks of a library, and which there are: each is a peer_<library>.py with a function `make`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cases import Array, Case
from networks import Inference

# Name: module, arguments of its `make`.
LIBRARIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "fastconv": ("peer_fastconv", ()),
    "torch": ("peer_torch", (False,)),
    "torch-channels_last": ("peer_torch", (True,)),
    "onnxruntime": ("peer_onnxruntime", ()),
    "openvino": ("peer_openvino", ()),
}


class Unsupported(Exception):
    """This library does not do that."""


class Training(Protocol):
    """A network being trained."""

    def steps(self, count: int) -> Iterator[tuple[int, float]]:
        """Train for so many batches; yields the images and the loss of each."""

    def evaluate(self) -> float:
        """The share of MNIST's test images that it has right."""


class Library(Protocol):
    def describe(self) -> dict[str, Any]:
        """Versions, threads, instruction set: for the reader of the results."""

    def call(self, case: Case | Inference, which: str) -> Callable[[], Any]:
        """A function that does one pass of a case, from arrays that are ready.  Raises Unsupported."""

    def arrays(self, result: Any) -> list[Array]:
        """What such a function returned, as NCHW arrays."""

    def train(self, network: str, batch_size: int, data_dir: Path | None, exact: bool) -> Training:
        """A network that starts from `training_data.first_weights`, on random images or on those of MNIST.

        exact: without dropout, so that libraries can be compared.
        """
