"""`Parameter` and `Module`: what every layer and every network is made of.

The whole vocabulary is forward, backward, parameters and their gradients.  There is no autograd:

1. `forward(x)` computes y.  While training it keeps what `backward` will need; in eval mode it keeps nothing.
2. `backward(grad_y)` takes the gradient of the loss with respect to y, adds to `.grad` of each parameter, returns the
   gradient with respect to x, and lets go of what was kept: one backward for one forward.
3. A network built of layers calls them in order in `forward` and in the opposite order in `backward`.

Parameters and sub-modules are the attributes that hold them, in the order in which they were first assigned.  An array
that is part of the state but not trained, such as a running average, is a buffer: an attribute that was introduced with
`register_buffer`.  In `state_dict`, a module's parameters come first, then its buffers, then its sub-modules.

A network of one's own is a subclass, here one that is no chain:

>>> import numpy as np
>>> from fastconv import nn
>>> class Shortcut(nn.Module):
...     def __init__(self):
...         self.conv = nn.Conv2d(2, 2, 3, padding=1)
...         self.relu = nn.ReLU()
...
...     def forward(self, x):
...         self._keep()
...         return x + self.relu(self.conv(x))
...
...     def backward(self, grad_y, *, need_grad_x=True):
...         self._kept()
...         grad_x = self.conv.backward(self.relu.backward(grad_y), need_grad_x=need_grad_x)
...         return grad_y + grad_x if need_grad_x else None
>>> model = nn.Sequential(Shortcut(), nn.Flatten(), nn.Linear(32, 3))
>>> list(model.state_dict())
['0.conv.weight', '0.conv.bias', '2.weight', '2.bias']
>>> model(np.ones((1, 2, 4, 4), np.float32)).shape
(1, 3)
>>> model.backward(np.ones((1, 3), np.float32)).shape
(1, 2, 4, 4)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv import _validation as check
from fastconv._memory import aligned_empty
from fastconv._validation import ShapeError, describe, integer

if TYPE_CHECKING:
    from .summary import Summary

Array: TypeAlias = NDArray[Any]
Self = TypeVar("Self", bound="Module")


class Parameter:
    """An array that is trained, and the gradient of the loss with respect to it.

    Attributes
    ----------
    data : ndarray, float32 or float64, C-contiguous
    grad : ndarray of the same shape and dtype, or None
        None until a backward writes it; each further backward adds to it.
    """

    __slots__ = ("data", "grad")

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad: Array | None = None

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: DTypeLike) -> Parameter:
        """A parameter with no values yet, which begins on a cache line: read a tenth faster than elsewhere."""
        return cls(aligned_empty(shape, np.dtype(dtype)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def add_grad(self, grad: Array | None) -> None:
        """Add a gradient that the caller hands over: the first one is kept as it is, not copied; None adds nothing."""
        if self.grad is None:
            self.grad = grad
        elif grad is not None:
            np.add(self.grad, grad, out=self.grad)

    def __repr__(self) -> str:
        return f"Parameter of shape {self.shape}, {self.dtype}"


class LoadResult(NamedTuple):
    """What `load_state_dict` with strict=False left alone."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer or a network.

    A subclass defines `forward` and `backward`, calls `_keep` in the one and `_kept` in the other, and holds its
    parameters and sub-modules as attributes.  It need not call ``super().__init__()``.

    Attributes
    ----------
    training : bool
        True until `eval()` is called.
    """

    training: bool = True
    _saved: tuple[Any, ...] | None = None
    _buffer_names: tuple[str, ...] = ()  # of this module itself, in the order of state_dict
    _optional_buffers: tuple[str, ...] = ()  # those that load_state_dict may find missing, and then leaves alone

    def forward(self, x: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, grad_y: Array, *, need_grad_x: bool = True) -> Array | None:
        """The gradient with respect to the input of the last forward; None where the caller does not need it.

        Raises
        ------
        RuntimeError
            If there was no forward in training mode since the last backward.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def __call__(self, x: Array) -> Array:
        return self.forward(x)

    # -- what forward keeps for backward -------------------------------------------------------------------------------

    def _keep(self, *saved: Any) -> None:
        """Remember what backward needs, in training mode; forget it in eval mode."""
        self._saved = saved if self.training else None

    def _kept(self) -> tuple[Any, ...]:
        """What the last forward kept; it is released by this."""
        saved = self._saved
        if saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: there is nothing to go back through; call forward first, "
                "once for each backward, in training mode (train() switches it on)"
            )
        self._saved = None
        return saved

    def release(self) -> None:
        """Let go of what the last forward kept for backward, here and in all sub-modules."""
        for module in self.modules():
            module._saved = None

    # -- the tree of modules -------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The sub-modules that this module holds itself."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        for _, child in self.named_children():
            yield child

    def modules(self) -> Iterator[Module]:
        """This module and all below it, parents first."""
        yield self
        for child in self.children():
            yield from child.modules()

    # -- buffers -------------------------------------------------------------------------------------------------------

    def register_buffer(self, name: str, array: Array | None) -> None:
        """Make the attribute `name` part of `state_dict`, though it is not trained.

        Parameters
        ----------
        name : str
            A Python name that is not an attribute yet, or is a buffer.
        array : ndarray or None
            Its first value.  To change it, assign to the attribute; while it is None, it is not in `state_dict`.

        Raises
        ------
        TypeError
            If name is not a str, or array neither an array nor None.
        ValueError
            If name is not a Python name, or an attribute already.

        Examples
        --------
        >>> import numpy as np
        >>> from fastconv import nn
        >>> layer = nn.ReLU()
        >>> layer.register_buffer("calls", np.zeros((), np.int64))
        >>> layer.calls += 1
        >>> layer.state_dict()
        {'calls': array(1)}
        >>> list(layer.parameters())
        []
        """
        op = f"{type(self).__name__}.register_buffer"
        if not isinstance(name, str):
            raise TypeError(f"{op}: name must be a str, got {describe(name)}")
        if not name.isidentifier() or (hasattr(self, name) and name not in self._buffer_names):
            raise ValueError(f"{op}: name must be a Python name that is not an attribute yet, got {name!r:.100}")
        if array is not None and not isinstance(array, np.ndarray):
            raise TypeError(f"{op}: array must be a NumPy array or None, got {describe(array)}")
        setattr(self, name, array)
        if name not in self._buffer_names:
            self._buffer_names = (*self._buffer_names, name)

    def _own_buffers(self) -> Iterator[tuple[str, Array]]:
        for name in self._buffer_names:
            array = getattr(self, name, None)
            if isinstance(array, np.ndarray):
                yield name, array

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """(name, array) of this module and all below it; arrays are those in use, not copies."""
        for name, array in self._own_buffers():
            yield prefix + name, array
        for name, child in self.named_children():
            yield from child.named_buffers(f"{prefix}{name}.")

    def buffers(self) -> Iterator[Array]:
        for _, array in self.named_buffers():
            yield array

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every name and its parameter; a parameter that is held in two places comes twice."""
        for name, value in self._own_parameters():
            yield prefix + name, value
        for name, child in self.named_children():
            yield from child._named_parameters(f"{prefix}{name}.")

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter), each parameter once, in the order of `state_dict`; a name is a path such as '0.weight'."""
        seen: set[int] = set()
        for name, parameter in self._named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def zero_grad(self) -> None:
        """Set every gradient to None, so that the next backward writes instead of adding."""
        for parameter in self.parameters():
            parameter.grad = None

    # -- modes ---------------------------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Switch this module and all below it to training mode (or, with False, to eval mode)."""
        for module in self.modules():
            module.training = mode
            if not mode:
                module._saved = None
        return self

    def eval(self: Self) -> Self:
        """Switch to eval mode: dropout does nothing, and nothing is kept for backward."""
        return self.train(False)

    # -- state ---------------------------------------------------------------------------------------------------------

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Array, bool]]:
        """(name, array in use, whether it may be missing) of all that `state_dict` holds, in its order."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value.data, False
        for name, array in self._own_buffers():
            yield prefix + name, array, name in self._optional_buffers
        for name, child in self.named_children():
            yield from child._state(f"{prefix}{name}.")

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter's data and every buffer by name; training on does not change it.

        Parameters are in the order of `parameters()`; a module's buffers follow its own parameters.
        """
        return {name: array.copy() for name, array, _ in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy arrays into the parameters and buffers of the same names.

        Nothing is changed unless all of it fits.  Floating-point dtypes are converted to the parameter's own, integers
        to the buffer's.

        Parameters
        ----------
        state : mapping from names to arrays (anything that `numpy.asarray` takes)
        strict : bool
            Whether the names must be exactly those of `state_dict()`.

        Returns
        -------
        (missing_keys, unexpected_keys) : lists of str; both empty when strict

        Raises
        ------
        ShapeError
            If names are missing or unexpected (when strict), or a shape differs; all of them are listed.
        TypeError
            If an array is not floating-point, or not of integers where the buffer is.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: state must be a mapping from names to arrays, such as state_dict() gives, "
                f"got {describe(state)}"
            )
        own = {name: array for name, array, _ in self._state()}
        missing = [name for name, _, optional in self._state() if name not in state and not optional]
        unexpected = [name for name in state if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
        arrays: list[tuple[Array, Array]] = []
        for name, target in own.items():
            if name not in state:
                continue
            array = np.asarray(state[name])
            kinds, wanted = ("f", "floats") if target.dtype.kind == "f" else ("iu", "integers")
            if array.shape != target.shape:
                problems.append(f"{name} has shape {array.shape}, expected {target.shape}")
            elif array.dtype.kind not in kinds:
                raise TypeError(f"load_state_dict: {name} must be an array of {wanted}, got {describe(array)}")
            arrays.append((target, array))
        if problems:
            raise ShapeError(
                f"load_state_dict: the state does not fit this {type(self).__name__}: {'; '.join(problems)}"
            )
        for target, array in arrays:
            target[...] = array
        return LoadResult(missing, unexpected)

    # -- looks ---------------------------------------------------------------------------------------------------------

    def summary(self, input_shape: tuple[int, ...], batch_size: int = 128) -> Summary:
        """The network as a table: each layer, the shape of what it gives, its parameters; then the totals.

        One image of zeros goes through a copy of the network, in eval mode; the network itself stays as it is.

        Parameters
        ----------
        input_shape : tuple of int
            Of one image, without the batch: (C, H, W).
        batch_size : int
            How many images the memory of the activations is told for.

        Returns
        -------
        summary : Summary
            ``print(model.summary((1, 28, 28)))`` shows the table; its attributes are the figures in it.  Activations
            are the results of all layers: training needs somewhat more, and layers that run as one need less.

        Raises
        ------
        ShapeError
            If the input does not fit; it names the layer.
        TypeError
            If input_shape is no tuple of ints.

        Examples
        --------
        >>> from fastconv import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10))
        >>> print(model.summary((1, 28, 28)))
        Sequential
        -----------------------------------------
        layer (type)   output shape    parameters
        -----------------------------------------
        input          (N, 1, 28, 28)
        0 (Conv2d)     (N, 8, 26, 26)          80
        1 (ReLU)       (N, 8, 26, 26)           0
        2 (MaxPool2d)  (N, 8, 13, 13)           0
        3 (Flatten)    (N, 1352)                0
        4 (Linear)     (N, 10)             13,530
        -----------------------------------------
        parameters: 13,610
        trainable:  13,610
        buffers:    0
        memory:     54.4 kB of parameters and buffers, 6.24 MB of activations for a batch of 128
        """
        from .summary import summary

        return summary(self, input_shape, batch_size)

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n  ".join([f"{type(self).__name__}(", *children]) + "\n)"


def float_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """numpy.float32 or numpy.float64 from what a layer was given as dtype=."""
    return check.float_dtype(op, dtype)


def positive(op: str, name: str, value: object) -> int:
    """A plain int of at least 1 from an argument such as a number of channels."""
    result = integer(op, name, value)
    if result < 1:
        raise ShapeError(f"{op}: {name} must be at least 1, got {describe(value)}")
    return result
