"""`fastconv predict`: pictures framed as MNIST's are, files read or refused, and what is printed."""

import contextlib
import itertools
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from fastconv import data, models, serialization
from fastconv.cli import main
from fastconv.cli._last_model import last_model, remember
from fastconv.cli._recognizer import Recognizer
from fastconv.data import framing, images
from fastconv.data.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty folder to be in, and no MNIST on the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that has learned from digits."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        arguments = ["--net", "fast", "--data", "digits", "--train-size", "6000", "--epochs", "3", "--quiet"]
        assert main(["train", *arguments, "--out", str(folder)]) == 0
    (path,) = (path for path in folder.glob("fast-digits.*") if path.suffix in (".npz", ".safetensors"))
    return path


def random_model(path, net="scratch", **changes):
    info = serialization.ModelInfo(**({"net": net, "dataset": "digits", "scale": 1 / 255, "offset": 0.0} | changes))
    model = models.build(net, 0, input_shape=info.input_shape, classes=len(info.classes))
    serialization.save_model(path, model, info)
    return path


def lying_model(path, **changes):
    """Its file says other things than its weights do."""
    info = serialization.ModelInfo(
        **({"net": "scratch", "dataset": "digits", "scale": 1 / 255, "offset": 0.0} | changes)
    )
    serialization.save_model(path, models.build("scratch", 0), info)
    return path


def run(*arguments, status=0):
    assert main(["predict", *map(str, arguments)]) == status


def some_digit(which=0):
    return data.digits(which + 1, split="test").images[which]


def save(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


# -- framing -----------------------------------------------------------------------------------------------------------


def framed(image):
    drawn = framing.ink(image)
    assert drawn is not None
    return framing.frame(drawn)


def test_an_image_framed_already_stays_as_it_is():
    for image in data.digits(100, split="test").images:
        assert np.abs(framed(image) - image / 255).mean() < 0.02


@pytest.mark.parametrize("size", [(20, 20), (37, 90), (200, 130), (90, 4), (640, 480)])
def test_the_ink_fills_the_box_and_its_centre_of_mass_is_the_centre(size, rng):
    sheet = np.zeros((700, 800), np.float32)
    sheet[31 : 31 + size[0], 250 : 250 + size[1]] = np.tri(*size)
    image = framing.frame(sheet)
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert 0.9 < image.max() <= 1
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    proportion = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
    assert abs(np.log(proportion / (size[1] / size[0]))) < 0.7 if min(size) < 10 else 0.15
    y, x = (np.arange(28) @ image.sum(axis=axis) / image.sum() for axis in (1, 0))
    assert max(abs(y - 14), abs(x - 14)) <= 0.51


def test_where_and_how_large_the_drawing_is_does_not_matter():
    digit = some_digit()
    small = framed(digit)
    large = np.pad(np.kron(digit, np.ones((9, 9), np.uint8)), ((400, 20), (3, 700)))
    assert np.abs(framed(large) - small).mean() < 0.01


def coloured():
    grey = some_digit(3)
    share = grey[:, :, None] / 255

    def mixed(ink, sheet):
        return np.uint8(np.rint(np.array(ink) * share + np.array(sheet) * (1 - share)))

    opaque = np.full_like(grey, 255)
    yield "light on dark", grey
    yield "dark on light", 255 - grey
    yield "floats", (grey / 255).astype(np.float32)
    yield "faint", (100 + grey // 4).astype(np.uint8)
    yield "rgb", mixed([20, 30, 60], [250, 240, 220])
    yield "red on green of the same brightness", mixed([200, 30, 30], [30, 105, 60])
    yield "grey and alpha", np.stack([np.zeros_like(grey), grey], axis=-1)
    yield "white and alpha", np.stack([opaque, opaque, opaque, grey], axis=-1)
    yield "opaque", np.dstack([mixed([0, 0, 0], [255, 255, 255]), opaque])
    yield "one channel", grey[:, :, None]


COLOURED = dict(coloured())


@pytest.mark.parametrize("image", list(COLOURED.values()), ids=list(COLOURED))
def test_whatever_the_colours(image):
    assert np.abs(framed(image) - framed(some_digit(3))).mean() < 0.02


def test_a_photograph_with_uneven_light_and_noise(rng):
    digit = np.pad(np.kron(some_digit(5), np.ones((9, 9))), ((60, 100), (30, 90))) / 255
    y, x = np.mgrid[: digit.shape[0], : digit.shape[1]]
    light = 0.85 - 0.4 * x / digit.shape[1] - 0.1 * y / digit.shape[0]
    photograph = np.clip(light * (1 - 0.7 * digit) + rng.normal(0, 0.012, digit.shape), 0, 1)
    assert np.abs(framed(np.uint8(255 * photograph)) - framed(some_digit(5))).mean() < 0.04


@pytest.mark.parametrize("value", [0, 255, 128])
def test_an_empty_image_has_no_ink(value, rng):
    assert framing.ink(np.full((50, 60, 3), value, np.uint8)) is None
    assert framing.ink(np.zeros((9, 9, 4), np.uint8) + np.uint8([value, value, value, 0])) is None
    noise = np.clip(np.full((80, 90), value) + rng.normal(0, 3, (80, 90)), 0, 255)
    assert framing.ink(noise.astype(np.uint8)) is None
    assert framing.ink(np.zeros((0, 5), np.uint8)) is None
    assert framing.frame(np.zeros((50, 60))) is None
    assert framing.draw_strokes([], 0.1) is None
    assert framing.draw_strokes([np.zeros((0, 2))], 0.1) is None


def test_a_photograph_of_an_empty_sheet_has_no_ink(rng):
    y, x = np.mgrid[:360, :480]
    for noise in (0, 0.005, 0.02, 0.04):
        sheet = 0.85 - 0.4 * x / 480 - 0.1 * y / 360 + noise * rng.standard_normal((360, 480))
        assert framing.ink(np.uint8(255 * np.clip(sheet, 0, 1))) is None


def test_wrong_images_are_refused():
    for image in (np.zeros(5), np.zeros((2, 2, 5)), np.array([["a"]]), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="image"):
            framing.ink(image)


def test_strokes_are_drawn_as_the_same_strokes_in_a_picture():
    line = np.array([[0.3, 0.2], [0.7, 0.2], [0.45, 0.8]])
    y, x = (np.mgrid[:400, :400] + 0.5) / 400
    away = np.full((400, 400), 9.0)
    for (ax, ay), (bx, by) in itertools.pairwise(line):
        at = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        away = np.minimum(away, np.hypot(x - ax - at * (bx - ax), y - ay - at * (by - ay)))
    picture = framing.frame((away < 0.035).astype(np.float32))
    assert np.abs(framing.draw_strokes([line], 0.07) - picture).mean() < 0.02


@pytest.mark.parametrize("pen", [0.005, 0.05, 1.0])
def test_strokes_of_any_size_have_a_pen_like_mnists(pen):
    stroke = np.array([[0.2, 0.9], [0.9, 0.1]])
    for size in (1.0, 0.3):
        image = framing.draw_strokes([stroke * size], pen)
        assert 30 < image.sum() < 120
    dot = framing.draw_strokes([np.array([[0.5, 0.5]])], pen)
    assert 0 < dot.sum() < 20
    scribble = np.random.default_rng(0).random((10_000, 2))
    assert framing.draw_strokes([scribble], pen).shape == (28, 28)


# -- predict -----------------------------------------------------------------------------------------------------------


def test_digits_in_files_are_read(model, tmp_path, capsys):
    test = data.digits(60, split="test")
    (tmp_path / "d").mkdir()
    for i, image in enumerate(test.images):
        large = np.pad(np.kron(255 - image, np.ones((5, 5), np.uint8)), ((9, 80), (50, 0)), constant_values=255)
        save(large, tmp_path / "d" / f"{i:02}.{'jpg' if i % 2 else 'png'}")
    run("d", "--model", model, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [list(each) for each in found] == [["file", "label", "probabilities"]] * 60
    assert [each["file"] for each in found[:2]] == [os.path.join("d", "00.png"), os.path.join("d", "01.jpg")]
    for each in found:
        assert len(each["probabilities"]) == 10
        assert abs(sum(each["probabilities"]) - 1) < 1e-6
        assert each["label"] == str(np.argmax(each["probabilities"]))
    right = np.mean([each["label"] == str(label) for each, label in zip(found, test.labels, strict=True)])
    framed_already = Recognizer(model).probabilities(test.images[:, None].astype(np.float32) / 255).argmax(axis=1)
    assert right >= (framed_already == test.labels).mean() - 0.05
    assert right > 0.6


def test_lines_for_readers(tmp_path, capsys):
    random_model("m.npz")
    save(some_digit(), "a b.png")
    save(np.full((9, 9), 255, np.uint8), "empty.png")
    run("a b.png", "empty.png", "--model", "m.npz")
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("a b.png: ")
    assert "%" in first
    assert second == "empty.png: nothing (the image is empty)"
    assert err == ""
    run("empty.png", "--model", "m.npz", "--json")
    assert json.loads(capsys.readouterr().out) == [{"file": "empty.png", "label": None, "probabilities": None}]


def test_files_folders_and_patterns(tmp_path, capsys):
    random_model("m.npz")
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for name in ("b.PNG", "a.bmp", "[x].png"):
        save(some_digit(), tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")

    def names(*arguments, status=0):
        run(*arguments, "--model", "m.npz", "--json", status=status)
        return [each["file"].replace(os.sep, "/") for each in json.loads(capsys.readouterr().out)]

    assert names("in") == ["in/[x].png", "in/a.bmp", "in/b.PNG"]
    assert names("in/*.[Pb]*") == ["in/a.bmp", "in/b.PNG"]
    assert names("in/[x].png") == ["in/[x].png"]
    assert names("in/*.gif", "in/a.bmp", status=1) == ["in/a.bmp"]
    assert names("in/deeper", "in/a.bmp", status=1) == ["in/a.bmp"]


def png(width, height):
    """The first bytes of a PNG of that size."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_what_cannot_be_read_is_one_line_and_the_others_are_still_read(tmp_path, capsys):
    random_model("m.npz")
    good = save(some_digit(), tmp_path / "good.png").read_bytes()
    files = {
        "text.png": b"no image at all",
        "empty.png": b"",
        "cut.png": good[: len(good) // 2],
        "bomb.png": png(60_000, 60_000),
        "large.png": png(10_000, 10_000),
        "page.jpg": b"<!doctype html><html></html>",
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "flipped.png": good[:60] + bytes([good[60] ^ 255]) + good[61:],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    run(*files, "missing.png", "good.png", "--model", "m.npz", "--json", status=1)
    out, err = capsys.readouterr()
    assert [each["file"] for each in json.loads(out)] == ["good.png"]
    lines = err.splitlines()
    assert len(lines) == len(files) + 1
    for line, name in zip(lines, [*files, "missing.png"], strict=True):
        assert line.startswith(f"fastconv: error: {name}: ")
    assert "50,000,000" in lines[3]
    assert "50,000,000" in lines[4]
    assert "No such file" in lines[-1]


def test_random_damage_never_escapes(tmp_path, rng):
    for kind in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        whole = np.frombuffer(save(some_digit(), tmp_path / f"x.{kind}").read_bytes(), np.uint8)
        for _ in range(40):
            broken = whole.copy()
            broken[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
            (tmp_path / f"y.{kind}").write_bytes(broken[: rng.integers(1, len(whole) + 1)].tobytes())
            with contextlib.suppress(DataError):
                assert images.read_image(tmp_path / f"y.{kind}").shape[2] == 4


def test_modes_of_images(tmp_path):
    digit = some_digit(2)
    expected = framed(digit)
    deep = (digit.astype(np.uint16) * 257).astype(np.uint16)
    save(deep, tmp_path / "deep.png")
    Image.fromarray(digit).convert("1", dither=0).save(tmp_path / "bits.png")
    Image.fromarray(digit).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(digit).convert("RGB").convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    save(digit.astype(np.float32), tmp_path / "floats.tif")
    exif = Image.Exif()
    exif[0x112] = 6  # turn it by 90 degrees to the right
    Image.fromarray(np.rot90(digit)).save(tmp_path / "turned.png", exif=exif)
    for name in ("deep.png", "bits.png", "palette.png", "cmyk.jpg", "floats.tif", "turned.png"):
        found = framed(images.read_image(tmp_path / name))
        assert np.abs(found - expected).mean() < (0.1 if name == "bits.png" else 0.03), name
    save(np.zeros((30, 3000), np.uint8), tmp_path / "wide.png")
    assert images.read_image(tmp_path / "wide.png").shape == (5, 480, 4)


def test_the_model_that_was_trained_last(tmp_path, capsys):
    save(some_digit(), "a.png")
    run("a.png", status=1)
    assert "fastconv train" in capsys.readouterr().err
    arguments = ["--data", "digits", "--train-size", "300", "--net", "dropout", "--epochs", "1", "--quiet"]
    assert main(["train", *arguments]) == 0
    trained = last_model()
    assert trained.parent == tmp_path / "models"
    capsys.readouterr()
    run("a.png", "--json")
    by_default = capsys.readouterr().out
    run("a.png", "--json", "--model", trained)
    assert capsys.readouterr().out == by_default
    other = random_model(tmp_path / "other.npz")
    remember(other)
    assert last_model() == other
    other.unlink()
    assert last_model() is None
    (tmp_path / "cache" / "fastconv" / "last-model.txt").write_bytes(b"\xff\0")
    assert last_model() is None


def test_where_nothing_can_be_noted_training_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember(tmp_path / "m.npz")
    assert last_model() is None


def test_models_that_cannot_be_used(tmp_path, capsys):
    save(some_digit(), "a.png")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    run("a.png", "--model", "broken.npz", status=1)
    run("a.png", "--model", "missing.npz", status=1)
    run("a.png", "--model", lying_model("flat.npz", input_shape=(784,)), status=1)
    run("a.png", "--model", lying_model("names.npz", classes=("a", "b")), status=1)
    bad = models.build("scratch", 0)
    next(bad.parameters()).data[:] = np.nan
    serialization.save_model("nan.npz", bad, serialization.ModelInfo("scratch", "digits", 1 / 255, 0.0))
    run("a.png", "--model", "nan.npz", status=1)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 5
    assert "mistake in fastconv" not in err


def test_class_names_and_scores_of_squared_error(capsys):
    save(some_digit(), "a.png")
    names = tuple("abcdefghij")
    run("a.png", "--json", "--model", random_model("ann.npz", "ann", classes=names))
    (found,) = json.loads(capsys.readouterr().out)
    assert found["label"] == names[int(np.argmax(found["probabilities"]))]
    assert abs(sum(found["probabilities"]) - 1) < 1e-6


def test_a_model_of_one_class(tmp_path, capsys):
    random_model(tmp_path / "m.npz", classes=("only",))
    save(some_digit(), tmp_path / "a.png")
    run("a.png", "--model", "m.npz")
    assert capsys.readouterr().out == "a.png: only  (100.0 %)\n"


def test_of_equal_probabilities_the_first_counts(tmp_path, capsys):
    model = models.build("scratch", 0)
    for parameter in model.parameters():
        parameter.data.fill(0)
    serialization.save_model(tmp_path / "m.npz", model, serialization.ModelInfo("scratch", "digits", 1 / 255, 0.0))
    save(some_digit(), tmp_path / "a.png")
    run("a.png", "--model", "m.npz", "--json")
    assert json.loads(capsys.readouterr().out)[0]["label"] == "0"
    run("a.png", "--model", "m.npz")
    assert capsys.readouterr().out == "a.png: 0  (10.0 %; 1: 10.0 %)\n"


@pytest.mark.parametrize("channels", [1, 3])
def test_models_of_folders_see_what_they_were_trained_on(channels, tmp_path, rng):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(2):
            save(rng.integers(0, 256, (24, 40, 3), np.uint8), tmp_path / "pictures" / name / f"{i}.png")
    train, _, classes = data.load_folder(tmp_path / "pictures", 16, channels, seed=0)
    random_model(tmp_path / "m.npz", dataset="pictures", input_shape=(channels, 16, 16), classes=classes)
    recognizer = Recognizer(tmp_path / "m.npz")
    seen = [recognizer.prepare(images.read_image(path)) for path in sorted((tmp_path / "pictures" / "cat").iterdir())]
    trained_on = train.images[int(np.argmin(train.labels))] / 255  # a cat
    assert min(np.abs(image - trained_on).max() for image in seen) < 1.5 / 255


def test_inputs_of_other_shapes(tmp_path):
    """A model that looks at larger or coloured pictures says so in its file."""
    recognizer = Recognizer(random_model(tmp_path / "m.npz", input_shape=(1, 40, 56)))
    digit = some_digit()
    grey = recognizer.prepare(digit)
    assert grey.shape == (1, 40, 56)
    assert np.ptp(np.flatnonzero(grey[0].any(axis=1))) + 1 in (27, 28, 29)
    recognizer = Recognizer(random_model(tmp_path / "c.npz", input_shape=(3, 32, 32)))
    coloured = np.zeros((64, 64, 3), np.uint8)
    coloured[:32] = [255, 0, 128]
    image = recognizer.prepare(coloured)
    assert image.shape == (3, 32, 32)
    np.testing.assert_allclose(image[:, 0, 0], [1, 0, 128 / 255], atol=1e-6)
    assert recognizer.prepare_strokes([np.array([[0.1, 0.1], [0.9, 0.9]])], 0.05).shape == (3, 32, 32)


def test_without_pillow(monkeypatch, capsys):
    save(some_digit(), "a.png")
    random_model("m.npz")
    monkeypatch.setitem(sys.modules, "PIL", None)
    run("a.png", "--model", "m.npz", status=1)
    assert "pip install 'fastconv[train]'" in capsys.readouterr().err


def test_as_a_process(tmp_path):
    save(some_digit(), "a.png")
    random_model("m.npz")
    command = [sys.executable, "-m", "fastconv", "predict", "a.png", "nothing.png", "--model", "m.npz", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["file"] == "a.png"
    assert done.stderr.count("\n") == 1
