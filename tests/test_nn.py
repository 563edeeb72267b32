"""Module, Parameter and Sequential: modes, gradients, state, names, and what is refused."""

import copy
import gc
import weakref

import numpy as np
import pytest

from fastconv import ShapeError, nn


def network(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, dtype=dtype, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25, rng=rng),
        nn.Flatten(),
        nn.Linear(3 * 4 * 4, 5, dtype=dtype, rng=rng),
    )


def images(n=2, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 1, 8, 8)).astype(dtype)


# -- forward and backward ----------------------------------------------------------------------------------------------


def test_calling_is_forward():
    model, x = network().eval(), images()
    np.testing.assert_array_equal(model(x), model.forward(x))


def test_backward_adds_to_grad_and_zero_grad_forgets():
    model, x = network(np.float64), images(dtype=np.float64)
    model[3].p = 0.0
    y = model(x)
    model.backward(np.ones_like(y))
    once = {name: p.grad.copy() for name, p in model.named_parameters()}
    model(x)
    model.backward(np.ones_like(y))
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, 2 * once[name])
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_two_backwards_need_two_forwards():
    model, x = network(), images()
    y = model(x)
    model.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match=r"Sequential\.backward.*forward"):
        model.backward(np.ones_like(y))


LAYERS = {
    "Conv2d": (nn.Conv2d(2, 3, 3), (1, 2, 5, 5)),
    "MaxPool2d": (nn.MaxPool2d(2), (1, 2, 4, 4)),
    "AvgPool2d": (nn.AvgPool2d(2), (1, 2, 4, 4)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(3), (1, 2, 4, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d(), (1, 2, 4, 4)),
    "GlobalMaxPool2d": (nn.GlobalMaxPool2d(), (1, 2, 4, 4)),
    "BatchNorm1d": (nn.BatchNorm1d(3), (4, 3)),
    "BatchNorm2d": (nn.BatchNorm2d(2), (3, 2, 4, 4)),
    "BasicBlock": (nn.BasicBlock(2, 3, 2), (3, 2, 4, 4)),
    "ResNet": (nn.ResNet((1, 1), (2, 3), 2), (3, 2, 4, 4)),
    "Linear": (nn.Linear(4, 3), (2, 4)),
    "Flatten": (nn.Flatten(), (2, 3, 4)),
    "ReLU": (nn.ReLU(), (2, 3)),
    "Softmax": (nn.Softmax(1), (2, 3)),
    "LogSoftmax": (nn.LogSoftmax(1), (2, 3)),
    "Dropout": (nn.Dropout(), (2, 3)),
    "Dropout2d": (nn.Dropout2d(), (2, 3, 2, 2)),
    "Sequential": (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_backward_without_training_forward(name):
    layer, shape = LAYERS[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    fresh = copy.deepcopy(layer)
    y = np.asarray(fresh.eval()(x))
    for state in ("new", "after eval forward", "after backward"):
        if state == "after eval forward":
            fresh(x)
        elif state == "after backward":
            fresh.train()(x)
            fresh.backward(np.ones_like(y))
        with pytest.raises(RuntimeError, match=rf"{name}\.backward: .*call forward first"):
            fresh.backward(np.ones_like(y))


@pytest.mark.parametrize("name", LAYERS)
def test_need_grad_x_false_gives_none_and_the_same_parameter_gradients(name):
    layer, shape = LAYERS[name]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    one, two = copy.deepcopy(layer).train(), copy.deepcopy(layer).train()
    grad_y = np.ones_like(one(x))
    two(x)
    assert one.backward(grad_y, need_grad_x=False) is None
    assert two.backward(grad_y).shape == x.shape
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


class Recorder(nn.Module):
    """Notes how its backward was called."""

    def __init__(self, trained=False):
        self.calls = []
        if trained:
            self.weight = nn.Parameter(np.zeros(1, np.float32))

    def forward(self, x):
        self._keep(x)
        return x

    def backward(self, grad_y, *, need_grad_x=True):
        self._kept()
        self.calls.append(need_grad_x)
        return grad_y if need_grad_x else None


def test_sequential_computes_nothing_in_front_of_the_first_parameter():
    layers = [Recorder(), Recorder(trained=True), Recorder(), Recorder(trained=True)]
    model = nn.Sequential(nn.Sequential(*layers[:2]), *layers[2:])
    x = np.ones((1, 1), np.float32)
    model(x)
    assert model.backward(x, need_grad_x=False) is None
    assert [layer.calls for layer in layers] == [[], [False], [True], [True]]
    assert all(module._saved is None for module in model.modules())
    model(x)
    assert model.backward(x) is x
    assert [layer.calls for layer in layers] == [[True], [False, True], [True, True], [True, True]]


def test_sequential_without_parameters_computes_nothing_at_all():
    layer = Recorder()
    model = nn.Sequential(layer)
    model(np.ones(1))
    assert model.backward(np.ones(1), need_grad_x=False) is None
    assert layer.calls == []
    assert layer._saved is None


def test_backward_releases_what_forward_kept():
    model, x = network(), images()
    y = model(x)
    kept = weakref.ref(x)
    model.backward(np.ones_like(y), need_grad_x=False)
    del x
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("leave", ["eval", "release"])
def test_eval_and_release_let_go_too(leave):
    model, x = network(), images()
    model(x)
    getattr(model, leave)()
    assert all(module._saved is None for module in model.modules())


def test_forward_that_fails_leaves_no_backward_behind():
    model = network()
    y = model(images())
    with pytest.raises(ShapeError):
        model(np.zeros((2, 2, 8, 8), np.float32))
    with pytest.raises(RuntimeError):
        model.backward(np.ones_like(y))


def test_inputs_are_not_changed():
    model, x = network(), images()
    before = x.copy()
    grad_y = np.ones_like(model(x))
    model.backward(grad_y)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(grad_y, 1)


@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_module_must_define_both(method):
    class Half(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Half"):
        getattr(Half(), method)(np.ones(1))


# -- modes -------------------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_all_modules():
    model = nn.Sequential(nn.Sequential(nn.Dropout()), nn.ReLU())
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())


def test_eval_is_deterministic_and_training_is_not():
    model, x = network(), images()
    assert not np.array_equal(model(x), model(x))
    model.eval()
    np.testing.assert_array_equal(model(x), model(x))


# -- the tree and its state --------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A network that is no chain: y = x + conv(relu(x)), and a scale of its own."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, np.float64))
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, dtype=np.float64, rng=np.random.default_rng(0))

    def forward(self, x):
        inner = self.conv(self.relu(x))
        self._keep(inner)
        return x + self.scale.data * inner

    def backward(self, grad_y, *, need_grad_x=True):
        (inner,) = self._kept()
        self.scale.add_grad(np.array([np.sum(grad_y * inner)]))
        grad = self.conv.backward(grad_y * self.scale.data, need_grad_x=need_grad_x)
        return grad_y + self.relu.backward(grad) if need_grad_x else None


def test_modules_of_ones_own():
    model = nn.Sequential(Residual(), Residual())
    assert [name for name, _ in model.named_parameters()] == [
        f"{i}.{name}" for i in range(2) for name in ("scale", "conv.weight", "conv.bias")
    ]
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4))
    y = model(x)
    grad_x = model.backward(np.ones_like(y))
    step = 1e-6
    for at in [(0, 0, 1, 2), (0, 1, 3, 3)]:
        moved = x.copy()
        moved[at] += step
        assert np.sum(model.eval()(moved) - model(x)) / step == pytest.approx(grad_x[at], rel=1e-4)


def test_state_dict_has_pytorchs_names_in_the_order_of_parameters():
    model = network()
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "5.weight", "5.bias"]
    assert [name for name, _ in model.named_parameters()] == list(state)
    for array, parameter in zip(state.values(), model.parameters(), strict=True):
        np.testing.assert_array_equal(array, parameter.data)


def test_state_dict_is_a_copy_and_loading_copies():
    one, two = network(seed=1), network(seed=2)
    state = one.state_dict()
    one[0].weight.data[...] = 7
    assert not np.any(state["0.weight"] == 7)
    assert two.load_state_dict(state) == ([], [])
    state["0.weight"][...] = 8
    assert not np.any(two[0].weight.data == 8)


def test_round_trip_gives_the_same_outputs():
    one, two = network(seed=1).eval(), network(seed=2).eval()
    x = images()
    assert not np.array_equal(one(x), two(x))
    two.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one(x), two(x))


def test_a_shared_parameter_is_one_parameter_with_two_names():
    model = nn.Sequential(nn.Linear(3, 3, rng=np.random.default_rng(0)), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_loading_converts_the_dtype():
    model = network(np.float32)
    state = network(np.float64, seed=3).state_dict()
    model.load_state_dict(state)
    assert model[0].weight.dtype == np.float32
    np.testing.assert_array_equal(model[0].weight.data, state["0.weight"].astype(np.float32))


def change(**arrays):
    def apply(state):
        for name, array in arrays.items():
            name = name.replace("_", ".")
            if array is None:
                del state[name]
            else:
                state[name] = array

    return apply


BAD_STATES = {
    "missing": (change(**{"5_bias": None}), ShapeError, r"missing: 5\.bias"),
    "unexpected": (change(**{"9_bias": np.ones(3)}), ShapeError, r"unexpected: 9\.bias"),
    "both": (change(**{"0_bias": None, "x": np.ones(1)}), ShapeError, r"missing: 0\.bias; unexpected: x"),
    "shape": (change(**{"0_bias": np.ones(4)}), ShapeError, r"0\.bias has shape \(4,\), expected \(3,\)"),
    "integers": (change(**{"0_bias": np.ones(3, int)}), TypeError, r"0\.bias must be an array of floats"),
    "objects": (change(**{"0_bias": np.array([None] * 3)}), TypeError, r"0\.bias must be an array of floats"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(case):
    damage, error, message = BAD_STATES[case]
    model = network(seed=1)
    before = model.state_dict()
    state = network(seed=2).state_dict()
    damage(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_what_is_there():
    model = network(seed=1)
    state = {"0.bias": np.full(3, 0.5, np.float32), "more": np.ones(2)}
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["0.weight", "5.weight", "5.bias"]
    assert result.unexpected_keys == ["more"]
    np.testing.assert_array_equal(model[0].bias.data, 0.5)
    with pytest.raises(ShapeError, match=r"0\.bias"):
        model.load_state_dict({"0.bias": np.ones(9)}, strict=False)


def test_parameter_repr_and_sizes():
    parameter = nn.Linear(3, 2).weight
    assert (parameter.shape, parameter.size, parameter.dtype) == ((2, 3), 6, np.float32)
    assert repr(parameter) == "Parameter of shape (2, 3), float32"


# -- Sequential as a container -----------------------------------------------------------------------------------------


def test_sequential_is_a_sequence():
    model = network()
    assert len(model) == 6
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "ReLU", "MaxPool2d", "Dropout", "Flatten", "Linear"]
    assert model[-1] is model[5]
    front = model[:3]
    assert isinstance(front, nn.Sequential)
    assert list(front) == list(model)[:3]
    with pytest.raises(IndexError):
        model[6]
    assert len(nn.Sequential()) == 0
    assert model.append(nn.ReLU()) is model
    assert len(model) == 7


def test_an_empty_sequential_is_the_identity():
    model, x = nn.Sequential(), np.ones((2, 2))
    assert model(x) is x
    assert model.backward(x) is x


def test_sequential_refuses_what_is_no_module_and_the_same_layer_twice():
    with pytest.raises(TypeError, match="layer 1 must be a Module"):
        nn.Sequential(nn.ReLU(), np.tanh)
    relu = nn.ReLU()
    with pytest.raises(ValueError, match="same ReLU object"):
        nn.Sequential(relu, nn.Linear(2, 2), relu)
    with pytest.raises(ValueError, match="same ReLU object"):
        nn.Sequential(relu, nn.Sequential(nn.Linear(2, 2), relu))


def test_repr_is_pytorchs():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, groups=1),
        nn.Sequential(nn.Conv2d(8, 8, (3, 1), 2, "valid", dilation=2, groups=2), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.AvgPool2d((2, 1), stride=1),
        nn.Dropout(0.25),
        nn.Dropout2d(),
        nn.Flatten(),
        nn.Linear(4, 2, bias=False),
        nn.Softmax(dim=1),
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))\n"
        "  (1): Sequential(\n"
        "    (0): Conv2d(8, 8, kernel_size=(3, 1), stride=(2, 2), padding='valid', dilation=(2, 2), groups=2)\n"
        "    (1): ReLU()\n"
        "  )\n"
        "  (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        "  (3): AvgPool2d(kernel_size=(2, 1), stride=1, padding=0)\n"
        "  (4): Dropout(p=0.25)\n"
        "  (5): Dropout2d(p=0.5)\n"
        "  (6): Flatten(start_dim=1, end_dim=-1)\n"
        "  (7): Linear(in_features=4, out_features=2, bias=False)\n"
        "  (8): Softmax(dim=1)\n"
        ")"
    )


@pytest.mark.parametrize("training", [True, False])
def test_sequential_gives_the_bits_of_the_layers_one_by_one(training):
    """ReLU may work in place inside a Sequential: nobody can tell, and the caller's arrays stay as they were."""
    rng = np.random.default_rng(3)
    layers = [
        nn.ReLU(), nn.Conv2d(2, 20, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(20 * 4 * 4, 6, rng=rng), nn.ReLU(),
    ]  # fmt: skip
    model = nn.Sequential(*layers)
    model.train(training)
    x = rng.standard_normal((3, 2, 8, 8), dtype=np.float32)
    x[0, 0, 3, 3] = np.nan
    x[1] = np.round(x[1])  # windows with ties
    x_before = x.copy()
    grad_y = rng.standard_normal((3, 6), dtype=np.float32)
    grad_before = grad_y.copy()

    y = model(x)
    one_by_one = x
    for layer in layers:
        one_by_one = layer.forward(one_by_one)
    np.testing.assert_array_equal(y, one_by_one)
    np.testing.assert_array_equal(x, x_before)
    if not training:
        return

    grad = grad_y
    for layer in reversed(layers):
        grad = layer.backward(grad)
    separate = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    model(x)
    grad_x = model.backward(grad_y)
    np.testing.assert_array_equal(grad_x, grad)
    for parameter, expected in zip(model.parameters(), separate, strict=True):
        np.testing.assert_array_equal(parameter.grad, expected)
    np.testing.assert_array_equal(grad_y, grad_before)
    np.testing.assert_array_equal(x, x_before)
