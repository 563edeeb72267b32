"""`Sequential`: layers one after the other.

`forward` walks the layers in order, `backward` in the opposite order.  When the caller does not need the gradient of
the input, as in training, backward stops at the first layer that has parameters, which does not compute its grad_x.

What neighbours may do together is decided in `fusion.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast, overload

from fastconv._validation import describe

from .activation import ReLU
from .fusion import Plan, Step
from .module import Array, Module


class Sequential(Module):
    """A chain of layers: ``y = layers[-1](... layers[1](layers[0](x)))``.

    Parameters
    ----------
    *layers : Module
        Each object at one place only, as a layer keeps what its backward needs.

    Notes
    -----
    ``model[i]`` is a layer, ``model[a:b]`` a Sequential of the same layers; `len` and iteration as for a list.
    Names in `state_dict` are the positions: '0.weight', '0.bias', '3.weight', ...
    """

    def __init__(self, *layers: Module) -> None:
        self._layers: list[Module] = []
        self._plan: Plan | None = None  # of the last forward
        for layer in layers:
            self.append(layer)

    def append(self, layer: Module) -> Sequential:
        """Add a layer at the end; returns the Sequential itself."""
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: layer {len(self)} must be a Module, got {layer!r:.100}")
        there = {id(module) for module in self.modules()}
        for module in layer.modules():
            if id(module) in there:
                raise ValueError(
                    f"Sequential: layer {len(self)} holds the same {type(module).__name__} object as one before it; "
                    "make one object for each place, as a layer keeps what its backward needs"
                )
        self._layers.append(layer)
        return self

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for i, layer in enumerate(self._layers):
            yield str(i), layer

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self._layers[index])
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"Sequential: an index must be an int or a slice, got {describe(index)}")
        if not -len(self) <= index < len(self):
            raise IndexError(f"Sequential: index {describe(index)} is out of range for {len(self)} layers")
        return self._layers[index]

    def forward(self, x: Array) -> Array:
        self._saved = None  # until all layers have run: a backward after a forward that failed must not mix the two
        if self._plan is None or not self._plan.holds_for(self._layers):
            self._plan = Plan(self._layers)
        todo = self._plan.steps
        i = 0
        while i < len(todo):
            layer, in_place, _, fused, _ = todo[i]
            y = None if fused is None else fused.forward(x)
            if fused is not None and y is not None:
                x = y
                i += fused.length
                continue
            x = cast(ReLU, layer).forward_in_place(x) if in_place else layer.forward(x)
            i += 1
        self._keep()
        return x

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        self._kept()
        steps = self._plan.steps if self._plan is not None else []
        first = 0 if need_grad_x else _first_with_parameters(steps)
        grad: Any = grad_y  # never None before the loop ends: every layer but the last is asked for its grad_x
        i = len(steps)
        while i > first:
            i -= 1
            step, needed = steps[i], need_grad_x or i > first
            if step.ends is not None:
                begin = i - step.ends.length + 1
                together = step.ends.backward(grad, need_grad_x or begin > first)
                if together is not None:
                    (grad,) = together
                    i = begin
                    continue
            if needed and step.backward_in_place:
                grad = cast(ReLU, step.layer).backward_in_place(grad)
            else:
                grad = step.layer.backward(grad, need_grad_x=needed)
        for step in steps[:first]:
            step.layer.release()
        return grad if need_grad_x else None


def _first_with_parameters(steps: Sequence[Step]) -> int:
    for i, step in enumerate(steps):
        if next(step.layer.parameters(), None) is not None:
            return i
    return len(steps)
