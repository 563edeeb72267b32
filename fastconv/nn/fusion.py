"""What a `Sequential` may do with neighbours beyond running them one after the other, with the same bits as without.

1. ReLU before max pooling runs after it, on a quarter of the numbers: max(relu(a), relu(b)) = relu(max(a, b)), NaN
   included.  The gradients are the same too: where the largest of a window is positive, both orders choose the same
   winner, and where it is not, both give zeros.
2. ReLU works in place on an array that nobody else can see: where the layer before it makes a new array in `forward`
   and does not keep it, and, for `backward`, where the layer after it makes a new array for its grad_x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .activation import ReLU
from .conv import Conv2d
from .linear import Linear
from .module import Module
from .pooling import AvgPool2d, MaxPool2d

# By exact type: a subclass may keep or return what it likes.  None of these keeps its result or its grad_x.
MAKES_NEW_ARRAYS = (Conv2d, Linear, MaxPool2d, AvgPool2d)


class Step(NamedTuple):
    """A layer in the order of running, and whether it may overwrite what it is given."""

    layer: Module
    forward_in_place: bool
    backward_in_place: bool


def steps(layers: Sequence[Module]) -> list[Step]:
    """The layers in the order in which they run forward; backward goes through it from the end."""
    order = list(layers)
    for i in range(len(order) - 1):
        relu, pool = order[i], order[i + 1]
        if type(relu) is ReLU and type(pool) is MaxPool2d and not pool.return_indices:
            order[i], order[i + 1] = pool, relu
    result = []
    for i, layer in enumerate(order):
        relu_here = type(layer) is ReLU
        fresh_before = i > 0 and type(order[i - 1]) in MAKES_NEW_ARRAYS
        fresh_after = i + 1 < len(order) and type(order[i + 1]) in MAKES_NEW_ARRAYS
        result.append(Step(layer, relu_here and fresh_before, relu_here and fresh_after))
    return result
