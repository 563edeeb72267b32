"""`fastconv show`, `fastconv.plots`, and the curves and history that `fastconv train` leaves."""

import json
import sys

import numpy as np
import pytest

from fastconv import data, models, nn, plots, serialization
from fastconv.cli import main
from fastconv.cli._last_model import remember

SMALL = ["train", "--data", "digits", "--train-size", "300", "--net", "dropout", "--batch-size", "50", "--quiet"]
INFO = serialization.ModelInfo("fast", "digits", 1 / 255, 0.0)


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, no MNIST on the machine, and few test images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setattr("fastconv.cli.evaluate.DIGITS_SIZE", 6 * 250)


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "some.npz"
    serialization.save_model(path, models.build("fast", rng=0), INFO)
    return path


def run(*arguments, status=0):
    assert main([str(argument) for argument in arguments]) == status


def png_size(path):
    """Width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


# -- train -------------------------------------------------------------------------------------------------------------


def test_train_leaves_a_history_and_curves(tmp_path, matplotlib, capsys):
    run(*SMALL, "--epochs", 2)
    folder = tmp_path / "models"
    found = json.loads((folder / "dropout-digits.history.json").read_text())
    assert (found["net"], found["dataset"]) == ("dropout", "digits")
    assert [entry["epoch"] for entry in found["epochs"]] == [1, 2]
    assert {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"} < set(found["epochs"][0])
    assert png_size(folder / "dropout-digits.curves.png")[0] > 800
    assert "history: models/dropout-digits.history.json, drawn in models/dropout-digits.curves.png" in (
        capsys.readouterr().out
    )
    run(*SMALL, "--epochs", 1)  # one epoch makes no curve, and the one of another run must not stay
    assert not (folder / "dropout-digits.curves.png").exists()


def test_train_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(*SMALL, "--epochs", 2)
    assert sorted(path.suffix for path in (tmp_path / "models").glob("*.history.json")) == [".json"]
    assert not list((tmp_path / "models").glob("*.png"))


# -- show --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["filters", "features", "confusion", "mistakes"])
def test_each_picture(what, model, matplotlib, tmp_path, capsys):
    run("show", model, "--what", what, "--out", "picture.png")
    out, err = capsys.readouterr()
    assert out.startswith(f"model: {model} (fast, trained on digits)\n")
    assert out.endswith("picture: picture.png\n")
    assert err == ""
    width, height = png_size(tmp_path / "picture.png")
    assert 600 < width < 1500
    assert 200 < height < 2000
    if what in ("confusion", "mistakes"):
        assert "test accuracy: " in out
        assert "of 250 images of digits" in out


def test_the_last_model_is_shown(model, matplotlib, tmp_path, capsys):
    remember(model)
    run("show")
    assert "picture: some-filters.png" in capsys.readouterr().out
    assert png_size(tmp_path / "some-filters.png")


def test_an_image_file(model, matplotlib, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    image.fromarray(data.digits(1).images[0]).resize((90, 90)).save("seven.png")
    run("show", model, "--what", "features", "--image", "seven.png")
    assert "seven.png: " in capsys.readouterr().out
    assert png_size(tmp_path / "some-features.png")
    image.new("L", (50, 50)).save("empty.png")
    run("show", model, "--what", "features", "--image", "empty.png", status=1)
    assert "nothing on this image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image", "3"], "--image goes with --what features"),
        (["--out", "picture.jpg"], "ends in .png"),
        (["--out", "no/where.png"], "no folder"),
        (["--what", "features", "--image", "250"], "test images 0 to 249, got 250"),
        (["--what", "features", "--image", "nothing.png"], "nothing.png"),
    ],
)
def test_what_is_refused(arguments, words, model, matplotlib, tmp_path, capsys):
    run("show", model, *arguments, status=1)
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_without_a_model(matplotlib, capsys):
    run("show", status=1)
    assert "no model has been trained here yet" in capsys.readouterr().err


def test_without_matplotlib(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run("show", model, status=1)
    assert "matplotlib, which is not installed (pip install 'fastconv[train]')" in capsys.readouterr().err


# -- the functions -----------------------------------------------------------------------------------------------------


HISTORY = [
    {"epoch": i, "train_loss": 1 / i, "train_accuracy": 1 - 0.5 / i, "validation_loss": 1.1 / i} for i in range(1, 5)
]


def test_curves(matplotlib):
    loss, accuracy = plots.curves(HISTORY, "a title").axes
    assert [line.get_label() for line in loss.lines] == ["training", "held out"]
    assert [line.get_label() for line in accuracy.lines] == ["training"]
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50, 75, 100 - 50 / 3, 87.5])
    with pytest.raises(ValueError, match="empty"):
        plots.curves([])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_filters_of_any_network(matplotlib, channels):
    two = nn.Sequential(nn.Conv2d(channels, 5, 5), nn.ReLU(), nn.Conv2d(5, 40, 3))
    assert len(plots.filters(two).axes) == 2
    assert len(plots.filters(two[:1]).axes) == 1
    assert len(plots.filters(models.resnet_small(channels)).axes) == 2
    assert len(plots.filters(models.build("ann"), models.INPUT_SHAPE).axes) == 1
    with pytest.raises(ValueError, match="no convolution"):
        plots.filters(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("net", models.names())
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 24, 40)])
def test_pictures_of_every_network(matplotlib, tmp_path, net, shape):
    model = models.build(net, 0, input_shape=shape, classes=3).eval()
    plots.save(plots.filters(model, shape), tmp_path / "filters.png", dpi=20)
    x = np.random.default_rng(0).random((1, *shape), np.float32)
    figure = plots.features(model, x, np.array([0.2, 0.7, 0.1]), ["one", "two", "three"])
    plots.save(figure, tmp_path / "features.png", dpi=20)
    maps = sum(layer(np.zeros((1, *shape), np.float32)).ndim == 4 for layer in model[:1] if net != "ann")
    assert len(figure.axes) >= 2 + maps
    empty = plots.features(model, np.zeros_like(x), np.full(3, 1 / 3), ["a", "b", "c"])  # nothing to see anywhere
    plots.save(empty, tmp_path / "empty.png", dpi=20)


def test_confusion(matplotlib):
    axes = plots.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), ["a", "b", "c"]).axes[0]
    assert sorted((text.get_position(), text.get_text()) for text in axes.texts) == [
        ((0, 0), "1"),
        ((1, 0), "1"),  # column 1: predicted; row 0: true
        ((1, 1), "1"),
        ((2, 2), "1"),
    ]
    plots.confusion(np.array([0]), np.array([0]), ["a", "a very long name"])  # nothing wrong at all


def test_mistakes_the_worst_first(matplotlib):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.0, 1.0]])
    figure = plots.mistakes(np.zeros((4, 6, 6), np.uint8), np.array([1, 0, 0, 1]), probabilities, ["x", "y"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["says x: 90.0 %", "says y: 80.0 %"]
    none = plots.mistakes(np.zeros((1, 3, 6, 6), np.float32), np.array([1]), probabilities[3:], ["x", "y"])
    assert none.axes[0].texts[0].get_text() == "no mistakes"


def test_pictures_are_written_whole_or_not_at_all(matplotlib, tmp_path):
    figure = plots.curves(HISTORY)
    plots.save(figure, tmp_path / "one.png")
    plots.save(figure, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with pytest.raises(OSError, match="picture"):
        plots.save(figure, tmp_path / "no" / "picture.png")
    assert len(list(tmp_path.iterdir())) == 2
