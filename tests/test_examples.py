"""The examples run, learn, and stay short."""

import inspect

import pytest

from fastconv import data
from fastconv.examples import train_mnist


@pytest.fixture
def digits_instead(monkeypatch):
    """No MNIST in the tests: the package's own digits stand in for it."""
    monkeypatch.setattr(data, "load_mnist", lambda data_dir: (data.digits(2000), data.digits(200, split="test")))


def test_train_mnist_learns(digits_instead, capsys):
    assert train_mnist.main(epochs=2, batch_size=50) > 0.5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]


def test_train_mnist_is_about_forty_lines():
    lines = [line for line in inspect.getsource(train_mnist).splitlines() if line.strip()]
    assert len(lines) <= 45
