"""The losses: values, gradients, reductions, and what is refused."""

import numpy as np
import pytest

from fastconv import ShapeError, log_softmax, nn, reference

RNG = np.random.default_rng(11)
LOGITS = RNG.standard_normal((6, 4))
CLASSES = np.array([0, 3, 1, 1, 2, 0])
TARGETS = RNG.standard_normal((6, 4))
WEIGHT = np.array([0.5, 1.0, 2.0, 1.5])
SHARES = RNG.dirichlet(np.ones(4), 6)

LOSSES = {
    "cross-entropy": (nn.CrossEntropyLoss(), CLASSES),
    "cross-entropy, sum": (nn.CrossEntropyLoss(reduction="sum"), CLASSES),
    "cross-entropy, everything": (nn.CrossEntropyLoss(WEIGHT, ignore_index=2, label_smoothing=0.1), CLASSES),
    "cross-entropy, probabilities": (nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1), SHARES),
    "likelihood": (nn.NLLLoss(), CLASSES),
    "likelihood, everything": (nn.NLLLoss(WEIGHT, ignore_index=2, reduction="sum"), CLASSES),
    "squared error": (nn.MSELoss(), TARGETS),
    "squared error, sum": (nn.MSELoss("sum"), TARGETS),
    "one-hot": (nn.OneHotSquaredError(), CLASSES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name):
    loss, target = LOSSES[name]
    pred = LOGITS.copy()
    assert isinstance(loss(pred, target), float)
    grad = loss.backward()
    assert grad.shape == pred.shape
    loss(pred, target)
    np.testing.assert_allclose(loss.backward(3.0), 3 * grad)
    step = 1e-6
    for position in np.ndindex(pred.shape):
        before = pred[position]
        pred[position] = before + step
        above = loss.forward(pred, target)
        pred[position] = before - step
        below = loss.forward(pred, target)
        pred[position] = before
        assert (above - below) / (2 * step) == pytest.approx(grad[position], rel=1e-6, abs=1e-9)
    loss.release()


def test_cross_entropy_is_the_ops():
    loss = nn.CrossEntropyLoss(WEIGHT, ignore_index=1, label_smoothing=0.2)
    assert loss(LOGITS, CLASSES) == pytest.approx(
        reference.cross_entropy(LOGITS, CLASSES, WEIGHT, 1, label_smoothing=0.2), rel=1e-12
    )
    none = nn.CrossEntropyLoss(reduction="none")
    np.testing.assert_allclose(none(LOGITS, CLASSES), reference.cross_entropy(LOGITS, CLASSES, reduction="none"))
    grad_y = np.arange(6.0)
    expected = reference.cross_entropy_backward(LOGITS, CLASSES, reduction="none", grad_y=grad_y)
    np.testing.assert_allclose(none.backward(grad_y), expected)


def test_likelihood_of_log_softmax_is_cross_entropy():
    log_p = log_softmax(LOGITS)
    for options in ({}, {"weight": WEIGHT, "ignore_index": 1}, {"reduction": "sum"}):
        assert nn.NLLLoss(**options)(log_p, CLASSES) == pytest.approx(nn.CrossEntropyLoss(**options)(LOGITS, CLASSES))


def test_squared_error_by_hand():
    pred, target = np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])
    assert nn.MSELoss()(pred, target) == 2.5
    assert nn.MSELoss("sum")(pred, target) == 5
    none = nn.MSELoss("none")
    np.testing.assert_array_equal(none(pred, target), [[1, 4]])
    np.testing.assert_array_equal(none.backward(np.array([[1.0, 10.0]])), [[2, -40]])
    none(pred, target)
    np.testing.assert_array_equal(none.backward(), [[2, -4]])


def test_one_hot_is_half_the_squared_distance():
    pred = np.array([[0.5, 0.25], [1.0, 0.0]])
    loss = nn.OneHotSquaredError()
    assert loss(pred, np.array([1, 0], np.uint8)) == ((0.5**2 + 0.75**2) / 2 + 0) / 2
    np.testing.assert_array_equal(loss.backward(), [[0.25, -0.375], [0, 0]])
    loss(pred[:1], np.array([1]))
    np.testing.assert_array_equal(loss.backward(), [[0.5, -0.75]])
    np.testing.assert_array_equal(pred, [[0.5, 0.25], [1, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_has_the_dtype_of_the_prediction(name, dtype):
    loss, target = LOSSES[name]
    if getattr(loss, "weight", None) is not None:
        loss = type(loss)(WEIGHT.astype(dtype), ignore_index=-1)
    loss(LOGITS.astype(dtype), target.astype(dtype) if target.dtype.kind == "f" else target)
    assert loss.backward().dtype == dtype


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.OneHotSquaredError()])
def test_nothing_at_all_gives_nan(loss):
    empty = np.zeros((0, 3), np.float32)
    assert np.isnan(loss(empty, empty if isinstance(loss, nn.MSELoss) else np.zeros(0, int)))
    assert loss.backward().shape == (0, 3)


@pytest.mark.parametrize("name", LOSSES)
def test_one_backward_for_one_forward(name):
    loss, target = LOSSES[name]
    loss(LOGITS, target)
    loss.backward()
    with pytest.raises(RuntimeError, match=rf"{type(loss).__name__}\.backward: .*call forward first"):
        loss.backward()
    loss(LOGITS, target)
    loss.release()
    with pytest.raises(RuntimeError):
        loss.backward()


def test_a_loss_must_define_both():
    class Half(nn.Loss):
        pass

    with pytest.raises(NotImplementedError, match="Half"):
        Half()(1, 2)
    with pytest.raises(NotImplementedError, match="Half"):
        Half().backward()
    assert repr(Half()) == "Half()"


BAD = [
    (lambda: nn.CrossEntropyLoss(reduction="max"), ShapeError, "CrossEntropyLoss: reduction"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=2), ShapeError, "CrossEntropyLoss: label_smoothing"),
    (lambda: nn.CrossEntropyLoss([1, 2]), TypeError, "CrossEntropyLoss: weight"),
    (lambda: nn.CrossEntropyLoss(ignore_index=0.5), TypeError, "CrossEntropyLoss: ignore_index"),
    (lambda: nn.CrossEntropyLoss()(LOGITS, CLASSES[:5]), ShapeError, "cross_entropy: target"),
    (lambda: nn.NLLLoss(reduction="max"), ShapeError, "NLLLoss: reduction"),
    (lambda: nn.NLLLoss([1, 2]), TypeError, "NLLLoss: weight"),
    (lambda: nn.NLLLoss(ignore_index=0.5), TypeError, "NLLLoss: ignore_index"),
    (lambda: nn.NLLLoss()(LOGITS, TARGETS), TypeError, "nll_loss: target"),
    (lambda: nn.MSELoss(None), TypeError, "MSELoss: reduction"),
    (lambda: nn.MSELoss()(LOGITS, TARGETS[:1]), ShapeError, "mse_loss: target"),
    (lambda: nn.MSELoss()(LOGITS, CLASSES), TypeError, "mse_loss: target"),
    (lambda: nn.MSELoss()(LOGITS, TARGETS.astype("f")), TypeError, "mse_loss: target"),
    (lambda: nn.OneHotSquaredError()(LOGITS[0], CLASSES[:1]), ShapeError, "OneHotSquaredError: pred"),
    (lambda: nn.OneHotSquaredError()(LOGITS, CLASSES[:5]), ShapeError, "OneHotSquaredError: target has shape"),
    (lambda: nn.OneHotSquaredError()(LOGITS, CLASSES + 2), ShapeError, "OneHotSquaredError: target must be in 0 .. 3"),
    (lambda: nn.OneHotSquaredError()(LOGITS, CLASSES - 1), ShapeError, "OneHotSquaredError: target must be in 0 .. 3"),
    (lambda: nn.OneHotSquaredError()(LOGITS, CLASSES * 1.0), TypeError, "OneHotSquaredError: target"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
