"""What a `Sequential` may do with neighbours beyond running them one after the other, with the same bits as without.

1. ReLU before max pooling runs after it, on a quarter of the numbers: max(relu(a), relu(b)) = relu(max(a, b)), NaN
   included.  The gradients are the same too: where the largest of a window is positive, both orders choose the same
   winner, and where it is not, both give zeros.
2. ReLU works in place on an array that nobody else can see: where the layer before it makes a new array in `forward`
   and does not keep it, and, for `backward`, where the layer after it makes a new array for its grad_x.
3. A convolution, the 2x2 max pool after it and the ReLU after that (if there is one) run forward as one kernel, where
   the shapes suit it (`fastconv.ops.conv2d` decides): the convolution's own result is never written to memory.  Each
   of the layers keeps for its backward what it keeps without, so that nothing that comes later sees a difference:
   the convolution its input, the pool its winners, ReLU its result.  Back, ReLU's gradient, the pool's and that of the
   bias are one pass, however the forward was done; and for the commonest shapes the convolution's gradients are part of
   the same call, so that the gradient of its result is not written either.

In eval mode, layers keep nothing: what rule 3 would keep is not even computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastconv.ops.conv2d import _conv2d_pooled, _conv2d_pooled_backward, _conv2d_pooled_grad

from .activation import ReLU
from .conv import Conv2d
from .linear import Linear
from .module import Array, Module
from .norm import BatchNorm1d, BatchNorm2d
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d

# By exact type: a subclass may keep or return what it likes.  None of these keeps its result or its grad_x.
MAKES_NEW_ARRAYS = (
    Conv2d,
    Linear,
    MaxPool2d,
    AvgPool2d,
    AdaptiveAvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    BatchNorm1d,
    BatchNorm2d,
)


class Fused(NamedTuple):
    """Neighbours that one kernel may run; relu is None where none follows."""

    conv: Conv2d
    pool: MaxPool2d
    relu: ReLU | None

    @property
    def length(self) -> int:
        return 2 if self.relu is None else 3

    def forward(self, x: Array) -> Array | None:
        """The result of the last of them, or None with nothing done where they must run one by one."""
        conv, pool, relu = self
        training = conv.training
        if not pool.halves or pool.training != training or (relu is not None and relu.training != training):
            return None
        bias = None if conv.bias is None else conv.bias.data
        results = _conv2d_pooled(
            x,
            conv.weight.data,
            bias,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            relu is not None,
            training,
        )
        if results is None:
            return None
        y, winners, shape = results
        conv._keep(x)
        pool._keep(winners, shape)
        if relu is not None:
            relu._keep(y)
        return y

    def backward(self, grad_y: Array, need_grad_x: bool) -> tuple[Array | None] | None:
        """The gradient of the convolution's input, in a tuple; None with nothing done where they must go one by one."""
        conv, pool, relu = self
        if not pool.halves or conv._saved is None or pool._saved is None or (relu is not None and relu._saved is None):
            return None
        winners, shape = pool._saved
        y = relu._saved[0] if relu is not None and relu._saved is not None else None
        x = conv._saved[0]
        geometry = conv.stride, conv.padding, conv.dilation, conv.groups
        straight = _conv2d_pooled_backward(
            grad_y, y, winners, shape, x, conv.weight.data, *geometry, need_grad_x, conv.bias is not None
        )
        if straight is not None:
            conv.release()
            pool.release()
            if relu is not None:
                relu.release()
            grad_x, grad_weight, grad_bias = straight
            conv._add_grads(grad_weight, grad_bias)
            return (grad_x,)
        results = _conv2d_pooled_grad(grad_y, y, winners, shape, conv.bias is not None)
        if results is None:
            return None
        pool.release()
        if relu is not None:
            relu.release()
        grad, grad_bias = results
        return (conv._backward(grad, need_grad_x, grad_bias),)


class Step(NamedTuple):
    """A layer in the order of running, whether it may overwrite what it is given, and what may run with it as one."""

    layer: Module
    forward_in_place: bool
    backward_in_place: bool
    fused: Fused | None  # of which it is the first
    ends: Fused | None = None  # of which it is the last


class Plan:
    """The steps of a chain of layers, which hold while the chain stays as it is.

    What may change in a layer (its mode, the window of a pool) is looked at when the layer runs, but for return_indices
    of a pool, on which the order depends.
    """

    def __init__(self, layers: Sequence[Module]) -> None:
        self.steps = _steps(layers)
        self._layers = list(layers)
        self._pools = [(layer, layer.return_indices) for layer in layers if type(layer) is MaxPool2d]

    def holds_for(self, layers: list[Module]) -> bool:
        if self._layers != layers:
            return False
        for pool, return_indices in self._pools:  # noqa: SIM110 (a generator is slower)
            if pool.return_indices is not return_indices:
                return False
        return True


def _steps(layers: Sequence[Module]) -> list[Step]:
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
        result.append(Step(layer, relu_here and fresh_before, relu_here and fresh_after, _fused(order[i : i + 3])))
    for i, step in enumerate(result):
        if step.fused is not None:
            last = i + step.fused.length - 1
            result[last] = result[last]._replace(ends=step.fused)
    return result


def _fused(layers: Sequence[Module]) -> Fused | None:
    """What may run as one from the first of these layers on."""
    if len(layers) < 2:
        return None
    conv, pool, relu = layers[0], layers[1], layers[2] if len(layers) > 2 else None
    if type(conv) is not Conv2d or type(pool) is not MaxPool2d:
        return None
    return Fused(conv, pool, relu if type(relu) is ReLU else None)
