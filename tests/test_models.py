"""The named networks: layers, shapes, numbers of parameters, recipes."""

import numpy as np
import pytest

from fastconv import models, nn, optim, schedules

PARAMETERS = {"ann": 31_760, "scratch": 13_610, "keras": 225_034, "dropout": 21_840, "cnn": 421_642, "fast": 215_194}
LAYERS = {
    "ann": "Flatten Linear ReLU Linear",
    "scratch": "Conv2d MaxPool2d Flatten Linear",
    "keras": "Conv2d ReLU MaxPool2d Conv2d ReLU MaxPool2d Flatten Linear ReLU Linear",
    "dropout": "Conv2d MaxPool2d ReLU Conv2d Dropout2d MaxPool2d ReLU Flatten Linear ReLU Dropout Linear",
    "cnn": "Conv2d ReLU MaxPool2d Conv2d ReLU MaxPool2d Dropout Flatten Linear ReLU Linear",
    "fast": "Conv2d MaxPool2d ReLU Conv2d MaxPool2d ReLU Flatten Linear ReLU Linear",
}


def family(layer):
    """The name of the layer's public class."""
    return next(kind.__name__ for kind in type(layer).__mro__ if not kind.__name__.startswith("_"))


def test_the_names():
    assert models.names() == tuple(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_layers_shapes_and_parameters(name, dtype):
    model = models.build(name, rng=0, dtype=dtype)
    assert " ".join(family(layer) for layer in model) == LAYERS[name]
    assert sum(parameter.size for parameter in model.parameters()) == PARAMETERS[name]
    x = np.random.default_rng(0).random((3, *models.INPUT_SHAPE)).astype(dtype)
    y = model(x)
    assert (y.shape, y.dtype) == ((3, models.CLASSES), dtype)
    assert model.backward(np.ones_like(y)).shape == x.shape
    for parameter in model.parameters():
        assert parameter.grad.shape == parameter.shape
        assert np.any(parameter.grad)
    assert model(x[:0]).shape == (0, models.CLASSES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_one_seed_makes_one_network(name):
    one, two, other = (models.build(name, rng=seed) for seed in (3, np.random.default_rng(3), 4))
    x = np.random.default_rng(0).random((2, *models.INPUT_SHAPE), np.float32)
    np.testing.assert_array_equal(one(x), two(x))  # with the same dropout
    assert not np.array_equal(one(x), other(x))
    assert not np.array_equal(models.build(name)[-1].weight.data, models.build(name)[-1].weight.data)


def test_each_dropout_has_its_own_generator():
    layers = [layer for layer in models.build("dropout", rng=0) if isinstance(layer, nn.Dropout)]
    assert len(layers) == 2
    assert layers[0].rng.random() != layers[1].rng.random()


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_recipe_can_be_followed(name):
    recipe, model = models.recipe(name), models.build(name, rng=0)
    optimizer = recipe.make_optimizer(model.parameters())
    schedule = recipe.make_schedule(optimizer, 10)
    x = np.random.default_rng(0).integers(0, 256, (recipe.batch_size, 1, 28, 28)) * recipe.scale + recipe.offset
    loss = recipe.make_loss()
    assert np.isfinite(loss(model(x.astype(np.float32)), np.zeros(recipe.batch_size, int)))
    model.backward(loss.backward(), need_grad_x=False)
    optimizer.step()
    if schedule is not None:
        schedule.step()
        assert optimizer.lr == schedule.lr_at(1)


def test_the_recipes_that_networks_are_known_by():
    ann = models.recipe("ann")
    assert (ann.train_size, ann.batch_size, ann.optimizer, ann.lr, ann.epochs) == (1000, 1, "sgd", 0.005, 350)
    assert isinstance(ann.make_loss(), nn.OneHotSquaredError)
    scratch = models.recipe("scratch")
    assert (scratch.batch_size, scratch.optimizer, scratch.lr, scratch.offset) == (1, "sgd", 0.005, -0.5)
    cnn = models.recipe("cnn")
    assert (cnn.batch_size, cnn.optimizer, cnn.lr, cnn.scale, cnn.offset) == (128, "adam", 0.001, 1 / 255, 0)
    dropout = models.recipe("dropout")
    assert (dropout.batch_size, dropout.optimizer, dropout.lr) == (100, "adam", 0.001)
    assert (models.recipe("keras").batch_size, models.recipe("keras").optimizer) == (128, "adam")
    fast = models.recipe("fast")
    optimizer = fast.make_optimizer(models.build("fast").parameters())
    assert (fast.batch_size, fast.epochs, optimizer.lr, optimizer.betas) == (256, 1, 0.01, (0.7, 0.9))
    assert isinstance(fast.make_schedule(optimizer, 5), schedules.OneCycleLR)
    assert optimizer.betas == (0.7, 0.9)


def test_another_optimizer_has_its_own_defaults():
    recipe = models.recipe("fast")
    optimizer = recipe.make_optimizer(models.build("fast").parameters(), "sgd", lr=0.5)
    assert isinstance(optimizer, optim.SGD)
    assert optimizer.lr == 0.5
    with pytest.raises(ValueError, match="no optimiser 'lion'; expected one of sgd, adam, adamw"):
        recipe.make_optimizer(models.build("fast").parameters(), "lion")


def test_the_published_slip_of_ann():
    """Its backward passes the gradient through ReLU as if that were the identity; the forward is ReLU."""
    model = models.build("ann", rng=0)
    x = np.array([[-1, 2]], np.float32)
    np.testing.assert_array_equal(model[2](x), [[0, 2]])
    np.testing.assert_array_equal(model[2].backward(np.array([[3, 4]], np.float32)), [[3, 4]])
    for layer in (model[1], model[3]):
        assert abs(layer.weight.data).max() <= 0.1
        assert layer.bias is None


def test_names_that_do_not_exist():
    for call in (models.build, models.recipe):
        with pytest.raises(ValueError, match="no network 'resnet'; expected one of ann, scratch"):
            call("resnet")
        with pytest.raises(TypeError, match="must be a str"):
            call(3)


def in_pytorch(model, torch):
    """The same network in PyTorch; without dropout, whose random numbers are others'."""
    layers = []
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layers.append(
                torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding)
            )
        elif isinstance(layer, nn.Linear):
            layers.append(torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None))
        elif isinstance(layer, nn.MaxPool2d):
            layers.append(torch.nn.MaxPool2d(layer.kernel_size))
        elif isinstance(layer, nn.Dropout):
            layer.p = 0.0
            layers.append(torch.nn.Identity())
        else:
            layers.append(torch.nn.ReLU() if isinstance(layer, nn.ReLU) else torch.nn.Flatten())
    twin = torch.nn.Sequential(*layers).double()
    twin.load_state_dict({name: torch.tensor(array) for name, array in model.state_dict().items()})
    return twin


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "ann"])
def test_pytorch_gives_the_same_outputs_gradients_and_steps(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = models.build(name, rng=0, dtype=np.float64)
    twin = in_pytorch(model, torch)
    assert list(twin.state_dict()) == list(model.state_dict())
    rng = np.random.default_rng(1)
    loss, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters())
    twin_optimizer = torch.optim.Adam(twin.parameters())
    for _ in range(4):
        x, y = rng.random((5, *models.INPUT_SHAPE)), rng.integers(0, models.CLASSES, 5)
        scores, twin_scores = model(x), twin(torch.tensor(x))
        np.testing.assert_allclose(scores, twin_scores.detach().numpy(), rtol=1e-8, atol=1e-10)
        twin_loss = torch.nn.functional.cross_entropy(twin_scores, torch.tensor(y))
        assert loss(scores, y) == pytest.approx(twin_loss.item(), rel=1e-10)
        twin_optimizer.zero_grad()
        twin_loss.backward()
        model.backward(loss.backward(), need_grad_x=False)
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-7, atol=1e-12)
        optimizer.step()
        optimizer.zero_grad()
        twin_optimizer.step()
