"""`fastconv compare`: two networks on the same few images."""

import sys

import numpy as np
import pytest

from fastconv import data, plots
from fastconv.cli import compare, main


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, no MNIST on the machine, and few test images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setattr(compare, "DIGITS_SIZE", 6 * 1800)


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def run(*arguments, status=0):
    assert main(["compare", *(str(argument) for argument in arguments)]) == status


def test_compare(matplotlib, tmp_path, capsys):
    run("--data", "digits", "--train-size", 200, "--ann-epochs", 30, "--cnn-epochs", 12)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "200 training images and 300 test images of digits"
    assert lines[1].split() == ["network", "parameters", "epochs", "training", "test", "time"]
    ann, cnn = (line.split() for line in lines[2:4])
    assert ann[:3] == ["ann", "31,760", "30"]
    assert cnn[:3] == ["cnn", "421,642", "12"]
    assert float(ann[3]) > float(ann[5]) + 10  # learned by heart
    assert float(cnn[5]) > float(ann[5])  # the point of it
    assert lines[4] == "picture: compare.png"
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"
    assert "ann: two linear layers, 30 epochs" in err


def test_training_accuracy_is_measured_after_the_epoch():
    images = data.digits(60)
    result = compare._train("ann", data.Splits(images, images, "digits", None), 2, progress=False)
    for entry in result.history:
        assert entry["train_accuracy"] == entry["validation_accuracy"]  # of the same images
        assert entry["train_loss"] == entry["validation_loss"]


def test_images_of_another_shape():
    rng = np.random.default_rng(0)
    images = data.ArrayDataset(rng.integers(0, 256, (20, 3, 16, 20), np.uint8), rng.integers(0, 3, 20))
    splits = data.Splits(images, images, "x", None, ("a", "b", "c"))
    for net in compare.EPOCHS:
        assert len(compare._train(net, splits, 1, progress=False).history) == 1


def test_both_see_the_same_images(monkeypatch, matplotlib):
    seen = []

    def train(net, splits, epochs, progress):
        train, test, *_ = splits
        seen.append((train.labels.tobytes(), train.images.tobytes(), test.images.tobytes()))
        entry = {"epoch": 1, "train_accuracy": 1.0, "validation_accuracy": 0.5}
        return compare._Result(net, 1, [entry], 0.1)

    monkeypatch.setattr(compare, "_train", train)
    run("--data", "digits", "--train-size", 100)
    assert seen[0] == seen[1]
    assert np.frombuffer(seen[0][0], np.int64).size == 100


def test_images_of_ones_own(matplotlib, tmp_path, capsys, rng):
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for name in ("cat", "dog", "owl"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(4):
            pillow.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(
                tmp_path / "pictures" / name / f"{i}.png"
            )
    run("--data", tmp_path / "pictures", "--ann-epochs", 1, "--cnn-epochs", 1, "--quiet")
    assert capsys.readouterr().out.startswith("9 training images and 3 test images of pictures\n")


def test_as_many_digits_as_were_asked_for(matplotlib, monkeypatch):
    sizes = []

    def train(net, splits, epochs, progress):
        sizes.append(len(splits.train))
        return compare._Result(net, 1, [{"epoch": 1, "train_accuracy": 1.0, "validation_accuracy": 0.5}], 0.1)

    monkeypatch.setattr(compare, "_train", train)
    run("--data", "digits", "--train-size", 2500)
    assert sizes == [2500, 2500]


@pytest.mark.parametrize(("out", "words"), [("x.jpg", "ends in .png"), ("no/x.png", "no folder")])
def test_what_is_refused(matplotlib, out, words, capsys):
    run("--out", out, status=1)
    assert words in capsys.readouterr().err


def test_without_matplotlib(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run(status=1)
    assert "matplotlib, which is not installed" in capsys.readouterr().err


def test_the_picture(matplotlib):
    history = [{"epoch": i, "train_accuracy": 1 - 0.3 / i, "validation_accuracy": 0.7} for i in range(1, 6)]
    one, two = plots.comparison([("one", history), ("two", history)]).axes
    assert (one.get_title(), two.get_title()) == ("one", "two")
    assert [line.get_label() for line in one.lines] == ["training images: 94.0 %", "test images: 70.0 %"]
