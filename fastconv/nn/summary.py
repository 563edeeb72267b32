"""`summary`: a network as a table, layer by layer: shape of the result, number of parameters, memory.

The shapes are not worked out by rules of their own, which could differ from what the layers do: one image of zeros goes
forward, in eval mode, through a copy of the network that shares its parameters, and each layer notes what it gives.  So
any module can be summarised that can run, and an input that does not fit is refused by the very layer it does not fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv import _validation as check
from fastconv._validation import ShapeError

from .containers import Sequential
from .module import Array, Module

__all__ = ["Row", "Summary", "summary"]

BATCH_SIZE = 128  # that memory is told for, where nothing else is asked for


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    name : str
        Path of the module, as in `state_dict`: 'layer1.0.conv1'.
    kind : str
        Its class.
    output_shape : tuple of int, or None
        For one image, with the batch in front (1, ...); None for a module that was not called.
    parameters : int
        Numbers in its own parameters, without those of its sub-modules; those that a row above has count there.
    calls : int
        How often it was called.
    depth : int
        0 for the network's own layers, 1 for theirs, ...
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    calls: int
    depth: int


@dataclass(frozen=True)
class Summary:
    """What `Module.summary` found; ``str(summary)`` is the table.

    Attributes
    ----------
    kind : str
        The network's class.
    input_shape : tuple of int
        Of one image, without the batch.
    rows : tuple of Row
        Every module below the network, parents first; of a single layer, that layer.
    parameters, trainable : int
        Numbers in parameters, each counted once; all of them are trained.
    buffers : int
        Numbers that belong to the state but are not trained, such as running averages.
    parameter_bytes : int
        Memory of parameters and buffers.
    activation_bytes : int
        Memory of the results of all layers for `batch_size` images; views count nothing.
    batch_size : int
    """

    kind: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    parameter_bytes: int
    activation_bytes: int
    batch_size: int

    def __str__(self) -> str:
        table = [("layer (type)", "output shape", "parameters"), ("input", _shape(self.input_shape), "")]
        for i, row in enumerate(self.rows):
            has_more = i + 1 < len(self.rows) and self.rows[i + 1].depth > row.depth
            count = "" if has_more and not row.parameters else f"{row.parameters:,}"
            last = row.name.rpartition(".")[2]
            shape = "not called" if row.output_shape is None else _shape(row.output_shape[1:], row.output_shape[:1])
            times = f" x{row.calls}" if row.calls > 1 else ""
            label = f"{last} ({row.kind})" if last else row.kind
            table.append(("  " * row.depth + label, shape + times, count))
        widths = [max(len(line[i]) for line in table) for i in range(3)]
        rule = "-" * (sum(widths) + 4)
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in table]
        totals = [
            f"parameters: {self.parameters:,}",
            f"trainable:  {self.trainable:,}",
            f"buffers:    {self.buffers:,}",
            f"memory:     {_memory(self.parameter_bytes)} of parameters and buffers, "
            f"{_memory(self.activation_bytes)} of activations for a batch of {self.batch_size:,}",
        ]
        return "\n".join([self.kind, rule, lines[0], rule, *lines[1:], rule, *totals])

    __repr__ = __str__


def _shape(shape: tuple[int, ...], batch: tuple[int, ...] = (1,)) -> str:
    """A shape with N for the batch; a first extent that is not 1 is not that of the one image which was tried."""
    parts = ["N" if extent == 1 else str(extent) for extent in batch] + [str(extent) for extent in shape]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _memory(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


class _DoesNotFit(Exception):
    """A layer refused its input."""


class _Recorder:
    """Watches the modules of one network while they run."""

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.calls: dict[int, int] = {}
        self.bytes = 0

    def watch(self, module: Module, name: str) -> None:
        """Put a forward in front of the module's own, which notes what comes out."""
        chain = type(module).forward is Sequential.forward  # which may run neighbours as one: here they go one by one
        leaf = next(module.children(), None) is None
        inside = _one_by_one(module) if chain else module.forward

        def forward(x: Any) -> Any:
            try:
                y = inside(x)
            except (_DoesNotFit, MemoryError):
                raise
            except Exception as error:
                raise _DoesNotFit(f"{_called(name, module)} does not take {_given(x)}: {error}") from error
            self.shapes[id(module)] = tuple(np.shape(y))
            self.calls[id(module)] = self.calls.get(id(module), 0) + 1
            if leaf and isinstance(y, np.ndarray) and not (isinstance(x, np.ndarray) and np.may_share_memory(x, y)):
                self.bytes += y.nbytes
            return y

        vars(module)["forward"] = forward


def _one_by_one(chain: Module) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        for layer in chain.children():
            x = layer(x)
        return x

    return forward


def _called(name: str, module: Module) -> str:
    kind = type(module).__name__
    if next(module.children(), None) is not None:
        return f"{name} ({kind})" if name else kind
    inside = module.extra_repr()
    return f"layer {name}, {kind}({inside})," if name else f"{kind}({inside})"


def _given(x: Any) -> str:
    shape = np.shape(x)
    return f"its input of shape {_shape(shape[1:], shape[:1])}" if shape else "its input"


def _named(module: Module, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Module, int]]:
    """Every module below this one, parents first, with its path and depth."""
    for name, child in module.named_children():
        yield f"{prefix}{name}", child, depth
        yield from _named(child, f"{prefix}{name}.", depth + 1)


def _twin(module: Module) -> Module:
    """A copy in eval mode that shares parameters and buffers, and has nothing of what was kept for backward."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    shared |= {id(array): array for array in module.buffers()}
    shared |= {id(part._saved): None for part in module.modules() if part._saved is not None}
    twin = copy.deepcopy(module, shared)
    for part in twin.modules():
        part.training, part._saved = False, None
    return twin


def summary(module: Module, input_shape: Any, batch_size: int = BATCH_SIZE) -> Summary:
    """Summarise a network; `Module.summary` says how."""
    op = f"{type(module).__name__}.summary"
    shape = _input_shape(op, input_shape)
    batch_size = check.integer(op, "batch_size", batch_size)
    if batch_size < 1:
        raise ShapeError(f"{op}: batch_size must be at least 1, got {batch_size}")
    parameters = list(module.parameters())
    dtype = parameters[0].dtype if parameters else np.dtype(np.float32)
    twin, recorder = _twin(module), _Recorder()
    recorder.watch(twin, "")
    for name, part, _ in _named(twin):
        if "forward" not in vars(part):
            recorder.watch(part, name)
    try:
        twin.forward(np.zeros((1, *shape), dtype))
    except _DoesNotFit as error:
        raise ShapeError(f"{op}: {error}") from None
    rows, counted = [], set[int]()
    for name, part, depth in list(_named(twin)) or [("", twin, 0)]:
        own = {id(value): value.size for _, value in part._own_parameters()}
        size = sum(count for key, count in own.items() if key not in counted)
        counted |= set(own)
        calls = recorder.calls.get(id(part), 0)
        rows.append(Row(name, type(part).__name__, recorder.shapes.get(id(part)), size, calls, depth))
    total = sum(parameter.size for parameter in parameters)
    buffers: list[Array] = list({id(array): array for array in module.buffers()}.values())
    return Summary(
        kind=type(module).__name__,
        input_shape=shape,
        rows=tuple(rows),
        parameters=total,
        trainable=total,
        buffers=sum(array.size for array in buffers),
        parameter_bytes=sum(p.data.nbytes for p in parameters) + sum(array.nbytes for array in buffers),
        activation_bytes=recorder.bytes * batch_size,
        batch_size=batch_size,
    )


def _input_shape(op: str, input_shape: Any) -> tuple[int, ...]:
    """The shape of one image, as plain ints of at least 1."""
    if not isinstance(input_shape, (tuple, list)):
        raise TypeError(
            f"{op}: input_shape must be the shape of one image, such as (1, 28, 28), got {check.describe(input_shape)}"
        )
    shape = tuple(check.integer(op, f"input_shape[{i}]", extent) for i, extent in enumerate(input_shape))
    if not shape or min(shape) < 1:
        raise ShapeError(f"{op}: input_shape must have extents of at least 1, such as (1, 28, 28), got {shape}")
    check.fits(op, "input_shape", shape)
    if prod(shape) > 1 << 28:
        raise ShapeError(f"{op}: input_shape {shape} has {prod(shape):,} elements, more than are tried (268,435,456)")
    return shape
