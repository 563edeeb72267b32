"""Batch norm, global pools and residual blocks as layers: modes, buffers, gradients, saving."""

import copy

import numpy as np
import pytest

from fastconv import ShapeError, models, nn, ops, optim, serialization

rng = np.random.default_rng


def draw(*shape, dtype=np.float64, seed=0):
    return rng(seed).standard_normal(shape).astype(dtype)


def perturbed(model, seed=3):
    """Every parameter away from where it began, so that a gradient that is lost shows."""
    generator = rng(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * generator.standard_normal(parameter.shape)
    return model


MODELS = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3, dtype=np.float64), (4, 3, 3, 5)),
    "BatchNorm2d, plain": (lambda: nn.BatchNorm2d(3, affine=False, dtype=np.float64), (4, 3, 3, 5)),
    "BatchNorm2d, no bias": (lambda: nn.BatchNorm2d(3, bias=False, dtype=np.float64), (4, 3, 3, 5)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3, dtype=np.float64), (6, 3)),
    "BatchNorm1d, sequence": (lambda: nn.BatchNorm1d(3, dtype=np.float64), (4, 3, 5)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((2, None)), (2, 3, 5, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (2, 3, 5, 4)),
    "GlobalMaxPool2d": (nn.GlobalMaxPool2d, (2, 3, 5, 4)),
    "BasicBlock": (lambda: nn.BasicBlock(2, 2, dtype=np.float64, rng=rng(1)), (3, 2, 5, 4)),
    "BasicBlock, stride": (lambda: nn.BasicBlock(2, 3, 2, dtype=np.float64, rng=rng(1)), (3, 2, 5, 4)),
    "ResNet": (lambda: nn.ResNet((1, 2), (2, 3), 2, 4, dtype=np.float64, rng=rng(1)), (3, 2, 6, 5)),
    "BatchNorm2d, ReLU": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dtype=np.float64, rng=rng(1)), nn.BatchNorm2d(3, dtype=np.float64),
                              nn.ReLU(), nn.GlobalAvgPool2d()), (3, 2, 6, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_gradients_against_finite_differences(name):
    make, shape = MODELS[name]
    model, x = perturbed(make()), draw(*shape)
    grad_y = draw(*model(x).shape, seed=5)
    model.release()
    y = model(x)
    assert y.shape == grad_y.shape
    grad_x = model.backward(grad_y)
    arrays = [(x, grad_x), *((parameter.data, parameter.grad) for parameter in model.parameters())]
    step = 1e-6
    for array, grad in arrays:
        assert grad.shape == array.shape
        for at in rng(6).permutation(array.size)[:12]:
            position = np.unravel_index(at, array.shape)
            before, sides = array[position], []
            for value in (before + step, before - step):
                array[position] = value
                sides.append(np.sum(model(x) * grad_y))  # in training mode: statistics move with x
            array[position] = before
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(grad[position], rel=1e-5, abs=1e-6)


def test_running_statistics_and_modes(dtype):
    layer, x = nn.BatchNorm2d(3, momentum=0.25, dtype=dtype), draw(4, 3, 5, 6, dtype=dtype)
    before = layer.running_mean
    y = layer(x)
    np.testing.assert_array_equal(before, 0)  # what others hold is not written to
    np.testing.assert_allclose(layer.running_mean, 0.25 * x.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * x.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert layer.num_batches_tracked == 1
    assert layer.num_batches_tracked.dtype == np.int64
    state = layer.state_dict()
    right = ops.batch_norm(x, layer.running_mean, layer.running_var)
    np.testing.assert_array_equal(layer.eval()(x), right)
    assert layer._saved is None
    assert not np.array_equal(right, y)
    for name, array in layer.state_dict().items():  # eval mode learns nothing
        np.testing.assert_array_equal(array, state[name])
    layer.reset_parameters()
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, nn.BatchNorm2d(3).state_dict()[name])


def test_momentum_none_averages_over_all_batches():
    layer = nn.BatchNorm2d(2, momentum=None, dtype=np.float64)
    batches = [draw(3, 2, 4, 4, seed=i) + i for i in range(5)]
    for x in batches:
        layer(x)
    np.testing.assert_allclose(layer.running_mean, np.mean([x.mean((0, 2, 3)) for x in batches], 0))
    np.testing.assert_allclose(layer.running_var, np.mean([x.var((0, 2, 3), ddof=1) for x in batches], 0))


def test_without_running_statistics():
    layer, x = nn.BatchNorm1d(3, track_running_stats=False, dtype=np.float64), draw(5, 3)
    assert list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer(x), layer.eval()(x))


def test_a_refused_call_changes_nothing():
    layer = nn.BatchNorm2d(2)
    layer(draw(2, 2, 3, 3, dtype=np.float32))
    state = layer.state_dict()
    with pytest.raises(ShapeError, match="more than one value"):
        layer(np.ones((1, 2, 1, 1), np.float32))
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_buffers_are_state_but_no_parameters():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2))
    names = ["running_mean", "running_var", "num_batches_tracked"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.weight", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "1.weight", "1.bias", *(f"1.{name}" for name in names)]
    assert [name for name, _ in model.named_buffers()] == [f"1.{name}" for name in names]
    assert len(list(model.buffers())) == 3
    state = model.state_dict()
    state["1.running_mean"] += 1
    assert not model[1].running_mean.any()
    copied = copy.deepcopy(model)
    copied.load_state_dict(state)
    np.testing.assert_array_equal(copied[1].running_mean, 1)
    assert not model[1].running_mean.any()


def test_loading_buffers():
    layer = nn.BatchNorm2d(2)
    state = {name: array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int32)
             for name, array in layer.state_dict().items()}  # fmt: skip
    state["num_batches_tracked"][...] = 7
    layer.load_state_dict(state)
    assert layer.running_var.dtype == np.float32
    assert layer.num_batches_tracked.dtype == np.int64
    assert layer.num_batches_tracked == 7
    with pytest.raises(TypeError, match="num_batches_tracked must be an array of integers"):
        layer.load_state_dict({**state, "num_batches_tracked": np.array(7.0)})
    with pytest.raises(TypeError, match="running_mean must be an array of floats"):
        layer.load_state_dict({**state, "running_mean": np.array([1, 2])})
    with pytest.raises(ShapeError, match="missing: running_mean"):
        layer.load_state_dict({name: array for name, array in state.items() if name != "running_mean"})
    del state["num_batches_tracked"]  # files from before it was there
    assert layer.load_state_dict(state) == ([], [])
    assert layer.num_batches_tracked == 7


def test_registering_a_buffer_of_ones_own():
    layer = nn.Linear(2, 2)
    layer.register_buffer("seen", np.zeros((), np.int64))
    layer.register_buffer("nothing", None)
    assert list(layer.state_dict()) == ["weight", "bias", "seen"]
    layer.register_buffer("nothing", np.ones(2))  # again: a new value
    assert list(layer.state_dict()) == ["weight", "bias", "seen", "nothing"]
    assert list(nn.Linear(2, 2).state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_saving_and_loading(suffix, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    model = models.resnet_small(rng=0)
    x = draw(4, 1, 12, 12, dtype=np.float32)
    model(x)
    path = tmp_path / f"weights{suffix}"
    serialization.save_weights(path, model.state_dict())
    state, _ = serialization.load_weights(path)
    other = models.resnet_small(rng=1)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.eval()(x), model.eval()(x))
    assert other.bn1.num_batches_tracked == 1


def test_names_and_tree_of_a_residual_network():
    model = nn.ResNet((2, 1), (4, 8), 3, rng=rng(0))
    names = list(model.state_dict())
    assert names[:6] == ["conv1.weight", *(f"bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var",
                                                                      "num_batches_tracked"))]  # fmt: skip
    assert "layer1.1.conv2.weight" in names
    assert "layer1.0.downsample.0.weight" not in names
    assert "layer2.0.downsample.1.running_var" in names
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert not any(module.training for module in model.eval().modules())
    assert all(module.training for module in model.train().modules())
    assert "(layer1): Sequential(\n    (0): BasicBlock(\n      (conv1): Conv2d(" in repr(model)
    assert model.layer1[0].downsample is None
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_residual_network_learns(dtype):
    model = models.resnet_small(num_classes=3, rng=0, dtype=dtype)
    loss, optimizer = nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, target = draw(24, 1, 10, 10, dtype=dtype), np.arange(24) % 3
    x += target.reshape(-1, 1, 1, 1).astype(dtype) * (np.arange(10) < 4)
    losses = []
    for _ in range(15):
        losses.append(loss(model(x), target))
        assert model.backward(loss.backward(), need_grad_x=False) is None
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.2 * losses[0]
    assert (model.eval()(x).argmax(1) == target).mean() > 0.9


def test_one_forward_for_each_backward():
    block = nn.BasicBlock(2, 2)
    y = block(np.ones((2, 2, 4, 4), np.float32))
    block.backward(np.ones_like(y))
    with pytest.raises(RuntimeError, match=r"BasicBlock\.backward"):
        block.backward(np.ones_like(y))


def test_inputs_are_not_changed():
    block, x = nn.BasicBlock(2, 2), draw(2, 2, 4, 4, dtype=np.float32)
    kept, grad = x.copy(), draw(2, 2, 4, 4, dtype=np.float32, seed=1)
    kept_grad = grad.copy()
    block(x)
    block.backward(grad)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(grad, kept_grad)


def test_global_pools():
    x = draw(2, 3, 5, 7)
    np.testing.assert_allclose(nn.GlobalAvgPool2d()(x), x.mean((2, 3), keepdims=True))
    np.testing.assert_array_equal(nn.GlobalMaxPool2d()(x), x.max((2, 3), keepdims=True))
    np.testing.assert_array_equal(nn.GlobalMaxPool2d().eval()(x[0]), x[0].max((1, 2), keepdims=True))
