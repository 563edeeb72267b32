"""Fashion-MNIST, KMNIST, CIFAR-10 and folders of images, with small stand-ins in their formats."""

import hashlib
import os

import numpy as np
import pytest

from fastconv import ShapeError, data, models, serialization
from fastconv.cli import main
from fastconv.data import DataError, DatasetNotFoundError, idx_sets
from fastconv.data.cifar import RECORD, TEST, TRAIN, read_records
from fastconv.data.folders import folder_name


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, and no data set on the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    return tmp_path


def write_idx(folder, n=30, seed=0):
    """The four files, as MNIST, Fashion-MNIST and KMNIST have them."""
    folder.mkdir(parents=True)
    for prefix, split in (("train", "train"), ("t10k", "test")):
        images = data.digits(n, seed, split=split)
        header = np.array([0x803, n, 28, 28], ">i4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.images.tobytes())
        header = np.array([0x801, n], ">i4").tobytes()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + images.labels.astype(np.uint8).tobytes())
    return folder


def records(n, seed=0):
    """n records of CIFAR-10, and the images and labels in them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n, dtype=np.uint8)
    images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    return np.concatenate([labels[:, None], images.reshape(n, -1)], axis=1).tobytes(), images, labels


def write_cifar10(folder, n=8):
    folder.mkdir(parents=True)
    for i, name in enumerate((*TRAIN, TEST)):
        (folder / name).write_bytes(records(n, i)[0])
    return folder


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="pillow is not installed")


def write_images(folder, pillow, counts, colour=True, size=(20, 30)):
    """A folder for each class; the images of class i are of one colour, brighter for higher i."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((*size, 3), 40 + 60 * label + i % 7, np.uint8)
            if colour:
                pixels[..., 2] //= 2
            pillow.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


# -- Fashion-MNIST and KMNIST ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "load", "folders"),
    [
        ("fashion", data.load_fashion, ["fashion", "FashionMNIST/raw", "fashion-mnist"]),
        ("kmnist", data.load_kmnist, ["kmnist", "KMNIST/raw"]),
    ],
)
def test_sets_in_mnists_format(name, load, folders, tmp_path, monkeypatch):
    for i, place in enumerate(folders):
        write_idx(tmp_path / str(i) / place, seed=i)
        train, test = load(tmp_path / str(i))
        np.testing.assert_array_equal(train.images, data.digits(30, i).images)
        np.testing.assert_array_equal(test.labels, data.digits(30, i, split="test").labels)
        direct, _ = load(tmp_path / str(i) / place)
        np.testing.assert_array_equal(direct.images, train.images)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "0"))
    found = data.load(name)
    assert (found.name, found.notice, found.input_shape, len(found.classes)) == (name, None, (1, 28, 28), 10)
    monkeypatch.delenv("FASTCONV_DATA")
    write_idx(tmp_path / "cache" / "fastconv" / name, seed=9)
    np.testing.assert_array_equal(data.load(name).train.images, data.digits(30, 9).images)


def test_class_names():
    assert idx_sets.FASHION_CLASSES[0] == "T-shirt/top"
    assert idx_sets.FASHION_CLASSES[9] == "ankle boot"
    assert len(set(idx_sets.FASHION_CLASSES)) == len(set(idx_sets.KMNIST_CLASSES)) == 10


def test_no_set_is_passed_off_as_another(tmp_path, monkeypatch):
    folder = write_idx(tmp_path / "mnist")
    monkeypatch.setenv("FASTCONV_DATA", str(folder))  # files of the same names, but nobody said that they are Fashion's
    with pytest.raises(DatasetNotFoundError, match=r"FASTCONV_DATA.*put them in .*fashion"):
        data.load("fashion")
    digest = hashlib.sha256(data.digits(30, split="test").labels.astype(np.uint8)).hexdigest()
    monkeypatch.setattr(idx_sets, "_MNIST_TEST_LABELS", digest)
    with pytest.raises(DataError, match="these are the files of MNIST, not of KMNIST"):
        data.load_kmnist(folder)


def test_incomplete_and_damaged(tmp_path):
    folder = write_idx(tmp_path / "fashion")
    labels = folder / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="train-labels-idx1-ubyte"):
        data.load_fashion(folder)
    labels.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"missing: train-labels-idx1-ubyte\.gz"):
        data.load_fashion(folder)


# -- CIFAR-10 ----------------------------------------------------------------------------------------------------------


def test_cifar10(tmp_path, monkeypatch):
    folder = write_cifar10(tmp_path / "sets" / "cifar-10-batches-bin")
    for place in (folder, tmp_path / "sets"):
        train, test = data.load_cifar10(place)
        assert (train.images.shape, train.images.dtype) == ((40, 3, 32, 32), np.uint8)
        np.testing.assert_array_equal(train.images[8:16], records(8, 1)[1])
        np.testing.assert_array_equal(test.images, records(8, 5)[1])
        np.testing.assert_array_equal(test.labels, records(8, 5)[2])
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "sets"))
    found = data.load("cifar10")
    assert (found.name, found.input_shape, found.classes[3]) == ("cifar10", (3, 32, 32), "cat")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes, expected a multiple of 3,073"),
        (records(2)[0][:-1], "6,145 bytes"),
        (b"\x1f\x8b" + b"x" * 100, "must be unpacked first"),
        (records(2)[0][:RECORD] + b"\x0a" + records(1)[0][1:], "label 10 of image 1 is out of range"),
    ],
)
def test_damaged_records(content, words, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_records(path)


def test_records_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_records(tmp_path / "pipe")
    folder = write_cifar10(tmp_path / "cifar10")
    (folder / TRAIN[3]).unlink()
    with pytest.raises(DatasetNotFoundError, match=r"missing: data_batch_4\.bin"):
        data.load_cifar10(folder)
    with pytest.raises(DatasetNotFoundError, match=r"does not exist.*put them in .*cifar10.*cifar-10-binary"):
        data.load_cifar10(tmp_path / "nothing")


# -- folders -----------------------------------------------------------------------------------------------------------


def test_folder(pillow, tmp_path):
    folder = write_images(tmp_path / "my pets", pillow, {"cat": 10, "dog": 5, "emu": 2})
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / ".git").mkdir()
    train, test, classes = data.load_folder(folder, 16)
    assert classes == ("cat", "dog", "emu")
    assert train.images.shape == (8 + 4 + 1, 3, 16, 16)
    assert test.labels.tolist() == [0, 0, 1, 2]
    for part in (train, test):
        for image, label in part:
            assert 40 + 60 * label <= image[0].min() <= image[0].max() <= 47 + 60 * label
    again, _, _ = data.load_folder(folder, 16)
    np.testing.assert_array_equal(train.images, again.images)
    found = data.load(folder)
    assert (found.name, found.input_shape, found.classes) == ("my-pets", (3, 32, 32), classes)
    assert data.load(folder, image_size=(9, 7), channels=1).input_shape == (1, 9, 7)
    assert data.load(folder, seed=1).test.images.tobytes() != found.test.images.tobytes()


def test_grey_images_need_one_channel(pillow, tmp_path):
    folder = write_images(tmp_path / "grey", pillow, {"a": 3, "b": 3}, colour=False)
    train, _, _ = data.load_folder(folder, 8)
    assert train.images.shape == (4, 1, 8, 8)
    assert sorted({int(image[0, 0, 0]) for image, _ in train} - {40, 41, 42}) != []
    assert data.load_folder(folder, 8, channels=3)[0].images.shape == (4, 3, 8, 8)


def test_the_middle_is_kept(pillow, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "x" / name).mkdir(parents=True)
        pixels = np.zeros((10, 30), np.uint8)
        pixels[:, 10:20] = 255
        for i in range(2):
            pillow.fromarray(pixels).save(tmp_path / "x" / name / f"{i}.png")
    train, _, _ = data.load_folder(tmp_path / "x", 10)
    assert train.images.min() == 255


def test_train_and_test_folders(pillow, tmp_path):
    write_images(tmp_path / "x" / "train", pillow, {"a": 3, "b": 4})
    write_images(tmp_path / "x" / "test", pillow, {"b": 2, "a": 1})
    train, test, classes = data.load_folder(tmp_path / "x")
    assert (classes, sorted(train.labels.tolist()), test.labels.tolist()) == (("a", "b"), [0] * 3 + [1] * 4, [0, 1, 1])


def test_training_images_of_folders_come_in_mixed_order(pillow, tmp_path):
    """Else a network whose recipe does not shuffle would see one class after the other."""
    folder = write_images(tmp_path / "x", pillow, {"a": 20, "b": 20})
    labels = data.load_folder(folder)[0].labels
    assert labels.tolist() != sorted(labels)
    assert 4 < labels[:16].sum() < 12
    np.testing.assert_array_equal(data.load_folder(folder)[0].labels, labels)


def test_test_folders_that_will_not_do(pillow, tmp_path):
    write_images(tmp_path / "x" / "train", pillow, {"a": 3, "b": 4})
    write_images(tmp_path / "x" / "test", pillow, {"b": 2, "a": 1})
    (tmp_path / "x" / "test" / "c").mkdir()
    with pytest.raises(DatasetNotFoundError, match="c: has no images"):
        data.load_folder(tmp_path / "x")
    pillow.new("L", (3, 3)).save(tmp_path / "x" / "test" / "c" / "1.png")
    with pytest.raises(DataError, match="no training images of c"):
        data.load_folder(tmp_path / "x")


def test_folders_that_will_not_do(pillow, tmp_path):
    for counts, words in (({}, "no folders"), ({"a": 3}, "has one folder"), ({"a": 1, "b": 3}, "has one image")):
        folder = tmp_path / words
        folder.mkdir()
        write_images(folder, pillow, counts)
        with pytest.raises(DatasetNotFoundError, match=words):
            data.load_folder(folder)
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        data.load_folder(tmp_path / "nothing")
    folder = write_images(tmp_path / "good", pillow, {"a": 2, "b": 2})
    for size in (0, 513, (4, -1)):
        with pytest.raises(ValueError, match="size must be 1 to 512"):
            data.load_folder(folder, size)
    with pytest.raises(ValueError, match="channels must be"):
        data.load_folder(folder, channels=2)
    (folder / "a" / "000.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"000\.png"):
        data.load_folder(folder)
    with pytest.raises(ValueError, match="go with a folder"):
        data.load("digits", image_size=9)


def test_names_of_folders(tmp_path):
    assert folder_name("/a/my pets & co/") == "my-pets-co"
    assert folder_name("/") == "folder"
    assert len(folder_name("/a/" + "x" * 250)) == 50  # the model's file, its history and temporary files are named so


# -- networks for them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize(("shape", "classes"), [((3, 32, 32), 10), ((1, 17, 30), 3), ((2, 28, 28), 1)])
def test_networks_fit_images_and_classes(name, shape, classes):
    model = models.build(name, 0, input_shape=shape, classes=classes)
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    assert model(x).shape == (2, classes)
    assert sum(p.size for p in model.parameters()) == models.parameter_count(name, shape, classes)


def test_networks_that_do_not_fit():
    with pytest.raises(ShapeError, match="too small"):
        models.build("keras", input_shape=(1, 9, 28))
    for shape, classes in (((1, 28), 10), ((0, 28, 28), 10), ((1, 28, 28), 0)):
        with pytest.raises(ShapeError):
            models.build("cnn", input_shape=shape, classes=classes)


def test_a_file_cannot_ask_for_a_huge_network(tmp_path):
    info = serialization.ModelInfo("cnn", "x", 1.0, 0.0, (1, 40_000, 40_000))
    serialization.save_model(tmp_path / "x.npz", models.build("cnn", 0), info)
    with pytest.raises(ValueError, match="holds 421,642 weights, expected 819,"):
        serialization.load_model(tmp_path / "x.npz")


# -- the command line --------------------------------------------------------------------------------------------------


def run(*arguments, status=0):
    assert main([str(argument) for argument in arguments]) == status


def test_train_evaluate_and_go_on_with_a_folder(pillow, tmp_path, capsys):
    folder = write_images(tmp_path / "pets", pillow, {"cat": 25, "dog": 25})
    command = ["train", "--data", folder, "--net", "scratch", "--image-size", 12, "--batch-size", 10, "--quiet"]
    run(*command, "--epochs", 2, "--checkpoint", "run.ckpt")
    path = next(path for path in (tmp_path / "models").iterdir() if path.suffix in (".npz", ".safetensors"))
    model, info = serialization.load_model(path)
    assert (info.net, info.dataset, info.input_shape, info.classes) == ("scratch", "pets", (3, 12, 12), ("cat", "dog"))
    assert model(np.zeros((1, 3, 12, 12), np.float32)).shape == (1, 2)
    capsys.readouterr()
    run("evaluate", path, "--data", folder)
    assert "of 10 images of pets" in capsys.readouterr().out
    run("evaluate", path, status=1)
    assert "--data FOLDER" in capsys.readouterr().err
    run("evaluate", path, "--data", "digits", status=1)
    assert "takes images of (3, 12, 12)" in capsys.readouterr().err
    run(*command, "--epochs", 2, "--checkpoint", "run.ckpt", "--resume")
    run("train", "--checkpoint", "run.ckpt", "--resume", "--quiet", status=1)
    assert "name it with --data FOLDER" in capsys.readouterr().err
    (folder / "dog").rename(folder / "emu")
    run("evaluate", path, "--data", folder, status=1)
    assert "knows the classes cat, dog" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fashion", "kmnist", "cifar10"])
def test_train_on_each_set(name, tmp_path, capsys):
    (write_cifar10 if name == "cifar10" else write_idx)(tmp_path / "sets" / name)
    run("train", "--data", name, "--data-dir", "sets", "--epochs", 1, "--quiet")
    path = next(path for path in (tmp_path / "models").iterdir() if path.suffix in (".npz", ".safetensors"))
    assert path.stem == f"cnn-{name}"
    assert serialization.load_model(path)[1].classes == data.load(name, "sets").classes
    run("evaluate", path, "--data-dir", "sets")
    assert f"trained on {name}" in capsys.readouterr().out


def test_names_that_are_none(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", "nothing"])
    assert "no data set and no folder 'nothing'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--data", "digits", "--grey"])
    run("train", "--data", "kmnist", status=1)
    assert "fastconv does not download them" in capsys.readouterr().err
