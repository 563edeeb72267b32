"""What a `Sequential` may do with neighbours beyond running them one after the other.

Today: a ReLU works in place on an array that nobody else can see, which saves an array and a pass over memory.  That is
so where the layer before it makes a new array in `forward` and does not keep it, and, for `backward`, where the layer
after it makes a new array for its grad_x.  The bits are those of the layers one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

from .activation import ReLU
from .conv import Conv2d
from .linear import Linear
from .module import Module
from .pooling import AvgPool2d, MaxPool2d

# By exact type: a subclass may keep or return what it likes.  None of them keeps its result or its grad_x.
MAKES_NEW_ARRAYS = (Conv2d, Linear, MaxPool2d, AvgPool2d)


def forward_in_place(layers: Sequence[Module], i: int) -> bool:
    """Whether layer i may overwrite its input."""
    return type(layers[i]) is ReLU and i > 0 and type(layers[i - 1]) in MAKES_NEW_ARRAYS


def backward_in_place(layers: Sequence[Module], i: int) -> bool:
    """Whether layer i may overwrite its grad_y."""
    return type(layers[i]) is ReLU and i + 1 < len(layers) and type(layers[i + 1]) in MAKES_NEW_ARRAYS
