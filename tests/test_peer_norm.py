"""batch_norm, its layers and adaptive_avg_pool2d against PyTorch and its autograd, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from fastconv import nn, ops, reference

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

pytestmark = pytest.mark.peer
both = pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
sizes = st.integers(1, 9)


def close(ours, theirs, rtol=1e-11):
    theirs = theirs.detach().numpy() if torch.is_tensor(theirs) else theirs
    assert np.shape(ours) == np.shape(theirs)
    largest = np.max(abs(theirs), initial=1, where=np.isfinite(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * largest)


@both
@given(
    shape=st.lists(sizes, min_size=2, max_size=4).filter(lambda s: np.prod(s) // s[1] > 1),
    training=st.booleans(),
    given_arrays=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    momentum=st.floats(-0.5, 1.5),
    eps=st.sampled_from([1e-5, 1e-2, 1.0]),
    offset=st.sampled_from([0.0, 3.0]),
    seed=seeds,
)
def test_batch_norm(module, shape, training, given_arrays, momentum, eps, offset, seed):
    rng = np.random.default_rng(seed)
    x, grad_y = rng.standard_normal((2, *shape)) + offset
    channels = shape[1]
    running = (rng.standard_normal(channels), rng.random(channels) + 0.1)
    if training and not given_arrays[0]:
        running = (None, None)
    weight = rng.standard_normal(channels) if given_arrays[1] else None
    bias = rng.standard_normal(channels) if given_arrays[2] else None
    tensors = [None if a is None else torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    their_running = [None if a is None else torch.tensor(a) for a in running]
    theirs = functional.batch_norm(tensors[0], *their_running, *tensors[1:], training, momentum, eps)
    theirs.backward(torch.tensor(grad_y))
    y, mean, inv_std, *new = module.batch_norm(x, *running, weight, bias, training, momentum, eps, return_stats=True)
    tolerance = 1e-8 if training and x.size <= 4 * channels else 1e-10  # few values may lie close together
    close(y, theirs, tolerance)
    for ours, right in zip(new, their_running, strict=True):
        assert (ours is None) == (right is None)
        if ours is not None:
            close(ours, right)
    gradients = module.batch_norm_backward(grad_y, x, mean, inv_std, weight, training)
    for ours, right in zip(gradients, tensors, strict=True):
        if right is not None:
            close(ours, right.grad, tolerance)


@both
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)], ids=str)
def test_batch_norm_of_nothing(module, shape):
    channels = shape[1]
    running = np.full(channels, 2.0), np.full(channels, 3.0)
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(channels, dtype=torch.float64, requires_grad=True)
    their_running = [torch.tensor(a) for a in running]
    theirs = functional.batch_norm(x, *their_running, weight, training=True)
    y, mean, inv_std, *new = module.batch_norm(np.zeros(shape), *running, training=True, return_stats=True)
    close(y, theirs)
    for ours, right in zip(new, their_running, strict=True):
        close(ours, right)
    grad_x, grad_weight, _ = module.batch_norm_backward(y, y, mean, inv_std, training=True)
    assert grad_x.shape == shape
    np.testing.assert_array_equal(grad_weight, np.zeros(channels))


@both
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("at", [(0, 1, 0, 0), (1, 1, 2, 3)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_batch_norm_of_what_is_not_finite(module, value, training, at):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    x[at] = value
    running = np.zeros(3), np.ones(3)
    their_running = [torch.tensor(a) for a in running]
    theirs = functional.batch_norm(torch.tensor(x), *their_running, training=training)
    y, _, _, *new = module.batch_norm(x, *running, training=training, return_stats=True)
    close(y, theirs)
    for ours, right in zip(new, their_running, strict=True):
        close(ours, right)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(("name", "shape"), [("BatchNorm2d", (4, 3, 5, 6)), ("BatchNorm1d", (6, 3)),
                                             ("BatchNorm1d", (4, 3, 7))])  # fmt: skip
def test_layers(name, shape, momentum, affine, tracked):
    ours = getattr(nn, name)(3, 1e-3, momentum, affine, tracked, dtype=np.float64)
    theirs = getattr(torch.nn, name)(3, 1e-3, momentum, affine, tracked, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(1)
    for _ in range(3):
        x, grad_y = rng.standard_normal((2, *shape)) * 2 + 1
        their_x = torch.tensor(x, requires_grad=True)
        y = theirs(their_x)
        y.backward(torch.tensor(grad_y))
        close(ours(x), y)
        close(ours.backward(grad_y), their_x.grad)
    for parameter, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(parameter.grad, right.grad)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (_, array), tensor in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert array.dtype == tensor.numpy().dtype
        close(array, tensor)
    close(ours.eval()(x), theirs.eval()(torch.tensor(x)))


@both
@given(shape=st.tuples(st.integers(0, 2), sizes, sizes, sizes), batched=st.booleans(), output=st.tuples(
    st.integers(1, 12) | st.none(), st.integers(1, 12) | st.none()) | st.integers(1, 12), seed=seeds)  # fmt: skip
def test_adaptive_avg_pool2d(module, shape, batched, output, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape if batched else shape[1:])
    their_x = torch.tensor(x, requires_grad=True)
    theirs = functional.adaptive_avg_pool2d(their_x, output)
    close(module.adaptive_avg_pool2d(x, output), theirs)
    grad_y = rng.standard_normal(theirs.shape)
    theirs.backward(torch.tensor(grad_y))
    close(module.adaptive_avg_pool2d_backward(grad_y, x.shape), their_x.grad)


@both
@pytest.mark.parametrize("output", [0, (0, 2), (2, 0)])
def test_adaptive_avg_pool2d_to_nothing(module, output):
    theirs = functional.adaptive_avg_pool2d(torch.ones(2, 3, 4, 5), output)
    y = module.adaptive_avg_pool2d(np.ones((2, 3, 4, 5)), output)
    assert y.shape == tuple(theirs.shape)
    np.testing.assert_array_equal(module.adaptive_avg_pool2d_backward(y, (2, 3, 4, 5)), np.zeros((2, 3, 4, 5)))


def test_dropout2d():
    """Where nothing is random: p of 0 and 1, and eval; and whole channels.

    An array of three axes is one image here, as PyTorch announces; PyTorch 2.13 still drops rows of it, with a warning.
    """
    x = np.random.default_rng(2).standard_normal((2, 3, 4, 5))
    for p in (0.0, 1.0):
        close(ops.dropout2d(x, p), functional.dropout2d(torch.tensor(x), p))
        close(ops.dropout2d(x, p, False), functional.dropout2d(torch.tensor(x), p, False))
    kept = ops.dropout2d(np.ones((2, 64, 3, 3)), 0.5, rng=np.random.default_rng(0))
    theirs = functional.dropout2d(torch.ones(2, 64, 3, 3), 0.5).numpy()
    for y in (kept, theirs, ops.dropout2d(np.ones((128, 3, 3)), 0.5, rng=np.random.default_rng(0))):
        channels = y.reshape(128, -1)
        assert set(channels.min(1)) == {0.0, 2.0}
        np.testing.assert_array_equal(channels.min(1), channels.max(1))
