"""The optimisers against their formulas in NumPy (PyTorch's), and against PyTorch itself where it is installed."""

import numpy as np
import pytest

import fastconv
from fastconv import ShapeError, nn, optim

SHAPES = [(4, 3), (7,), (2, 3, 3, 3)]
STEPS = 12


def sgd(param, grads, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    velocity = None
    for grad in grads:
        g = (-grad if maximize else grad) + weight_decay * param
        if momentum:
            velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        param = param - lr * g
    return param


def adam(
    param,
    grads,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0,
    decoupled=False,
    maximize=False,
    amsgrad=False,
):
    m = v = most = np.zeros_like(param)
    for t, grad in enumerate(-grads if maximize else grads, 1):
        if decoupled:
            param, g = param * (1 - lr * weight_decay), grad
        else:
            g = grad + weight_decay * param
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        most = np.maximum(most, v)
        param = param - lr * (m / (1 - betas[0] ** t)) / (np.sqrt((most if amsgrad else v) / (1 - betas[1] ** t)) + eps)
    return param


def adamw(param, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, **flags):
    return adam(param, grads, lr, betas, eps, weight_decay, decoupled=True, **flags)


CASES = {
    "sgd": (optim.SGD, sgd, {"lr": 0.1}),
    "sgd, weight decay": (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.05}),
    "sgd, momentum": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    "sgd, dampening": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}),
    "sgd, nesterov": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    "sgd, maximize": (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "maximize": True}),
    "adam": (optim.Adam, adam, {"lr": 0.01}),
    "adam, amsgrad": (optim.Adam, adam, {"lr": 0.01, "betas": (0.5, 0.6), "amsgrad": True}),
    "adamw, amsgrad": (optim.AdamW, adamw, {"lr": 0.01, "betas": (0.5, 0.6), "amsgrad": True, "maximize": True}),
    "adam, everything": (optim.Adam, adam, {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    "adamw": (optim.AdamW, adamw, {"lr": 0.01}),
    "adamw, everything": (optim.AdamW, adamw, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 1e-4, "weight_decay": 0.2}),
}


def problem(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    params = [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]
    grads = [[rng.standard_normal(shape).astype(dtype) for _ in range(STEPS)] for shape in SHAPES]
    return params, grads


def run(optimizer, params, grads, steps=range(STEPS)):
    for t in steps:
        for parameter, own in zip(params, grads, strict=True):
            parameter.grad = own[t].copy()
        optimizer.step()


@pytest.mark.parametrize("name", CASES)
def test_formula(name, dtype, threads):
    make, formula, options = CASES[name]
    params, grads = problem(dtype)
    expected = [
        formula(parameter.data.astype(np.float64), np.array(own, np.float64), **options)
        for parameter, own in zip(params, grads, strict=True)
    ]
    run(make(params, **options), params, grads)
    for parameter, right in zip(params, expected, strict=True):
        assert parameter.data.dtype == dtype
        np.testing.assert_allclose(parameter.data, right, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
def test_pytorch_step_for_step(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, _, options = CASES[name]
    params, grads = problem()
    tensors = [torch.tensor(parameter.data, requires_grad=True) for parameter in params]
    ours, theirs = make(params, **options), getattr(torch.optim, make.__name__)(tensors, **options)
    for t in range(STEPS):
        for tensor, own in zip(tensors, grads, strict=True):
            tensor.grad = torch.tensor(own[t])
        theirs.step()
        run(ours, params, grads, [t])
        for parameter, tensor in zip(params, tensors, strict=True):
            np.testing.assert_allclose(parameter.data, tensor.detach().numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.peer
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_defaults_are_pytorchs(make):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = make([nn.Parameter(np.zeros(1))])
    theirs = getattr(torch.optim, make.__name__)([torch.zeros(1)]).defaults
    for name in ours.settings:
        assert getattr(ours, name) == theirs[name]


def test_groups_have_settings_of_their_own():
    (params, grads), (alone, _) = problem(), problem()
    groups = [{"params": params[:1], "lr": 0.5}, {"params": iter(params[1:]), "momentum": 0.9, "weight_decay": 0.1}]
    optimizer = optim.SGD(groups, lr=0.1)
    assert optimizer.params == params
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    assert optimizer.lr == 0.5
    run(optimizer, params, grads)
    run(optim.SGD(alone[:1], lr=0.5), alone[:1], grads[:1])
    run(optim.SGD(alone[1:], lr=0.1, momentum=0.9, weight_decay=0.1), alone[1:], grads[1:])
    for parameter, right in zip(params, alone, strict=True):
        np.testing.assert_array_equal(parameter.data, right.data)
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert repr(optimizer).startswith("SGD(group 0: lr=0.25")


def test_a_group_may_be_added():
    params, grads = problem()
    optimizer = optim.Adam(params[:2])
    run(optimizer, params, grads, range(3))
    optimizer.add_param_group({"params": params[2], "betas": [0.5, 0.6]})
    before = params[2].data.copy()
    run(optimizer, params, grads, range(3))
    assert not np.array_equal(params[2].data, before)
    assert [state["step"] for state in optimizer.state_dict()["state"]] == [6, 6, 3]
    other = optim.Adam([{"params": problem()[0][:2]}, {"params": problem()[0][2:]}], lr=99)
    other.load_state_dict(optimizer.state_dict())
    assert repr(other) == repr(optimizer)
    assert other.param_groups[1]["betas"] == (0.5, 0.6)


def test_gradients_are_not_changed():
    params, grads = problem()
    optimizer = optim.Adam(params, weight_decay=0.1)
    parameter = params[0]
    parameter.grad = grads[0][0].copy()
    optimizer.step()
    np.testing.assert_array_equal(parameter.grad, grads[0][0])


def test_parameters_without_gradient_are_skipped():
    params, grads = problem()
    optimizer = optim.Adam(params, weight_decay=0.1)
    before = [parameter.data.copy() for parameter in params]
    params[1].grad = grads[1][0]
    optimizer.step()
    np.testing.assert_array_equal(params[0].data, before[0])
    assert not np.array_equal(params[1].data, before[1])
    assert [state.get("step") for state in optimizer.state_dict()["state"]] == [None, 1, None]


def test_gradients_of_any_layout():
    params, grads = problem()
    others, _ = problem()
    run(optim.SGD(params, 0.1, 0.9), params, grads)
    run(optim.SGD(others, 0.1, 0.9), others, [[np.asfortranarray(grad) for grad in own] for own in grads])
    for one, two in zip(params, others, strict=True):
        np.testing.assert_array_equal(one.data, two.data)


def test_zero_grad():
    params, grads = problem()
    optimizer = optim.SGD(iter(params))
    for parameter, own in zip(params, grads, strict=True):
        parameter.grad = own[0]
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in params)


def test_lr_may_be_changed_between_steps():
    params, grads = problem()
    start = params[0].data.copy()
    optimizer = optim.SGD(params, lr=0.5)
    run(optimizer, params, grads, [0])
    optimizer.lr = 0.25
    run(optimizer, params, grads, [1])
    np.testing.assert_allclose(params[0].data, start - 0.5 * grads[0][0] - 0.25 * grads[0][1])


@pytest.mark.parametrize("name", CASES)
def test_going_on_from_a_state(name):
    make, _, options = CASES[name]
    (one, grads), (two, _) = problem(), problem()
    undisturbed = make(one, **options)
    run(undisturbed, one, grads)
    first = make(two, **options)
    run(first, two, grads, range(5))
    state = first.state_dict()
    run(first, two, grads, range(5, 7))  # must not change the state that was taken
    fresh, _ = problem()
    for parameter, source in zip(fresh, problem()[0], strict=True):
        parameter.data[...] = source.data
    second = make(fresh, lr=99)
    run(make(fresh, **options), fresh, grads, range(5))
    second.load_state_dict(state)
    run(second, fresh, grads, range(5, STEPS))
    for parameter, right in zip(fresh, one, strict=True):
        np.testing.assert_array_equal(parameter.data, right.data)
    assert repr(second) == repr(undisturbed)


def test_the_same_bits_for_any_number_of_threads():
    results = []
    for n in (1, 2, 3):
        with fastconv.threads(n):
            parameter = nn.Parameter(np.linspace(-1, 1, 300_007, dtype=np.float32))
            optimizer = optim.Adam([parameter], weight_decay=0.1)
            for _ in range(3):
                parameter.grad = np.cos(parameter.data)
                optimizer.step()
            results.append(parameter.data)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


# -- what is refused ---------------------------------------------------------------------------------------------------


def one(**options):
    return [nn.Parameter(np.zeros(3))]


BAD = [
    (lambda: optim.SGD([]), ValueError, "SGD: params is empty"),
    (lambda: optim.SGD([np.zeros(3)]), TypeError, "SGD: params must hold Parameters"),
    (lambda: optim.SGD(one() * 2), ValueError, "SGD: params holds a parameter twice"),
    (lambda: optim.SGD([{"params": one()}, *one()]), TypeError, "SGD: a group must be a dict with 'params'"),
    (lambda: optim.SGD([{"lr": 1}]), TypeError, "SGD: a group must be a dict with 'params'"),
    (lambda: optim.SGD([{"params": one(), "betas": 1}]), ShapeError, r"a group has the settings \['betas'\]"),
    (lambda: optim.SGD([{"params": one(), "lr": -1}]), ShapeError, "SGD: lr must be between"),
    (lambda: optim.Adam(one(), amsgrad=1), TypeError, "Adam: amsgrad must be a bool"),
    (lambda: optim.SGD(one(), maximize=None), TypeError, "SGD: maximize must be a bool"),
    (lambda: optim.SGD(one(), -1), ShapeError, "SGD: lr must be between 0"),
    (lambda: optim.SGD(one(), float("nan")), ShapeError, "SGD: lr"),
    (lambda: optim.SGD(one(), "fast"), TypeError, "SGD: lr must be a number"),
    (lambda: optim.SGD(one(), 0.1, -1), ShapeError, "SGD: momentum"),
    (lambda: optim.SGD(one(), 0.1, 0, float("inf")), ShapeError, "SGD: dampening"),
    (lambda: optim.SGD(one(), 0.1, weight_decay=-1), ShapeError, "SGD: weight_decay"),
    (lambda: optim.SGD(one(), 0.1, nesterov=True), ShapeError, "SGD: nesterov needs momentum"),
    (lambda: optim.SGD(one(), 0.1, 0.9, 0.1, nesterov=True), ShapeError, "SGD: nesterov needs momentum"),
    (lambda: optim.SGD(one(), nesterov=1), TypeError, "SGD: nesterov must be a bool"),
    (lambda: optim.Adam(one(), betas=(0.9,)), TypeError, "Adam: betas must be a pair"),
    (lambda: optim.Adam(one(), betas=(1.0, 0.9)), ShapeError, r"Adam: betas\[0\]"),
    (lambda: optim.Adam(one(), betas=(0.9, -0.1)), ShapeError, r"Adam: betas\[1\]"),
    (lambda: optim.AdamW(one(), eps=-1), ShapeError, "AdamW: eps"),
    (lambda: optim.AdamW(one(), weight_decay=None), TypeError, "AdamW: weight_decay"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_a_gradient_that_does_not_fit_is_refused():
    parameter = nn.Parameter(np.zeros((2, 3)))
    optimizer = optim.Adam([parameter])
    for grad in (np.zeros((3, 2)), np.zeros(6), np.zeros((2, 3), np.float32)):
        parameter.grad = grad
        with pytest.raises(ShapeError, match=r"Adam\.step: a parameter is float64 of shape \(2, 3\)"):
            optimizer.step()
    assert not parameter.data.any()


@pytest.mark.parametrize("spoil", ["readonly", "transposed"])
def test_data_that_cannot_be_written_in_place_is_refused(spoil):
    parameter = nn.Parameter(np.zeros((2, 3)))
    optimizer = optim.SGD([parameter])
    if spoil == "readonly":
        parameter.data.flags.writeable = False
    else:
        parameter.data = np.zeros((3, 2)).T
    parameter.grad = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"SGD\.step: a parameter's data must be"):
        optimizer.step()


BAD_STATES = {
    "settings": (lambda s: s["settings"][0].pop("lr"), "settings"),
    "more settings": (lambda s: s["settings"][0].update(momentum=1), "settings"),
    "groups": (lambda s: s["settings"].append(s["settings"][0]), "the state has 2 groups, expected 1"),
    "parameters": (lambda s: s["state"].pop(), "state is of 2 parameters, expected 3"),
    "shape": (lambda s: s["state"][1].update(exp_avg=np.zeros(3)), r"exp_avg of parameter 1 has shape \(3,\)"),
    "missing": (lambda s: s["state"][0].pop("exp_avg_sq"), "state of parameter 0"),
    "step": (lambda s: s["state"][0].update(step=-1), "step of parameter 0 must be at least 1"),
    "lr": (lambda s: s["settings"][0].update(lr=-1), "lr must be between"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(case):
    damage, message = BAD_STATES[case]
    params, grads = problem()
    optimizer = optim.Adam(params)
    run(optimizer, params, grads, [0])
    before = repr(optimizer.state_dict())
    state = optimizer.state_dict()
    damage(state)
    with pytest.raises(ShapeError, match=message):
        optimizer.load_state_dict(state)
    assert repr(optimizer.state_dict()) == before


def test_an_optimizer_must_define_its_update():
    parameter = nn.Parameter(np.zeros(3))
    parameter.grad = np.ones(3)
    with pytest.raises(NotImplementedError, match="Optimizer"):
        optim.Optimizer([parameter], 0.1).step()


@pytest.mark.parametrize("first", [False, True])
def test_amsgrad_changed_between_steps_is_saved_and_loaded(first):
    def make(amsgrad):
        parameter = nn.Parameter(np.linspace(-1, 1, 5))
        return parameter, optim.Adam([parameter], 0.1, amsgrad=amsgrad)

    def step(parameter, optimizer, factor):
        parameter.grad = factor * parameter.data
        optimizer.step()

    parameter, optimizer = make(first)
    step(parameter, optimizer, 3)
    optimizer.amsgrad = not first
    other, loaded = make(first)
    for _ in range(2):  # before the next step, and after it
        loaded.load_state_dict(optimizer.state_dict())
        other.data[...] = parameter.data
        step(parameter, optimizer, 0.5)
        step(other, loaded, 0.5)
        assert np.array_equal(other.data, parameter.data)
