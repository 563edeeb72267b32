"""`Augment`, and the Loader that prepares batches in a thread."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastconv import ShapeError, data, nn, optim
from fastconv.cli import main
from fastconv.data._ahead import ahead
from fastconv.training import Callback, Checkpoint, Trainer

STILL = {"shift": 0.0, "rotation": 0.0, "scale": 0.0, "elastic": 0.0}


def augment(seed=0, **options):
    return data.Augment(rng=np.random.default_rng(seed), **options)


def images(n=20, channels=1, height=12, width=15, dtype=np.float32):
    return np.random.default_rng(3).random((n, channels, height, width)).astype(dtype)


def sampled(image, y, x):
    """One image (H, W) at places (H, W), pixel by pixel."""
    height, width = image.shape
    result = np.empty(y.shape)
    for at in np.ndindex(y.shape):
        v, u = min(max(y[at], 0), height - 1), min(max(x[at], 0), width - 1)
        top, left = min(int(v), max(height - 2, 0)), min(int(u), max(width - 2, 0))
        down, right = min(top + 1, height - 1), min(left + 1, width - 1)
        v, u = v - top, u - left
        upper = (1 - u) * image[top, left] + u * image[top, right]
        lower = (1 - u) * image[down, left] + u * image[down, right]
        result[at] = (1 - v) * upper + v * lower
    return result


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_nothing_changes_nothing(dtype):
    x = images(dtype=dtype)
    y = augment(**STILL)(x)
    np.testing.assert_array_equal(y, x)
    assert y.dtype == dtype
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("shape", [(5, 1, 9, 7), (3, 3, 8, 8), (2, 2, 1, 6), (2, 1, 6, 1), (2, 1, 1, 1), (1, 1, 2, 2)])
def test_sampling_is_that_of_the_obvious_loop(shape, dtype):
    x = images(*shape, dtype=dtype)
    a = augment(shift=3, rotation=40, scale=0.5, elastic=1.5)
    y, u = a._places(np.random.default_rng(5), shape[0], *shape[2:])
    expected = [[sampled(plane, y[i], u[i]) for plane in image] for i, image in enumerate(x)]
    bits = np.random.default_rng(5)
    np.testing.assert_allclose(a._changed(x, bits), expected, atol=1e-5)


def test_a_shift_moves_and_the_border_is_repeated():
    x = np.zeros((400, 1, 11, 11), np.float32)
    x[:, 0, 5, 5] = 1
    y = augment(**STILL | {"shift": 2.0})(x)
    np.testing.assert_allclose(y.sum(axis=(1, 2, 3)), 1, atol=1e-5)
    rows = y.sum(axis=(1, 3)) @ np.arange(11) - 5
    columns = y.sum(axis=(1, 2)) @ np.arange(11) - 5
    for moved in (rows, columns):
        assert -2.001 < moved.min() < -1.8
        assert 1.8 < moved.max() < 2.001
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.2
    np.testing.assert_array_equal(augment(shift=50)(np.full((3, 2, 5, 6), 7, np.float32)), 7)


def test_rotation_and_scale():
    row, column = np.mgrid[:41, :41] - 20.0
    x = np.broadcast_to(np.asarray(column, np.float32), (300, 1, 41, 41))
    turned = augment(**STILL | {"rotation": 30.0})(x)[:, 0, 18:23, 18:23]
    angles = np.degrees(np.arcsin(turned[:, 3, 2] - turned[:, 2, 2]))  # how the slope of a plane is turned
    assert -30.01 < angles.min() < -27
    assert 27 < angles.max() < 30.01
    grown = augment(**STILL | {"scale": 0.25})(x)[:, 0, 18:23, 18:23]
    factors = 1 / (grown[:, 2, 3] - grown[:, 2, 2])
    assert 0.799 < factors.min() < 0.82
    assert 1.22 < factors.max() < 1.251
    assert row.shape == (41, 41)


def test_elastic_bends_smoothly():
    y, x = augment(**STILL | {"elastic": 1.5})._places(np.random.default_rng(0), 500, 28, 28)
    down, right = y - np.arange(28)[:, None], x - np.arange(28)
    for field in (down, right):
        np.testing.assert_allclose(field.std(axis=0), 1.5, rtol=0.15)  # as large everywhere
        assert np.abs(np.diff(field, axis=1)).max() < 1.0
    assert abs(np.corrcoef(down.ravel(), right.ravel())[0, 1]) < 0.1


def test_any_layout_and_no_images():
    x = images(8, 2)
    expected = augment()(x)
    np.testing.assert_array_equal(augment()(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(augment()(images(8, 2)[:, :, ::-1][:, :, ::-1]), expected)
    assert augment()(x[:0]).shape == (0, 2, 12, 15)
    assert augment()(x[:, :0]).shape == (8, 0, 12, 15)


def test_what_is_refused():
    for options in ({"shift": -1}, {"rotation": 181}, {"scale": 1.1}, {"elastic": np.nan}):
        with pytest.raises(ShapeError, match=next(iter(options))):
            data.Augment(**options)
    with pytest.raises(TypeError, match="rng"):
        data.Augment(rng=3)
    with pytest.raises(TypeError, match="shift"):
        data.Augment(shift="2")
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\)"):
        augment()(np.ones((3, 4, 5), np.float32))
    with pytest.raises(TypeError, match="x must"):
        augment()(np.ones((1, 1, 4, 5), np.uint8))
    with pytest.raises(TypeError, match="augment must be an Augment"):
        data.Loader(data.digits(10), 5, augment=lambda x: x)


# -- random numbers ----------------------------------------------------------------------------------------------------


def test_batches_depend_on_the_epoch_and_their_number_alone():
    x, a = images(), augment()
    a.new_epoch()
    first, second = a.batch(x, 0), a.batch(x, 1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(a.batch(x, 0), first)
    a.new_epoch()
    assert not np.array_equal(a.batch(x, 0), first)
    b = augment()
    b.new_epoch()
    np.testing.assert_array_equal(b.batch(x, 1), second)
    c = augment(1)
    c.new_epoch()
    assert not np.array_equal(c.batch(x, 1), second)


def batches(loader):
    return [(x.copy(), y) for x, y in loader]


@pytest.mark.parametrize("change", [False, True])
def test_a_thread_gives_the_same_batches(change):
    images = data.digits(103)

    def loader(prefetch):
        rng = np.random.default_rng(2)
        return data.Loader(images, 10, rng=rng, augment=augment() if change else None, prefetch=prefetch)

    plain, threaded = loader(False), loader(True)
    for _ in range(2):  # epochs
        for (x, y), (u, v) in zip(batches(plain), batches(threaded), strict=True):
            np.testing.assert_array_equal(x, u)
            np.testing.assert_array_equal(y, v)
    order = plain.order()
    left = [y for _, y in threaded.batches(order, 7)]
    np.testing.assert_array_equal(np.concatenate(left), images.labels[order[70:]])


class StopAfter(Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, trainer, loss):
        self.steps -= 1
        if not self.steps:
            trainer.stop = True


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("steps", [4, 8, 13])
def test_a_run_goes_on_with_the_same_bits(prefetch, steps, tmp_path):
    def make(stop):
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, rng=rng))
        loader = data.Loader(data.digits(75), 10, rng=np.random.default_rng(1), augment=augment(), prefetch=prefetch)
        stops = [StopAfter(stop)]
        return Trainer(
            model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), callbacks=stops, progress=False
        ), loader

    whole, loader = make(10**6)
    whole.fit(loader, 3)
    one, loader = make(steps)
    one.fit(loader, 3, checkpoint=Checkpoint(tmp_path / "file"))
    two, loader = make(10**6)
    two.load(tmp_path / "file")
    two.fit(loader, 3)
    for name, array in whole.model.state_dict().items():
        np.testing.assert_array_equal(two.model.state_dict()[name], array)
    assert len(two.history) == 3
    other, loader = make(1)
    other.load(tmp_path / "file")
    loader.augment = None
    with pytest.raises(ShapeError, match="augment"):
        other.fit(loader, 3)


# -- the thread --------------------------------------------------------------------------------------------------------


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "fastconv batches"]


@pytest.fixture(autouse=True)
def none_is_left():
    yield
    gc.collect()
    assert not threads()


def test_order_and_end():
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert list(ahead(iter([]), 1)) == []
    assert not threads()


def test_no_more_than_the_depth_is_made_beforehand():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    iterator = ahead(items(), 2)
    assert next(iterator) == 0
    time.sleep(0.05)
    assert len(made) <= 5  # used, waiting, and one that waits for room
    iterator.close()
    assert not threads()


def test_errors_come_out_in_their_place():
    def items():
        yield 1
        yield 2
        raise KeyError("three")

    iterator = ahead(items(), 2)
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(iterator)
    assert not threads()


def test_a_thread_ends_with_its_iterator():
    iterator = ahead(iter(range(1000)), 2)
    next(iterator)
    assert len(threads()) == 1
    del iterator
    gc.collect()
    assert not threads()
    loader = data.Loader(data.digits(50), 5, prefetch=True)
    for _ in loader:
        break
    gc.collect()
    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failed_run_leaves_no_thread(error):
    class Fail(Callback):
        def on_step_end(self, trainer, loss):
            raise error

    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    trainer = Trainer(
        model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), callbacks=[Fail()], progress=False
    )
    with pytest.raises(error) as caught:  # whose traceback holds every frame
        trainer.fit(data.Loader(data.digits(60), 5, prefetch=True), 1)
    assert not threads()
    assert caught.value is not None


def test_ctrl_c_while_waiting_for_a_batch():
    program = """
import signal, sys, threading, time
from fastconv.data._ahead import ahead
def items():
    yield 0
    time.sleep(1)
    yield 1
iterator = ahead(items(), 2)
next(iterator)
threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
begin = time.monotonic()
try:
    next(iterator)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_says_that_the_thread_is_gone():
    program = """
import os, warnings
warnings.simplefilter("ignore")
from fastconv.data import _ahead
_ahead.SECONDS = 0.05
iterator = _ahead.ahead(iter(range(100)), 1)
next(iterator)
if os.fork() == 0:
    try:
        for _ in iterator: pass
    except RuntimeError as error:
        os._exit(7 if "is gone" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("7\n", "")


# -- the command line --------------------------------------------------------------------------------------------------


def test_train_augmented(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    command = ["train", "--data", "digits", "--train-size", "200", "--net", "scratch", "--batch-size", "20"]
    for name, options in (("a", ["--augment"]), ("b", ["--augment"]), ("c", [])):
        assert main([*command, *options, "--epochs", "1", "--out", name, "--checkpoint", f"{name}.ckpt"]) == 0
    assert "augmented, batches of 20" in capsys.readouterr().out
    weights = [next((tmp_path / name).glob("scratch-digits.[ns]*")).read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    for name, options, status in (("a", [], 0), ("a", ["--augment"], 0), ("c", [], 0), ("c", ["--augment"], 1)):
        assert main(["train", *options, "--checkpoint", f"{name}.ckpt", "--resume", "--quiet"]) == status
    assert "--augment is not given there, not True" in capsys.readouterr().err
