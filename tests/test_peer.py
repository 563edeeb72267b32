"""Hundreds of random problems in float64 against PyTorch and its autograd: the semantics that fastconv promises.

Both the ops and the naive reference are compared.  PyTorch is no dependency: without it these tests are skipped.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import POOL_DATA, conv_cases, linear_cases, numbers, pool_cases, seeds

from fastconv import ops, reference

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
]
both = pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
EXAMPLES = 100


def tensor(x):
    return None if x is None else torch.tensor(x, requires_grad=np.issubdtype(np.asarray(x).dtype, np.floating))


def close(ours, theirs):
    theirs = theirs.detach().numpy() if torch.is_tensor(theirs) else theirs
    assert np.shape(ours) == np.shape(theirs)
    largest = np.max(abs(theirs), initial=1, where=np.isfinite(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11 * largest)


@both
@settings(max_examples=EXAMPLES)
@given(case=conv_cases(work=3_000))
def test_conv2d(module, case):
    x, weight, bias = case.arrays(np.float64)
    x = x if case.batched else x[0]
    tensors = tensor(x), tensor(weight), tensor(bias)
    theirs = functional.conv2d(*tensors, **case.options)
    close(module.conv2d(x, weight, bias, **case.options), theirs)
    grad_y = case.grad_y(theirs.shape, np.float64)
    theirs.backward(torch.tensor(grad_y))
    for ours, right in zip(module.conv2d_backward(grad_y, x, weight, **case.options), tensors, strict=True):
        if right is not None:
            close(ours, right.grad)


def allowed_by_torch(case):
    """PyTorch limits the padding to half the kernel, not to half of what a dilated kernel spans."""
    pairs = zip(*np.broadcast_arrays(case.padding, case.kernel_size, [0, 0]), strict=True)
    return all(pad <= kernel // 2 for pad, kernel, _ in pairs)


@both
@settings(max_examples=2 * EXAMPLES)
@given(case=pool_cases(data=POOL_DATA, dilated=True, largest=5).filter(allowed_by_torch))
def test_max_pool2d(module, case):
    """Ties, NaN, infinities, ceil_mode, dilation: values, indices and gradients."""
    x = case.x(np.float64)
    theirs_x = tensor(x)
    theirs, their_indices = functional.max_pool2d(theirs_x, case.kernel_size, **case.max_options, return_indices=True)
    y, indices = module.max_pool2d(x, case.kernel_size, **case.max_options, return_indices=True)
    np.testing.assert_array_equal(y, theirs.detach().numpy(), strict=True)
    np.testing.assert_array_equal(indices, their_indices.numpy(), strict=True)
    grad_y = case.grad_y(y.shape, np.float64)
    theirs.backward(torch.tensor(grad_y))
    close(module.max_pool2d_backward(grad_y, indices, x.shape), theirs_x.grad)


@both
@settings(max_examples=2 * EXAMPLES)
@given(case=pool_cases(largest=5))
def test_avg_pool2d(module, case):
    x = case.x(np.float64)
    theirs_x = tensor(x)
    theirs = functional.avg_pool2d(theirs_x, case.kernel_size, **case.options)
    y = module.avg_pool2d(x, case.kernel_size, **case.options)
    close(y, theirs)
    grad_y = case.grad_y(y.shape, np.float64)
    theirs.backward(torch.tensor(grad_y))
    close(module.avg_pool2d_backward(grad_y, x.shape, case.kernel_size, **case.options), theirs_x.grad)


@both
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pool_output_sizes(module, ceil_mode):
    """Every small size, or the same refusal."""
    for H, kernel, stride, padding in itertools.product(range(1, 9), range(1, 6), range(1, 6), range(3)):
        x = np.ones((1, 1, H, H))
        try:
            right = functional.avg_pool2d(torch.tensor(x), kernel, stride, padding, ceil_mode).shape
        except RuntimeError:
            if padding <= kernel // 2:  # which the reference does not check
                with pytest.raises(ValueError, match="kernel"):
                    module.avg_pool2d(x, kernel, stride, padding, ceil_mode)
            continue
        assert module.avg_pool2d(x, kernel, stride, padding, ceil_mode).shape == tuple(right)
        assert module.max_pool2d(x, kernel, stride, padding, 1, ceil_mode).shape == tuple(right)


@both
@settings(max_examples=EXAMPLES)
@given(case=linear_cases(rows=6, largest=20))
def test_linear(module, case):
    x, weight, bias = case.arrays(np.float64)
    tensors = tensor(x), tensor(weight), tensor(bias)
    theirs = functional.linear(*tensors)
    close(module.linear(x, weight, bias), theirs)
    grad_y = case.grad_y(np.float64)
    theirs.backward(torch.tensor(grad_y))
    for ours, right in zip(module.linear_backward(grad_y, x, weight), tensors, strict=True):
        if right is not None:
            close(ours, right.grad)


@both
@settings(max_examples=EXAMPLES)
@given(shape=st.lists(st.integers(0, 6), min_size=1, max_size=3), dim=st.integers(-3, 2), seed=seeds)
@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_softmax(module, kind, shape, dim, seed):
    dim = dim % len(shape) - (len(shape) if dim < 0 else 0)
    rng = np.random.default_rng(seed)
    x, grad_y = numbers(rng, shape, np.float64, "wide") / 100, numbers(rng, shape, np.float64)
    theirs_x = tensor(x)
    theirs = getattr(functional, kind)(theirs_x, dim)
    y = getattr(module, kind)(x, dim)
    close(y, theirs)
    theirs.backward(torch.tensor(grad_y))
    close(getattr(module, kind + "_backward")(grad_y, y, dim), theirs_x.grad)


@both
@settings(max_examples=2 * EXAMPLES)
@given(
    N=st.integers(0, 6),
    C=st.integers(1, 6),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    ignore_index=st.sampled_from([-100, 0, 2]),
    weighted=st.booleans(),
    seed=seeds,
)
def test_cross_entropy(module, N, C, reduction, smoothing, ignore_index, weighted, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, C)) * 3
    target = rng.integers(0, C, N)
    target[rng.random(N) < 0.2] = ignore_index
    weight = rng.random(C) + 0.1 if weighted else None
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
    theirs_x = tensor(x)
    theirs = functional.cross_entropy(
        theirs_x, torch.tensor(target), None if weight is None else torch.tensor(weight), **options
    )
    close(module.cross_entropy(x, target, weight, **options), theirs)
    grad_y = rng.standard_normal(N) if reduction == "none" else float(rng.standard_normal())
    theirs.backward(torch.tensor(grad_y, dtype=torch.float64))
    close(module.cross_entropy_backward(x, target, weight, **options, grad_y=grad_y), theirs_x.grad)


@both
def test_cross_entropy_of_one_image(module):
    x = np.array([0.5, -1.0, 2.0])
    for reduction in ("mean", "sum", "none"):
        theirs = functional.cross_entropy(torch.tensor(x), torch.tensor(1), reduction=reduction)
        close(module.cross_entropy(x, 1, reduction=reduction), theirs)


@both
def test_relu(module):
    x = np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, 1.5, -1.5])
    theirs_x = tensor(x)
    theirs = functional.relu(theirs_x)
    np.testing.assert_array_equal(module.relu(x), theirs.detach().numpy())
    theirs.backward(torch.arange(1.0, 8.0, dtype=torch.float64))
    np.testing.assert_array_equal(module.relu_backward(np.arange(1.0, 8.0), x), theirs_x.grad.numpy())


@both
def test_weights_that_are_not_finite(module):
    """What a NaN or infinite weight touches; over padding the two differ on purpose (0 * inf is NaN there)."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 2, 6, 7))
    for value in (np.nan, np.inf):
        weight = rng.standard_normal((3, 2, 3, 3))
        weight[1, 0, 2, 1] = value
        theirs = functional.conv2d(torch.tensor(x), torch.tensor(weight)).numpy()
        close(module.conv2d(x, weight), theirs)
