"""The named networks built anew in PyTorch, with torch.nn alone: same outputs, gradients and twenty training steps.

PyTorch's weights come into fastconv through `load_state_dict`, under PyTorch's names.  Each network is trained as its
recipe says: its optimiser, its settings and learning rate, its schedule's first steps.  Dropout is off (p = 0) in
training, and in evaluation by `eval()`.  In float64 all agree to nine digits.  In float32 the two libraries add up in
different orders, and training amplifies that: outputs and gradients of the first step agree to 1e-4 of their largest,
and after twenty steps the losses to 1e-2 and the parameters to 2e-2 of theirs.
"""

import numpy as np
import pytest

from fastconv import models, nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
tnn = torch.nn

pytestmark = pytest.mark.peer
STEPS = 20
BATCH = {"ann": 1, "scratch": 1}  # as their recipes; the others take some of their batch


class PassThroughReLU(torch.autograd.Function):
    """ReLU whose gradient is that of the identity: what the network `ann` is known by (models._PassThroughReLU)."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad_y):
        return grad_y


class AnnReLU(tnn.Module):
    def forward(self, x):
        return PassThroughReLU.apply(x)


def ann():
    return tnn.Sequential(tnn.Flatten(), tnn.Linear(784, 40, bias=False), AnnReLU(), tnn.Linear(40, 10, bias=False))


def scratch():
    return tnn.Sequential(tnn.Conv2d(1, 8, 3), tnn.MaxPool2d(2), tnn.Flatten(), tnn.Linear(1352, 10))


def keras():
    return tnn.Sequential(
        tnn.Conv2d(1, 32, 3), tnn.ReLU(), tnn.MaxPool2d(2),
        tnn.Conv2d(32, 64, 3), tnn.ReLU(), tnn.MaxPool2d(2),
        tnn.Flatten(), tnn.Linear(1600, 128), tnn.ReLU(), tnn.Linear(128, 10),
    )  # fmt: skip


def dropout():
    return tnn.Sequential(
        tnn.Conv2d(1, 10, 5), tnn.MaxPool2d(2), tnn.ReLU(),
        tnn.Conv2d(10, 20, 5), tnn.Dropout2d(0.5), tnn.MaxPool2d(2), tnn.ReLU(),
        tnn.Flatten(), tnn.Linear(320, 50), tnn.ReLU(), tnn.Dropout(0.5), tnn.Linear(50, 10),
    )  # fmt: skip


def cnn():
    return tnn.Sequential(
        tnn.Conv2d(1, 32, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2),
        tnn.Conv2d(32, 64, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Dropout(0.25),
        tnn.Flatten(), tnn.Linear(3136, 128), tnn.ReLU(), tnn.Linear(128, 10),
    )  # fmt: skip


def fast():
    return tnn.Sequential(
        tnn.Conv2d(1, 24, 5), tnn.MaxPool2d(2), tnn.ReLU(),
        tnn.Conv2d(24, 32, 3), tnn.MaxPool2d(2), tnn.ReLU(),
        tnn.Flatten(), tnn.Linear(800, 256), tnn.ReLU(), tnn.Linear(256, 10),
    )  # fmt: skip


NETWORKS = {builder.__name__: builder for builder in (ann, scratch, keras, dropout, cnn, fast)}
LENGTH = 1000  # steps of the run that the schedules think they are in


def twins(name, dtype):
    """PyTorch's network, its weights from PyTorch's seed, and fastconv's with the same weights."""
    torch.manual_seed(len(name))
    theirs = NETWORKS[name]().to(torch.float64 if dtype == np.float64 else torch.float32)
    if name == "ann":
        for parameter in theirs.parameters():
            tnn.init.uniform_(parameter, -0.1, 0.1)
    ours = models.build(name, rng=1, dtype=dtype)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    loaded = ours.load_state_dict(state)
    assert loaded == ([], [])
    return ours, theirs


def without_dropout(ours, theirs):
    """p = 0, in training mode."""
    for layer in ours:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    for layer in theirs:
        if isinstance(layer, tnn.Dropout | tnn.Dropout2d):
            layer.p = 0.0
    return ours, theirs


def batches(name, dtype, count=STEPS):
    """(x, y) as the recipe scales them: pictures with dark ground, as MNIST's, and a pattern for each class."""
    rng, recipe = np.random.default_rng(3), models.recipe(name)
    size = BATCH.get(name, 12)
    patterns = rng.integers(0, 256, (10, 1, 28, 28)) * (rng.random((10, 1, 28, 28)) < 0.2)
    for _ in range(count):
        y = rng.integers(0, 10, size)
        pixels = np.clip(patterns[y] + rng.normal(0, 20, (size, 1, 28, 28)), 0, 255)
        yield (pixels * recipe.scale + recipe.offset).astype(dtype), y


def their_loss(name):
    if models.recipe(name).loss == "cross-entropy":
        return tnn.functional.cross_entropy
    return lambda pred, y: ((pred - tnn.functional.one_hot(y, 10)) ** 2).sum() / (2 * len(y))


def their_optimizer(name, network):
    recipe = models.recipe(name)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(network.parameters(), lr=recipe.lr, **recipe.optimizer_options)


def their_schedule(name, optimizer):
    """PyTorch's own where it has it; None for a constant rate (the tail is constant for the first steps)."""
    if models.recipe(name).schedule == "one-cycle":
        lr = models.recipe(name).lr
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, LENGTH, cycle_momentum=False)
    assert models.recipe(name).schedule in ("constant", "tail")
    return None


def assert_close(ours, theirs, tolerance, what):
    """Each element, relative to the largest one."""
    theirs = theirs.detach().numpy() if torch.is_tensor(theirs) else np.asarray(theirs)
    scale = max(float(abs(theirs).max(initial=0)), 1e-30)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=what)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_in_evaluation(name, dtype):
    ours, theirs = twins(name, dtype)
    ours.eval()
    theirs.eval()
    for x, _ in batches(name, dtype, 3):
        assert_close(ours(x), theirs(torch.tensor(x)), 1e-9 if dtype == np.float64 else 1e-5, "scores")


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_gradients_and_twenty_steps(name, dtype):
    ours, theirs = without_dropout(*twins(name, dtype))
    recipe = models.recipe(name)
    loss, optimizer = recipe.make_loss(), recipe.make_optimizer(ours.parameters())
    schedule = recipe.make_schedule(optimizer, LENGTH)
    twin_loss, twin_optimizer = their_loss(name), their_optimizer(name, theirs)
    twin_schedule = their_schedule(name, twin_optimizer)
    double = dtype == np.float64
    first, last, weights = (1e-9,) * 3 if double else (1e-4, 1e-2, 2e-2)

    for step, (x, y) in enumerate(batches(name, dtype)):
        twin_x = torch.tensor(x, requires_grad=True)
        scores, twin_scores = ours(x), theirs(twin_x)
        value, twin_value = loss(scores, y), twin_loss(twin_scores, torch.tensor(y))
        assert value == pytest.approx(twin_value.item(), rel=last if step else first, abs=1e-9 if double else 1e-5)
        twin_optimizer.zero_grad()
        twin_value.backward()
        grad_x = ours.backward(loss.backward())
        if double or step == 0:
            assert_close(scores, twin_scores, first, "scores")
            assert_close(grad_x, twin_x.grad, first * 10, "grad_x")
            for (key, own), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
                assert_close(own.grad, their.grad, first * 10, f"gradient of {key}, step {step}")
        assert optimizer.lr == pytest.approx(twin_optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        optimizer.zero_grad()
        twin_optimizer.step()
        for one in (schedule, twin_schedule):
            if one is not None:
                one.step()

    for (key, own), their in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == their[0]
        assert_close(own.data, their[1], weights * 10 if double else weights, key)
    # And back again, by the same names.
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})


def test_every_named_network_of_the_contract_is_here():
    assert set(NETWORKS) <= set(models.names())
    assert set(NETWORKS) == {"ann", "scratch", "keras", "dropout", "cnn", "fast"}
