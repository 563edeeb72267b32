"""Activations, losses, optimisers and schedules against PyTorch and its autograd, over random problems.

Both the ops and the naive reference are compared, in float64.  PyTorch is no dependency: without it these are skipped.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import numbers, seeds

from fastconv import nn, ops, optim, reference, schedules

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
functional = torch.nn.functional

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]
both = pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])


def close(ours, theirs, rtol=1e-11, atol=1e-11):
    theirs = theirs.detach().numpy() if torch.is_tensor(theirs) else theirs
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


# -- activations -------------------------------------------------------------------------------------------------------

ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 700, -700, 745, -745, 30, -30, 1e-20]


SLOPES = st.floats(-2, 2, allow_subnormal=False)  # a denormal slope may count as zero


@both
@settings(max_examples=60)
@given(n=st.integers(0, 40), scale=st.sampled_from([0.01, 1, 30, 900]), slope=SLOPES, seed=seeds)
def test_activations(module, n, scale, slope, seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.standard_normal(n) * scale, ODD])
    grad_y = rng.standard_normal(len(x))
    cases = (
        (lambda t: functional.leaky_relu(t, slope), module.leaky_relu(x, slope), None),
        (torch.sigmoid, module.sigmoid(x), module.sigmoid_backward),
        (torch.tanh, module.tanh(x), module.tanh_backward),
    )
    for theirs, y, backward in cases:
        tensor = torch.tensor(x, requires_grad=True)
        right = theirs(tensor)
        close(y, right, rtol=2e-15, atol=1e-306)
        np.testing.assert_array_equal(np.signbit(y)[~np.isnan(x)], np.signbit(right.detach().numpy())[~np.isnan(x)])
        right.backward(torch.tensor(grad_y))
        grad_x = backward(grad_y, y) if backward else module.leaky_relu_backward(grad_y, x, slope)
        close(grad_x, tensor.grad, rtol=1e-13, atol=1e-15)


@both
@settings(max_examples=40)
@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), data=st.data(), seed=seeds)
def test_softmax_of_any_axis(module, shape, data, seed):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(seed)
    x, grad_y = numbers(rng, shape, np.float64), numbers(rng, shape, np.float64)
    for name in ("softmax", "log_softmax"):
        tensor = torch.tensor(x, requires_grad=True)
        right = getattr(functional, name)(tensor, dim)
        y = getattr(module, name)(x, dim)
        close(y, right)
        right.backward(torch.tensor(grad_y))
        close(getattr(module, f"{name}_backward")(grad_y, y, dim), tensor.grad)


# -- losses ------------------------------------------------------------------------------------------------------------


@st.composite
def class_problems(draw):
    """x, class numbers, probabilities and options, of one row, of rows, or of images."""
    rng = np.random.default_rng(draw(seeds))
    C = draw(st.integers(1, 7))
    shape = (C,) if draw(st.booleans()) and draw(st.booleans()) else (draw(st.integers(0, 5)), C)
    if len(shape) == 2:
        shape += tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    targets = () if len(shape) == 1 else (shape[0], *shape[2:])
    x = numbers(rng, shape, np.float64) * draw(st.sampled_from([1, 50]))
    ignored = draw(st.sampled_from([-100, -1, 0, C - 1]))
    indices = np.asarray(rng.integers(0, C, targets))
    indices = np.where(rng.random(targets) < 0.2, ignored, indices)
    weight = rng.random(C) + 0.1 if draw(st.booleans()) else None
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return x, indices, rng.random(shape), weight, ignored, reduction, rng


def compare(theirs, ours, backward, x, reduction, rng):
    tensor = torch.tensor(x, requires_grad=True)
    right = theirs(tensor)
    close(ours, right)
    grad_y = np.asarray(rng.standard_normal(right.shape))
    right.backward(torch.tensor(grad_y))
    close(backward(grad_y if reduction == "none" else float(grad_y)), tensor.grad)


def tensor_or_none(a):
    return None if a is None else torch.tensor(a)


@both
@settings(max_examples=100)
@given(problem=class_problems(), smoothing=st.sampled_from([0.0, 0.0, 0.1, 1.0]))
def test_cross_entropy(module, problem, smoothing):
    x, indices, shares, weight, ignored, reduction, rng = problem
    for target, ignore_index in ((indices, ignored), (shares, -100)):
        options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
        if np.shape(target) == x.shape and target.dtype.kind == "i":
            continue
        compare(
            lambda t, target=target, options=options: functional.cross_entropy(
                t, torch.tensor(target), tensor_or_none(weight), **options
            ),
            module.cross_entropy(x, target, weight, **options),
            lambda grad_y, target=target, options=options: module.cross_entropy_backward(
                x, target, weight, **options, grad_y=grad_y
            ),
            x,
            reduction,
            rng,
        )


@both
@settings(max_examples=100)
@given(problem=class_problems())
def test_nll_loss(module, problem):
    x, target, _, weight, ignored, reduction, rng = problem
    options = {"ignore_index": ignored, "reduction": reduction}
    compare(
        lambda t: functional.nll_loss(t, torch.tensor(target), tensor_or_none(weight), **options),
        module.nll_loss(x, target, weight, **options),
        lambda grad_y: module.nll_loss_backward(x, target, weight, **options, grad_y=grad_y),
        x,
        reduction,
        rng,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_of_classes_that_are_switched_off(soft, smoothing):
    x = np.array([[0.5, -np.inf, 1.5], [2, 3, -np.inf], [np.nan, 0, 1]])
    target = np.eye(3)[[0, 2, 1]] if soft else np.array([0, 2, 1])
    right = functional.cross_entropy(torch.tensor(x), torch.tensor(target), reduction="none", label_smoothing=smoothing)
    for module in (ops, reference):
        close(module.cross_entropy(x, target, reduction="none", label_smoothing=smoothing), right)


def test_a_positive_ignore_index_is_refused_with_probabilities():
    x = np.ones((2, 3))
    with pytest.raises(RuntimeError, match="ignore_index"):
        functional.cross_entropy(torch.tensor(x), torch.tensor(x), ignore_index=1)
    with pytest.raises(RuntimeError, match="ignore_index"):
        ops.cross_entropy(x, x, ignore_index=1)


@both
@settings(max_examples=40)
@given(shape=st.lists(st.integers(0, 6), max_size=4), reduction=st.sampled_from(["mean", "sum", "none"]), seed=seeds)
def test_mse_loss(module, shape, reduction, seed):
    rng = np.random.default_rng(seed)
    x, target = numbers(rng, shape, np.float64), numbers(rng, shape, np.float64)
    compare(
        lambda t: functional.mse_loss(t, torch.tensor(target), reduction=reduction),
        module.mse_loss(x, target, reduction),
        lambda grad_y: module.mse_loss_backward(x, target, reduction, grad_y=grad_y),
        x,
        reduction,
        rng,
    )


# -- optimisers --------------------------------------------------------------------------------------------------------

STEPS = 25
SIZES = [(4, 3), (7,), (2, 3, 3, 3)]


@st.composite
def optimizers(draw):
    """The class, the settings of the whole, and those of the second group."""
    number, flag = draw(st.floats(1e-4, 0.5)), st.booleans()
    kind = draw(st.sampled_from(["SGD", "Adam", "AdamW"]))
    decay = st.sampled_from([0.0, 0.01, 0.3])
    options = {"lr": number, "weight_decay": draw(decay), "maximize": draw(flag)}
    if kind == "SGD":
        options["momentum"] = draw(st.sampled_from([0.0, 0.5, 0.9]))
        options["nesterov"] = options["momentum"] > 0 and draw(flag)
        options["dampening"] = 0 if options["nesterov"] else draw(st.sampled_from([0.0, 0.3]))
    else:
        beta = st.floats(0, 0.999)
        options |= {
            "betas": (draw(beta), draw(beta)),
            "eps": draw(st.sampled_from([1e-8, 1e-3])),
            "amsgrad": draw(flag),
        }
    return kind, options, {"lr": draw(st.floats(1e-4, 0.5)), "weight_decay": draw(decay)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60)
@given(case=optimizers(), seed=seeds)
def test_optimizers_step_for_step(case, seed, dtype):
    """After each of 25 steps; each starts from PyTorch's parameters, so that roundings do not add up unseen."""
    kind, options, second = case
    rng = np.random.default_rng(seed)
    params = [nn.Parameter(numbers(rng, size, dtype)) for size in SIZES]
    tensors = [torch.tensor(parameter.data, requires_grad=True) for parameter in params]
    ours = getattr(optim, kind)([{"params": params[:1]}, {"params": params[1:], **second}], **options)
    groups = [{"params": tensors[:1]}, {"params": tensors[1:], **second}]
    theirs = getattr(torch.optim, kind)(groups, **options, foreach=False)
    eps = float(np.finfo(dtype).eps)
    for step in range(STEPS):
        for parameter, tensor in zip(params, tensors, strict=True):
            parameter.grad = numbers(rng, parameter.shape, dtype)
            tensor.grad = torch.tensor(parameter.grad)
        ours.step()
        theirs.step()
        for parameter, tensor in zip(params, tensors, strict=True):
            right = tensor.detach().numpy()
            # Parameters of size 1 move by about lr, and their states carry a rounding a step.
            scale = 1 + abs(right) + (step + 1) * 20 * max(options["lr"], second["lr"])
            assert np.all(abs(parameter.data - right) <= 4 * eps * scale), (step, abs(parameter.data - right).max())
            parameter.data[...] = right


# -- schedules ---------------------------------------------------------------------------------------------------------


def lrs_of_both(make_ours, make_theirs, steps, kind="SGD", **options):
    """Learning rates and momenta of two groups over so many steps, ours and theirs."""
    two = ({"lr": 0.1}, {"lr": 0.037})
    ours = getattr(optim, kind)([{"params": [nn.Parameter(np.zeros(1))], **group} for group in two], **options)
    theirs = getattr(torch.optim, kind)([{"params": [torch.zeros(1)], **group} for group in two], **options)
    our_schedule, their_schedule = make_ours(ours), make_theirs(theirs)
    found = [], []
    for step in range(steps):
        for optimizer, rows in zip((ours, theirs), found, strict=True):
            rows.append([(g["lr"], g["betas"][0] if "betas" in g else g["momentum"]) for g in optimizer.param_groups])
        if step + 1 < steps:
            our_schedule.step()
            their_schedule.step()
    assert our_schedule.get_last_lr() == pytest.approx(their_schedule.get_last_lr(), rel=1e-15)
    return np.array(found[0]), np.array(found[1])


@settings(max_examples=30)
@given(step_size=st.integers(1, 7), gamma=st.floats(0.1, 1.2))
def test_step_lr(step_size, gamma):
    ours, theirs = lrs_of_both(
        lambda o: schedules.StepLR(o, step_size, gamma),
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size, gamma),
        30,
    )
    np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=30)
@given(T_max=st.integers(1, 20), eta_min=st.sampled_from([0.0, 0.001, 0.05]))
def test_cosine_annealing_lr(T_max, eta_min):
    """To the last bit, also beyond the minimum and through several periods."""
    ours, theirs = lrs_of_both(
        lambda o: schedules.CosineAnnealingLR(o, T_max, eta_min),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max, eta_min),
        70,
    )
    np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=80)
@given(
    total=st.integers(3, 60),
    pct_start=st.floats(0.05, 0.45),
    kind=st.sampled_from(["SGD", "Adam", "AdamW"]),
    lists=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
            "cycle_momentum": st.booleans(),
            "div_factor": st.floats(1, 100),
            "final_div_factor": st.floats(1, 1e5),
            "three_phase": st.booleans(),
        }
    ),
    data=st.data(),
)
def test_one_cycle_lr(total, pct_start, kind, lists, options, data):
    number = st.floats(0.01, 0.99)
    draw = (lambda: [data.draw(number), data.draw(number)]) if lists else (lambda: data.draw(number))
    given_options = {
        "max_lr": draw(),
        "base_momentum": draw(),
        "max_momentum": draw(),
        "pct_start": pct_start,
        **({"total_steps": total} if data.draw(st.booleans()) else {"epochs": 3, "steps_per_epoch": total // 3}),
        **options,
    }
    steps = given_options.get("total_steps", 3 * (total // 3))
    extra = {"momentum": 0.3} if kind == "SGD" else {}
    if abs(pct_start * steps - 1) < 1e-9:  # PyTorch divides by 0 there
        return
    ours, theirs = lrs_of_both(
        lambda o: schedules.OneCycleLR(o, **given_options),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, **given_options),
        steps,
        kind,
        **extra,
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-15, atol=0)
