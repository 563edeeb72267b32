"""A residual network in plain PyTorch and here, from the same weights: outputs, gradients and running statistics agree
through twenty steps of SGD with momentum."""

import numpy as np
import pytest

from fastconv import models, nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
tnn, functional = torch.nn, torch.nn.functional

pytestmark = pytest.mark.peer


class TorchBlock(tnn.Module):
    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(channels)
        self.conv2 = tnn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or before != channels:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(before, channels, 1, stride, bias=False), tnn.BatchNorm2d(channels)
            )

    def forward(self, x):
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(inner + (x if self.downsample is None else self.downsample(x)))


class TorchResNet(tnn.Module):
    def __init__(self, blocks, channels, in_channels, num_classes):
        super().__init__()
        self.conv1 = tnn.Conv2d(in_channels, channels[0], 3, 1, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(channels[0])
        before, self.stages = channels[0], []
        for stage, (count, width) in enumerate(zip(blocks, channels, strict=True)):
            layers = []
            for i in range(count):
                layers.append(TorchBlock(before, width, 2 if stage and not i else 1))
                before = width
            setattr(self, f"layer{stage + 1}", tnn.Sequential(*layers))
            self.stages.append(f"layer{stage + 1}")
        self.fc = tnn.Linear(before, num_classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def pair(dtype, blocks=(2, 1), channels=(6, 8), in_channels=2):
    """The same network twice."""
    torch.manual_seed(5)
    theirs = TorchResNet(blocks, channels, in_channels, 10).to(torch.float64 if dtype == np.float64 else torch.float32)
    ours = nn.ResNet(blocks, channels, in_channels, dtype=dtype)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    return ours, theirs


def close(ours, theirs, tolerance):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.max(abs(ours - theirs)) <= tolerance * max(np.max(abs(theirs)), 1e-3)


def test_names_are_pytorchs():
    ours, theirs = pair(np.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_buffers()] == [name for name, _ in theirs.named_buffers()]
    small = TorchResNet((1, 1, 1), (16, 32, 64), 1, 10)
    assert list(models.resnet_small().state_dict()) == list(small.state_dict())


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-2)], ids=["f64", "f32"])
def test_twenty_steps_of_training(dtype, tolerance):
    ours, theirs = pair(dtype)
    loss, optimizer = nn.CrossEntropyLoss(), optim.SGD(ours.parameters(), lr=0.05, momentum=0.9)
    their_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(11)
    for _ in range(20):
        x, target = rng.standard_normal((8, 2, 12, 10)).astype(dtype), rng.integers(0, 10, 8)
        their_x = torch.tensor(x, requires_grad=True)
        their_y = theirs(their_x)
        their_optimizer.zero_grad()
        their_loss = functional.cross_entropy(their_y, torch.tensor(target))
        their_loss.backward()
        y = ours(x)
        close(y, their_y, tolerance)
        assert loss(y, target) == pytest.approx(their_loss.item(), rel=tolerance, abs=tolerance)
        optimizer.zero_grad()
        grad_x = ours.backward(loss.backward())
        close(grad_x, their_x.grad, tolerance)
        for (name, parameter), (their_name, their_parameter) in zip(
            ours.named_parameters(), theirs.named_parameters(), strict=True
        ):
            assert name == their_name
            close(parameter.grad, their_parameter.grad, tolerance)
        optimizer.step()
        their_optimizer.step()
    state = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert state[name] == tensor.item() == 20
        else:
            close(state[name], tensor, tolerance)
    x = rng.standard_normal((3, 2, 12, 10)).astype(dtype)
    with torch.no_grad():
        close(ours.eval()(x), theirs.eval()(torch.tensor(x)), tolerance)
