"""`fastconv bench`: it measures the same results, and says so in a table or as JSON."""

import json

import numpy as np
import pytest

from fastconv import models, nn
from fastconv.cli import bench, main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A few calls of each are enough to see that it works."""
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    monkeypatch.setattr(bench, "PAUSE", 0.0)


def run(*arguments, status=0):
    assert main(["bench", *(str(argument) for argument in arguments)]) == status


@pytest.mark.parametrize("layer", bench.LAYERS, ids=lambda layer: layer.name)
def test_both_sides_compute_the_same(layer):
    for name, ours, numpys in bench._passes(layer, 3):
        fast, plain = ours(), numpys()
        if isinstance(fast[0], tuple):  # a pool, with its indices
            fast = fast[0][:1]
        assert len(fast) == len(plain)
        for a, b in zip(fast, plain, strict=True):
            assert a.shape == b.shape, name
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layer", bench.LAYERS, ids=lambda layer: layer.name)
def test_layers_are_those_of_the_networks(layer):
    net, kind, number = layer.name.split()
    x, seen = np.zeros((1, *models.INPUT_SHAPE), np.float32), 0
    for module in models.build(net, 0).eval():
        if isinstance(module, nn.Conv2d if kind == "conv" else nn.MaxPool2d):
            seen += 1
            if seen == int(number):
                break
        x = module(x)
    assert x.shape[1:] == layer.input_shape
    if layer.filters is not None:
        filters, size, padding = layer.filters
        assert module.weight.shape == (filters, layer.input_shape[0], size, size)
        assert module(x).shape == (1, filters, *(extent + 2 * padding - size + 1 for extent in x.shape[2:]))


def test_table(capsys):
    run("--batch-size", 2, "--threads", 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "batches of 2 images, float32, 1 thread; milliseconds"
    assert lines[1].split() == ["layer", "pass", "fastconv", "NumPy", "ratio"]
    assert len(lines) == 2 + 2 * len(bench.LAYERS) + 1
    for line in lines[2:-1]:
        *_, name, fast, plain, ratio = line.split()
        assert name in ("forward", "backward")
        assert float(fast) > 0
        assert float(plain) > 0
        assert ratio.endswith("x")
    assert lines[-1].startswith("geometric mean of the ratios: ")


def test_json(capsys):
    run("--batch-size", 2, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["batch_size"] == 2
    assert [row["pass"] for row in found["rows"]] == ["forward", "backward"] * len(bench.LAYERS)
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["numpy"] / row["fastconv"])
    ratios = [row["ratio"] for row in found["rows"]]
    assert found["geometric_mean_ratio"] == pytest.approx(np.exp(np.mean(np.log(ratios))))


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--threads", "x"], ["extra"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err
