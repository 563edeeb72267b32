"""Checkpoints: a run that is resumed ends with the bits of one that was never interrupted, and nothing is ever lost."""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
from kill_and_resume import RUNS, kill_and_resume

import fastconv
from fastconv import checkpoint as checkpoints
from fastconv import data, nn, optim, schedules, serialization, training
from fastconv.checkpoint import Checkpoint, generators, load_checkpoint, save_checkpoint, states, with_states
from fastconv.cli import main
from fastconv.training import Callback, EarlyStopping, Trainer, TrainingDiverged

TREE = {
    "none": None,
    "flags": [True, False],
    "numbers": [0, -1, 2**100, 0.1, -0.0, float("inf"), 5e-324],
    "text": "größer",
    "pair": (0.9, 0.999),
    "by number": {0: {"x": np.arange(3)}, 1: {}, (2, "x"): None},
    "$array": {"$tuple": 1},
    "arrays": [
        np.array(2.5),
        np.array(7),
        np.zeros((0, 3)),
        np.arange(12.0, dtype=np.float32).reshape(3, 4).T[::2],
        np.array([True, False]),
        np.arange(4, dtype=np.uint16),
        np.array([np.nan, np.inf], np.float16),
        np.arange(3, dtype=">i4"),
    ],
    "a/b": np.ones(2),
    "a": {"b": np.zeros(2)},
    "__metadata__": np.ones(1),
}


def same(one, two):
    """Equal to the last bit, types and all."""
    if isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray)
        assert one.dtype.newbyteorder("=") == two.dtype
        assert one.shape == two.shape
        assert one.astype(two.dtype).tobytes() == two.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert type(one) is type(two)
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    else:
        assert type(one) is type(two)
        assert repr(one) == repr(two)


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_tree_of_values(tmp_path):
    path = tmp_path / "any.name"
    save_checkpoint(path, TREE)
    same(TREE, load_checkpoint(path))
    before = path.read_bytes()
    save_checkpoint(path, TREE)
    assert path.read_bytes() == before  # equal states make equal files
    assert [file.name for file in tmp_path.iterdir()] == ["any.name"]
    with np.load(path, allow_pickle=False) as file:  # it is NumPy's own format
        np.testing.assert_array_equal(file["by number/0/x"], [0, 1, 2])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", 1j, np.array(["a"]), np.array([object()]), np.zeros(1, "c8")]
)
def test_what_a_checkpoint_cannot_hold(tmp_path, value):
    with pytest.raises(TypeError, match=r"a/0"):
        save_checkpoint(tmp_path / "file", {"a": [value]})
    assert not list(tmp_path.iterdir())


def test_too_much_beside_arrays(tmp_path):
    with pytest.raises(ValueError, match="file: a checkpoint may hold 16,000,000 bytes beside arrays"):
        save_checkpoint(tmp_path / "file", {"a": "x" * 16_000_000})


def small(path):
    save_checkpoint(path, {"weights": np.arange(3.0), "step": 7, "note": "x"})
    return path.read_bytes()


def refused(path, match="the file is damaged, or no checkpoint of fastconv"):
    with pytest.raises(ValueError, match=match) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_truncations_are_refused(tmp_path):
    path = tmp_path / "file"
    whole = small(path)
    for length in (*range(100), *range(100, len(whole) - 200, 7), *range(len(whole) - 200, len(whole))):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"\n")
    refused(path)


def test_flipped_bits_are_refused(tmp_path):
    path = tmp_path / "file"
    whole = small(path)
    rng = np.random.default_rng(0)
    for place in (*range(0, len(whole), 3), *range(len(whole) - 200, len(whole))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>" * 50, pickle.dumps([0] * 500), b"\x93NUMPY\x01\x00", b"\0" * 999]
)
def test_other_files(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    refused(tmp_path / "file")


def test_a_file_of_weights_is_no_checkpoint(tmp_path):
    for suffix in {".npz", serialization.weights_suffix()}:
        serialization.save_weights(tmp_path / f"weights{suffix}", {"a": np.zeros(30)})
        refused(tmp_path / f"weights{suffix}")


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="none/file"):
        save_checkpoint(tmp_path / "none" / "file", {})
    with pytest.raises(OSError):  # noqa: PT011
        load_checkpoint(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        save_checkpoint(tmp_path / "file" / "below", {})
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "no ordinary file")


def sign(data, version=1):
    """A file with the right checksum, whatever it holds."""
    with zipfile.ZipFile(stream := io.BytesIO(data), "a") as archive:
        archive.comment = f"fastconv checkpoint {version:04} sha256 ".encode() + b"0" * 64
    whole = stream.getvalue()
    return whole[:-64] + hashlib.sha256(whole[:-64]).hexdigest().encode()


def npz(entries, version=1):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries:
            archive.writestr(f"{name}.npy", content)
    return sign(stream.getvalue(), version)


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def skeleton(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ("__metadata__", npy(np.frombuffer(text, np.uint8)))


def header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


A = {"a": {"$array": "a"}}
HOSTILE = {
    "terabytes": [skeleton(A), ("a", header((10**6, 10**6)))],
    "more than 2**64": [skeleton(A), ("a", header((2**40, 2**40)))],
    "negative": [skeleton(A), ("a", header((-1, -4)) + b"\0" * 16)],
    "objects": [skeleton(A), ("a", npy(np.array([None]), allow_pickle=True))],
    "not there": [skeleton(A)],
    "not listed": [skeleton({}), ("a", npy(np.zeros(3)))],
    "listed twice": [skeleton([A, A]), ("a", npy(np.zeros(3)))],
    "twice": [skeleton(A), ("a", npy(np.zeros(3))), ("a", npy(np.zeros(3)))],
    "no tree": [skeleton([1, 2])],
    "items": [skeleton({"a": {"$items": [1, 2]}})],
    "no key": [skeleton({"a": {"$items": [[[], 2]]}})],
    "no json": [skeleton(b"{")],
    "too deep": [skeleton(b"[" * 100_000)],
    "long number": [skeleton(b'{"a": ' + b"9" * 100_000 + b"}")],
    "no text": [skeleton(b"\xff\xfe")],
    "nothing": [],
    "header": [skeleton(A), ("a", b"\x93NUMPY\x01\x00\x0a\x00((((((((((")],
    "long header": [skeleton(A), ("a", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 1000)],
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_file_with_the_right_checksum(tmp_path, case):
    path = tmp_path / "file"
    path.write_bytes(npz(HOSTILE[case]))
    tracemalloc.start()
    refused(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_hostile_file_whose_entries_overlap(tmp_path):
    """A directory that lists the same megabyte a thousand times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(1 << 17)))
        entry = archive.infolist()[0]
        archive.filelist += [entry] * 1000
    path = tmp_path / "file"
    path.write_bytes(sign(stream.getvalue()))
    refused(path, "longer than the file")
    path = tmp_path / "weights.npz"
    path.write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="longer than the file"):
        serialization.load_weights(path)


def test_a_hostile_file_that_is_compressed(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header((10**7,)) + b"\0" * 40_000_000)
    (tmp_path / "file").write_bytes(sign(stream.getvalue()))
    refused(tmp_path / "file")


def test_another_version(tmp_path):
    (tmp_path / "file").write_bytes(npz([skeleton({})], version=2))
    refused(tmp_path / "file", "a checkpoint of version 2; this fastconv reads version 1")


# -- atomic writing ----------------------------------------------------------------------------------------------------


class System:
    """The module `os`, with some functions that fail."""

    def __init__(self, functions, number):
        self.functions, self.number = functions, number

    def __getattr__(self, name):
        if name not in self.functions:
            return getattr(os, name)

        def fail(path, *_, **__):
            raise OSError(self.number, os.strerror(self.number), *([path] if name == "open" else []))

        return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, function, number):
    path = tmp_path / "file"
    before = small(path)
    monkeypatch.setattr(serialization, "os", System([function], number))
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        save_checkpoint(path, {"other": 1})
    monkeypatch.undo()
    assert caught.value.filename == str(path)
    assert caught.value.errno == number
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@contextlib.contextmanager
def tiny_disk(folder, size="64k"):
    """A file system of 64 KB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this process may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        path = disk / "file"
        before = small(path)
        with pytest.raises(OSError, match="No space left") as caught:
            save_checkpoint(path, {"a": np.zeros(100_000)})
        assert caught.value.filename == str(path)
        assert path.read_bytes() == before
        assert [file.name for file in disk.iterdir()] == ["file"]


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    left, writing = tmp_path / ".file.0123456789ab.tmp", tmp_path / ".file.ba9876543210.tmp"
    others = [tmp_path / name for name in (".file.x.tmp", ".other.0123456789ab.tmp", "file.0123456789ab.tmp", "xfile")]
    for file in (left, writing, *others):
        file.touch()
    with open(writing) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        small(tmp_path / "file")
    assert not left.exists()
    assert all(file.exists() for file in (writing, *others))


# -- generators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_generators(tmp_path, kind):
    class Thing:
        def __init__(self):
            self.rng = np.random.Generator(kind(1))
            self.parts = [{"deep": (self.rng, np.random.Generator(kind(2)))}, self]

    thing = Thing()
    found = generators({"thing": thing})
    assert sorted(found) == ["thing.parts.0.deep.1", "thing.rng"]  # each once
    thing.rng.random(5, np.float32)
    save_checkpoint(tmp_path / "file", states(found))
    expected = [[*generator.random(700).tolist(), generator.random(dtype=np.float32)] for generator in found.values()]
    saved = load_checkpoint(tmp_path / "file")
    with_states(found, saved, "it")
    assert expected == [
        [*generator.random(700).tolist(), generator.random(dtype=np.float32)] for generator in found.values()
    ]


def test_states_that_do_not_fit_change_nothing():
    found = {"a": np.random.default_rng(0), "b": np.random.Generator(np.random.MT19937(0))}
    before = states(found)
    good = states({"a": np.random.default_rng(1), "b": np.random.Generator(np.random.MT19937(1))})

    def bad(**changes):
        return good | {"b": good["b"] | changes}

    inner = good["b"]["state"]
    for state in (
        {},
        {"a": good["a"]},
        {**good, "c": good["a"]},
        {"a": good["a"], "b": good["a"]},
        {"a": good["a"], "b": None},
        {"a": good["a"], "b": {}},
        bad(bit_generator="Philox"),
        bad(state={"key": inner["key"], "pos": 10**6}),  # would read beyond the buffer
        bad(state={"key": inner["key"], "pos": -1}),
        bad(state={"key": inner["key"][:5], "pos": 0}),
        bad(state={"key": "x", "pos": 0}),
    ):
        with pytest.raises(fastconv.ShapeError):
            with_states(found, state, "it")
        same(before, states(found))


# -- a trainer ---------------------------------------------------------------------------------------------------------


def bars(n, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label, place in zip(images, labels, rng.integers(2, 6, n), strict=True):
        (image.T if label == 0 else image)[place] += 180
    return data.ArrayDataset(images, labels)


class Noisy:
    """Batches that are made on the way: an order and noise from a generator that is an attribute."""

    def __init__(self, rng):
        self.rng = rng

    def __iter__(self):
        for x, y in data.Loader(bars(50), 20, rng=self.rng):
            yield x + self.rng.normal(0, 0.1, x.shape).astype(x.dtype), y


class Problem:
    """A trainer and what it is trained on, the same each time it is made."""

    epochs = 3

    def __init__(self, kind):
        rng = np.random.default_rng(4)
        dtype = np.float64 if kind == "double" else np.float32
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3, rng=rng, dtype=dtype),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.2, rng=rng),
            nn.Flatten(),
            nn.Dropout(0.3, rng=np.random.default_rng(5)),
            nn.Linear(18, 2, rng=rng, dtype=dtype),
        )
        own, validation = np.random.default_rng(6), np.random.default_rng(7)
        if kind == "one generator":
            own = validation = rng
        self.train = data.Loader(bars(50), 20, rng=own, drop_last=kind == "double", dtype=dtype)
        self.validation = data.Loader(bars(30, 1), 10, rng=validation, dtype=dtype)
        schedule, callbacks = None, []
        if kind == "sgd":
            optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
            self.train = data.Loader(bars(50), 20, shuffle=False)
            self.validation = None
        elif kind == "early stopping":
            optimizer = optim.SGD(model.parameters(), 3.0)
            callbacks = [EarlyStopping(patience=1)]
            self.epochs = 8
        else:
            optimizer = optim.AdamW(model.parameters(), 0.02)
            schedule = schedules.OneCycleLR(optimizer, 0.02, 9)
        if kind == "list":
            self.train = list(data.Loader(bars(50), 20, shuffle=False))
        if kind == "noisy":
            self.train = Noisy(np.random.default_rng(8))
        if kind == "noisy, one generator":
            self.train = Noisy(rng)
        self.trainer = Trainer(
            model, optimizer, nn.CrossEntropyLoss(), schedule=schedule, callbacks=callbacks, progress=False
        )

    def fit(self, checkpoint=None):
        self.trainer.fit(self.train, self.epochs, validation=self.validation, checkpoint=checkpoint)
        return self.end()

    def end(self):
        """All that a run leaves, but for times."""
        state = self.trainer.state_dict()
        for entry in state["history"]:
            assert entry.pop("train_seconds") > 0
        return state


KINDS = ["adamw", "double", "sgd", "one generator", "early stopping", "list", "noisy", "noisy, one generator"]


@pytest.fixture
def every_save(monkeypatch):
    """All checkpoints that are written, as bytes."""
    files = []
    save = Checkpoint.save

    def keep(self, state):
        save(self, state)
        files.append(self.path.read_bytes())

    monkeypatch.setattr(Checkpoint, "save", keep)
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_from_any_step_it_ends_with_the_same_bits(tmp_path, every_save, kind):
    path = tmp_path / "file"
    expected = Problem(kind).fit()
    same(expected, Problem(kind).fit(Checkpoint(path, every_steps=1, run={"a": 1})))
    saves = list(every_save)
    epochs = len(expected["history"])
    assert len(saves) == 1 + epochs * (2 if kind == "double" else 3) + 1
    for number, save in enumerate(saves):
        path.write_bytes(save)
        problem = Problem(kind)
        assert problem.trainer.load(path) == {"a": 1}
        same(problem.trainer.state_dict(), load_checkpoint(path)["trainer"])  # loaded and saved again: nothing is lost
        same(expected, problem.fit(Checkpoint(path, every_steps=2)))
        if number == len(saves) - 1:
            assert path.read_bytes() == save  # the run is complete, and nothing is done
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_early_stopping_has_stopped_in_that_test(tmp_path):
    problem = Problem("early stopping")
    problem.fit()
    (early,) = problem.trainer.callbacks
    history = problem.trainer.history
    assert 1 < len(history) < 8
    losses = [entry["validation_loss"] for entry in history]
    assert early.best == min(losses)
    assert early.best_epoch == len(history) - 1
    assert losses[early.best_epoch - 1] == early.best
    loss = problem.trainer.evaluate(problem.validation)["loss"]
    assert loss == pytest.approx(early.best, rel=1e-6)  # the best weights are back


def test_early_stopping_what_is_refused():
    with pytest.raises(fastconv.ShapeError, match="patience must be at least 1"):
        EarlyStopping(patience=0)
    problem = Problem("sgd")
    problem.trainer.callbacks.append(EarlyStopping("validation_accuracy"))
    with pytest.raises(fastconv.ShapeError, match="no 'validation_accuracy' in the history, only"):
        problem.fit()


def test_a_checkpoint_by_hand_and_a_second_fit(tmp_path):
    path = tmp_path / "file"
    one, two = Problem("sgd"), Problem("sgd")
    one.fit()
    one.trainer.save(path, {"note": "x"})
    assert two.trainer.load(path) == {"note": "x"}
    same(one.fit(), two.fit())  # more epochs, as nothing was going on
    assert [entry["epoch"] for entry in two.trainer.history] == [1, 2, 3, 4, 5, 6]


def test_a_longer_run(tmp_path):
    path = tmp_path / "file"
    Problem("sgd").fit(Checkpoint(path))
    longer, expected = Problem("sgd"), Problem("sgd")
    longer.epochs = expected.epochs = 5
    longer.trainer.load(path)
    same(longer.fit(), expected.fit())


def interrupted(path, kind="adamw", steps=5):
    """A run that was left in the middle of its second epoch."""

    class Stop(Callback):
        def on_step_end(self, trainer, loss):
            nonlocal steps
            steps -= 1
            trainer.stop = steps == 0

    problem = Problem(kind)
    stop = Stop()
    problem.trainer.callbacks.append(stop)
    problem.trainer.callbacks[-1].__class__.__name__ = "Stop"
    problem.trainer.fit(problem.train, 3, validation=problem.validation, checkpoint=Checkpoint(path))
    return problem


def test_another_trainer_is_refused_and_nothing_changes(tmp_path):
    path = tmp_path / "file"
    save = Problem("adamw")
    save.fit(Checkpoint(path))
    for kind, match in (("sgd", "optimizer AdamW, .* expected optimizer SGD"), ("double", "float32, expected float64")):
        other = Problem(kind)
        before = other.trainer.state_dict()
        with pytest.raises(fastconv.ShapeError, match=match) as caught:
            other.trainer.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        same(before, other.trainer.state_dict())
    wide = Problem("adamw")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    optimizer = optim.AdamW(model.parameters())
    wide.trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), schedule=schedules.OneCycleLR(optimizer, 0.1, 9))
    with pytest.raises(fastconv.ShapeError, match=r"missing: .*1\.weight"):
        wide.trainer.load(path)
    save_checkpoint(path, {"x": 1})
    with pytest.raises(fastconv.ShapeError, match="no checkpoint of a Trainer"):
        save.trainer.load(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: setattr(p, "train", data.Loader(bars(50), 10)), "batch_size 20.* got .*batch_size 10"),
        (lambda p: setattr(p, "train", data.Loader(bars(60), 20)), "images 50.* got .*images 60"),
        (lambda p: setattr(p, "train", [(np.zeros((2, 1, 8, 8), np.float32), np.zeros(2, int))]), "got type list"),
        (lambda p: setattr(p, "validation", None), "random generators that were saved"),
        (lambda p: setattr(p, "epochs", 1), "in epoch 2 already; got epochs=1"),
    ],
)
def test_other_batches_are_refused(tmp_path, change, match):
    path = tmp_path / "file"
    interrupted(path)
    found = load_checkpoint(path)
    found["trainer"]["kinds"]["callbacks"], found["trainer"]["callbacks"] = [], []
    expected = Problem("adamw").fit()
    problem = Problem("adamw")
    problem.trainer.restore(found, path)
    good = (problem.train, problem.validation, problem.epochs)
    change(problem)
    with pytest.raises(fastconv.ShapeError, match=match):
        problem.fit()
    problem.train, problem.validation, problem.epochs = good
    same(expected, problem.fit())  # the refusal has changed nothing


def nodes(tree, path=()):
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        yield from nodes(value, (*path, key))


def replaced(tree, path, value):
    if not path:
        return value
    if isinstance(tree, tuple):
        return tuple(replaced(list(tree), path, value))
    new = dict(tree) if isinstance(tree, dict) else list(tree)
    new[path[0]] = replaced(new[path[0]], path[1:], value)
    return new


JUNK = [None, -1, 2**70, 1e308, "x", [], {}, np.zeros(3), np.full((50,), 10**9), [[1]], {"a": None}, True, (0.5,)]


def test_junk_anywhere_in_a_checkpoint_is_refused_or_harmless(tmp_path):
    path = tmp_path / "file"
    interrupted(path)
    found = load_checkpoint(path)
    found["trainer"]["kinds"]["callbacks"], found["trainer"]["callbacks"] = [], []
    rng = np.random.default_rng(0)
    refused = 0
    places = list(nodes(found))
    for place in places:
        for number in rng.choice(len(JUNK), 3, replace=False):
            problem = Problem("adamw")
            before = problem.trainer.state_dict()
            try:
                problem.trainer.restore(replaced(found, place, JUNK[number]), path)
            except ValueError:
                refused += 1
                same(before, problem.trainer.state_dict())
                continue
            except AttributeError:
                assert place == ()  # no mapping at all
                continue
            with contextlib.suppress(ValueError, TrainingDiverged), np.errstate(all="ignore"):
                problem.fit()
    assert refused > len(places)


def test_while_fit_runs_nothing_is_loaded():
    class Load(Callback):
        def on_step_end(self, trainer, loss):
            trainer.load_state_dict(trainer.state_dict())

    problem = Problem("sgd")
    problem.trainer.callbacks.append(Load())
    with pytest.raises(RuntimeError, match="fit is running"):
        problem.fit()


def test_how_often():
    with pytest.raises(fastconv.ShapeError, match="every_steps must be at least 1"):
        Checkpoint("x", every_steps=0)
    with pytest.raises(fastconv.ShapeError, match="every_seconds must be"):
        Checkpoint("x", every_seconds=-1)
    assert repr(Checkpoint("x")) == "Checkpoint('x', every_seconds=60)"
    assert not Checkpoint("x").due()
    assert Checkpoint("x", every_seconds=0).due()
    assert [Checkpoint("x", every_steps=1).due(), Checkpoint("x", every_steps=2).due()] == [True, False]


def test_seconds(tmp_path, every_save, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(clock))
    Problem("sgd").fit(Checkpoint(tmp_path / "file", every_seconds=2))
    assert 4 < len(every_save) < 9


# -- what goes wrong on the way ----------------------------------------------------------------------------------------


class At(Callback):
    """Does something after a step."""

    def __init__(self, step, what):
        self.steps, self.step, self.what = 0, step, what

    def on_step_end(self, trainer, loss):
        self.steps += 1
        if self.steps == self.step:
            self.what()


def without_callbacks(path):
    found = load_checkpoint(path)
    found["trainer"]["kinds"]["callbacks"], found["trainer"]["callbacks"] = [], []
    return found


def test_the_first_checkpoint_must_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "os", System(["fsync"], errno.ENOSPC))
    problem = Problem("sgd")
    with pytest.raises(OSError, match="No space left") as caught:
        problem.fit(Checkpoint(tmp_path / "file"))
    assert caught.value.filename == str(tmp_path / "file")
    assert not list(tmp_path.iterdir())
    assert not problem.trainer.model.training


def test_later_ones_that_fail_are_a_warning_and_the_run_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "file"
    problem = Problem("sgd")
    full = At(3, lambda: monkeypatch.setattr(serialization, "os", System(["fsync"], errno.ENOSPC)))
    free = At(6, monkeypatch.undo)
    problem.trainer.callbacks += [full, free]
    with pytest.warns(
        RuntimeWarning, match=r"file: the checkpoint could not be written \(No space left .*goes on"
    ) as seen:
        problem.fit(Checkpoint(path, every_steps=1))
    assert len(seen) == 3
    assert len(problem.trainer.history) == 3
    assert load_checkpoint(path)["trainer"]["fit"]["done"] == 3  # written again once there was room
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_one_before_stays_when_the_disk_is_full(tmp_path):
    with tiny_disk(tmp_path / "disk") as disk:
        path = disk / "file"
        problem = Problem("adamw")

        def fill():
            with contextlib.suppress(OSError):
                (disk / "fill").write_bytes(bytes(10**6))

        problem.trainer.callbacks.append(At(4, fill))
        with pytest.warns(RuntimeWarning, match="No space left"):
            problem.fit(Checkpoint(path, every_steps=1))
        assert sorted(file.name for file in disk.iterdir()) == ["file", "fill"]
        again = Problem("adamw")
        again.trainer.restore(without_callbacks(path), path)
        same(Problem("adamw").fit(), again.fit())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "file"
    problem = Problem("sgd")
    poison = At(5, lambda: problem.train.dataset.images.fill(0))

    def infinite():
        problem.trainer.loss.forward = lambda *_: float("nan")

    poison.what = infinite
    problem.trainer.callbacks.append(poison)
    with pytest.raises(
        TrainingDiverged, match=r"became nan in epoch 2, in step 3: .*file holds the run as it was at epoch 2, step 2"
    ):
        problem.fit(Checkpoint(path, every_steps=1))
    again = Problem("sgd")
    again.trainer.restore(without_callbacks(path), path)
    same(Problem("sgd").fit(), again.fit())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    path = tmp_path / "file"
    problem = Problem("sgd")

    def poison():
        problem.trainer.model[6].weight.data[0, 0] = np.inf

    problem.trainer.callbacks.append(At(5, poison))
    with pytest.raises(TrainingDiverged, match=r"6\.weight became infinite or NaN in epoch 2, by step 2"):
        problem.fit(Checkpoint(path, every_steps=1))
    again = Problem("sgd")
    again.trainer.restore(without_callbacks(path), path)
    same(Problem("sgd").fit(), again.fit())


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals work differently there")


@pytest.fixture
def handlers():
    """Python's own handlers, and a check that they are back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


def send(number):
    return lambda: os.kill(os.getpid(), number)


@posix
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_finishes_the_step_and_saves(tmp_path, handlers, number, kind):
    path = tmp_path / "file"
    problem = Problem("adamw")
    forward = problem.trainer.model.forward
    calls = itertools.count(1)

    def signalled(x):
        if next(calls) == 2:
            os.kill(os.getpid(), number)  # in the middle of the second step
        return forward(x)

    problem.trainer.model.forward = signalled
    with pytest.raises(kind) as caught:
        problem.fit(Checkpoint(path))
    assert caught.value.checkpoint == path
    assert not caught.value.at_once
    if kind is SystemExit:
        assert caught.value.code == 143
    assert problem.trainer.optimizer.state_dict()["state"][0]["step"] == 2
    again = Problem("adamw")
    again.trainer.load(path)
    same(Problem("adamw").fit(), again.fit())


@posix
def test_a_signal_while_it_validates(tmp_path, handlers):
    """The validation is left, and done again from its beginning, with the generator as it was then."""
    path = tmp_path / "file"
    problem = Problem("one generator")
    batch = problem.validation.batch
    calls = itertools.count(1)

    def signalled(index):
        if next(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(index)

    problem.validation.batch = signalled
    with pytest.raises(KeyboardInterrupt):
        problem.fit(Checkpoint(path))
    assert len(problem.trainer.history) == 1
    again = Problem("one generator")
    again.trainer.load(path)
    same(Problem("one generator").fit(), again.fit())


@posix
def test_a_second_signal_leaves_at_once(tmp_path, handlers):
    path = tmp_path / "file"
    problem = Problem("adamw")
    seen = []

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("one")
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("two")

    problem.trainer.callbacks.append(At(2, twice))
    with pytest.raises(KeyboardInterrupt) as caught:
        problem.fit(Checkpoint(path))
    assert caught.value.at_once
    assert seen == ["one"]
    assert load_checkpoint(path)["trainer"]["fit"]["position"] is None  # that of the beginning


@posix
def test_a_signal_when_the_disk_is_full(tmp_path, handlers, monkeypatch):
    problem = Problem("sgd")

    def full():
        monkeypatch.setattr(serialization, "os", System(["fsync"], errno.ENOSPC))
        os.kill(os.getpid(), signal.SIGINT)

    problem.trainer.callbacks.append(At(2, full))
    with pytest.raises(KeyboardInterrupt) as caught:
        problem.fit(Checkpoint(tmp_path / "file"))
    assert caught.value.checkpoint is None
    assert caught.value.problem.errno == errno.ENOSPC


@posix
def test_the_handlers_of_others_stay(handlers):
    mine, seen = [], []

    def handler(number, frame):
        mine.append(number)

    class Look(Callback):
        def on_step_end(self, trainer, loss):
            seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        problem = Problem("sgd")
        problem.trainer.callbacks += [At(2, send(signal.SIGTERM)), At(3, send(signal.SIGINT)), Look()]
        problem.fit()
        assert len(problem.trainer.history) == 3
        assert mine == [signal.SIGTERM]
        assert set(seen) == {(signal.SIG_IGN, handler)}
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_no_handlers_outside_of_the_main_thread():
    seen, errors = [], []

    def run():
        try:
            problem = Problem("sgd")
            problem.trainer.callbacks.append(At(1, lambda: seen.append(signal.getsignal(signal.SIGTERM))))
            problem.fit()
        except BaseException as error:
            errors.append(error)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors
    assert seen == [before]


# -- the command -------------------------------------------------------------------------------------------------------

TRAIN = ["train", "--data", "digits", "--train-size", "120", "--net", "dropout", "--epochs", "2", "--batch-size", "12"]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    return tmp_path


def run(*arguments, status=0):
    assert main([str(argument) for argument in arguments]) == status


def weights(folder):
    (path,) = (path for path in folder.glob("*") if path.suffix in (".npz", ".safetensors"))
    return serialization.load_weights(path)[0]


def result(path):
    found = json.loads(path.read_text())
    for entry in found["epochs"]:
        del entry["train_seconds"]
    del found["train_seconds"]
    return found


class Leave(Exception):
    pass


@pytest.fixture
def leave_at(monkeypatch):
    """Ends runs after a step, with an error that nobody expects: as good as a kill."""

    def set_step(step):
        due = Checkpoint.due
        steps = itertools.count(1)

        def counted(self):
            if next(steps) == step:
                raise Leave
            return due(self)

        monkeypatch.setattr(Checkpoint, "due", counted)
        return lambda: monkeypatch.setattr(Checkpoint, "due", due)

    return set_step


def test_resume(nowhere, capsys, leave_at):
    run(*TRAIN, "--quiet", "--out", "whole", "--metrics", "whole.json")
    undo = leave_at(14)
    run(*TRAIN, "--checkpoint", "run.ckpt", "--checkpoint-every", 3, "--resume", "--out", "out", status=1)
    undo()
    err = capsys.readouterr().err
    assert "fastconv: --resume: there is no run.ckpt yet; beginning a new run" in err
    assert not list((nowhere / "out").iterdir())
    run("train", "--checkpoint", "run.ckpt", "--resume", "--out", "out", "--metrics", "run.json")  # the rest is in it
    out, err = capsys.readouterr()
    assert "dropout (21,840 parameters) on 120 images of digits, 2 epochs, batches of 12" in out
    assert "fastconv: going on from run.ckpt, 1 epoch done" in err
    assert "epoch 2/2" in err
    assert "epoch 1/2" not in err
    same(weights(nowhere / "whole"), weights(nowhere / "out"))
    assert result(nowhere / "whole.json") == result(nowhere / "run.json")
    before = (nowhere / "run.ckpt").read_bytes()
    run(*TRAIN, "--checkpoint", "run.ckpt", "--resume", "--out", "again", "--metrics", "again.json", "--quiet")
    assert capsys.readouterr().err == ""
    same(weights(nowhere / "whole"), weights(nowhere / "again"))  # the run was complete
    assert json.loads((nowhere / "again.json").read_text()) == json.loads((nowhere / "run.json").read_text())
    assert (nowhere / "run.ckpt").read_bytes() == before


def fails(capsys, *arguments):
    run(*arguments, status=1)
    err = capsys.readouterr().err
    assert err.startswith("fastconv: error: ")
    assert err.count("\n") == 1
    return err


def test_other_settings_are_refused(nowhere, capsys, leave_at):
    undo = leave_at(3)
    run(*TRAIN, "--checkpoint", "run.ckpt", status=1)
    undo()
    before = (nowhere / "run.ckpt").read_bytes()
    capsys.readouterr()
    base = ["train", "--checkpoint", "run.ckpt", "--resume"]
    for option, value, there in (
        ("--net", "cnn", "dropout"),
        ("--epochs", 3, 2),
        ("--batch-size", 10, 12),
        ("--lr", 0.5, 0.001),
        ("--seed", 1, 0),
        ("--optimizer", "sgd", "adam"),
        ("--train-size", 60, 120),
        ("--data", "mnist", "digits"),
    ):
        err = fails(capsys, *base, option, value)
        assert f"run.ckpt is of another run: {option} is {there} there, not {value}; leave these out" in err
    assert "run.ckpt is there already; --resume goes on" in fails(capsys, *TRAIN, "--checkpoint", "run.ckpt")
    assert (nowhere / "run.ckpt").read_bytes() == before
    assert not any((nowhere / "models").iterdir())


def test_other_data_and_other_recipes_are_refused(nowhere, capsys, leave_at, monkeypatch):
    undo = leave_at(3)
    run(*TRAIN, "--checkpoint", "run.ckpt", "--checkpoint-every", 1, status=1)
    undo()
    capsys.readouterr()
    good = load_checkpoint("run.ckpt")

    def change(*path, value):
        save_checkpoint("changed.ckpt", replaced(good, path, value))
        return fails(capsys, "train", "--checkpoint", "changed.ckpt", "--resume", "--quiet")

    assert "its run had other training images" in change("run", "data", value="0" * 64)
    assert "its run had another recipe" in change("run", "recipe", "scale", value=0.5)
    assert "its settings are damaged (epochs)" in change("run", "settings", "epochs", value=-1)
    assert "its settings are damaged (net)" in change("run", "settings", "net", value="resnet")
    assert "no checkpoint of fastconv train" in change("run", "settings", value=None)
    assert "no checkpoint of fastconv train" in change("run", value=7)
    err = change("run", "settings", "train_size", value=10**15)  # would be drawn, and fill the memory
    assert "say --train-size 1000000000000000 too" in err
    err = change("trainer", "fit", "position", "order", value=np.arange(120.0))
    assert "changed.ckpt: Trainer.fit: the saved order of the images" in err
    assert "changed.ckpt: Trainer: the state does not fit" in change("trainer", "model", value={})
    save_checkpoint("changed.ckpt", replaced(good, ("run", "bits", "numpy"), "1.0"))
    run("train", "--checkpoint", "changed.ckpt", "--resume", "--quiet")
    assert "going on, but not bit for bit as before: numpy was 1.0, is " in capsys.readouterr().err


def test_a_damaged_checkpoint(nowhere, capsys):
    run(*TRAIN, "--checkpoint", "run.ckpt", "--quiet")
    whole = (nowhere / "run.ckpt").read_bytes()
    for content in (b"", whole[:100], whole[:-1], whole[:5000] + b"x" + whole[5001:], b"<html>"):
        (nowhere / "run.ckpt").write_bytes(content)
        err = fails(capsys, "train", "--checkpoint", "run.ckpt", "--resume")
        assert "run.ckpt: the file is damaged, or no checkpoint of fastconv" in err
        assert (nowhere / "run.ckpt").read_bytes() == content
    err = fails(capsys, "train", "--checkpoint", next((nowhere / "models").iterdir()), "--resume")
    assert "the file is damaged, or no checkpoint of fastconv" in err


def test_where_a_checkpoint_cannot_be(nowhere, capsys, monkeypatch):
    (nowhere / "file").touch()
    assert "--checkpoint: . is a folder" in fails(capsys, *TRAIN, "--checkpoint", ".")
    assert "--checkpoint: there is no folder file" in fails(capsys, *TRAIN, "--checkpoint", "file/run.ckpt")
    assert "--checkpoint: there is no folder none" in fails(capsys, *TRAIN, "--checkpoint", "none/run.ckpt")
    monkeypatch.setattr(serialization, "os", System(["open"], errno.EROFS))
    assert "error: run.ckpt: Read-only file system" in fails(capsys, *TRAIN, "--checkpoint", "run.ckpt")
    assert sorted(path.name for path in nowhere.iterdir()) == ["file", "models"]


def test_a_disk_that_is_full_from_the_beginning(nowhere, capsys):
    with tiny_disk(nowhere / "disk"):
        err = fails(capsys, *TRAIN, "--checkpoint", "disk/run.ckpt")
        assert "error: disk/run.ckpt: No space left on device" in err
        assert not list((nowhere / "disk").iterdir())


@pytest.mark.filterwarnings("always::RuntimeWarning")
def test_a_disk_that_fills_on_the_way(nowhere, capsys):
    size = 600_000
    with tiny_disk(nowhere / "disk", f"{size}"):
        fit = training._begin_or_go_on

        def fill(*args):
            with contextlib.suppress(OSError):
                (nowhere / "disk" / "fill").write_bytes(bytes(size))
            return fit(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "_begin_or_go_on", fill)
            run(*TRAIN, "--checkpoint", "disk/run.ckpt", "--checkpoint-every", 1, "--quiet", "--out", "full")
        err = capsys.readouterr().err
        assert "fastconv: disk/run.ckpt: the checkpoint could not be written (No space left on device)" in err
        assert sorted(path.name for path in (nowhere / "disk").iterdir()) == ["fill", "run.ckpt"]
        (nowhere / "disk" / "fill").unlink()
        run("train", "--checkpoint", "disk/run.ckpt", "--resume", "--quiet", "--out", "again")
    same(weights(nowhere / "full"), weights(nowhere / "again"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--resume"],
        ["--checkpoint-every", "5"],
        ["--checkpoint", "x", "--checkpoint-every", "0"],
        ["--checkpoint", "x", "--checkpoint-every", "-1s"],
        ["--checkpoint", "x", "--checkpoint-every", "infs"],
        ["--checkpoint", "x", "--checkpoint-every", "5m"],
        ["--checkpoint"],
    ],
    ids=" ".join,
)
def test_wrong_usage(nowhere, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastconv train")


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "--checkpoint FILE" in out
    assert "every 30 seconds (default: 60s)" in out
    assert "bit for bit" in out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence(nowhere, capsys):
    err = fails(capsys, *TRAIN, "--optimizer", "sgd", "--lr", "1e30", "--checkpoint", "run.ckpt", "--quiet")
    assert "training has diverged" in err
    assert "run.ckpt holds the run as it was at the beginning" in err
    load_checkpoint("run.ckpt")


@posix
@pytest.mark.parametrize(
    ("number", "status", "word", "checkpoint"),
    [
        (signal.SIGINT, 130, "interrupted", True),
        (signal.SIGTERM, 143, "terminated", True),
        (signal.SIGTERM, 143, "terminated", False),
    ],
)
def test_signals_as_a_process(nowhere, number, status, word, checkpoint):
    arguments = ["train", "--data", "digits", "--train-size", "100", "--net", "scratch", "--epochs", "100000"]
    options = ["--checkpoint", "run.ckpt", "--checkpoint-every", "100s"] if checkpoint else []
    running = subprocess.Popen(
        [sys.executable, "-m", "fastconv", *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with running:
        try:
            running.stderr.readline()  # the first epoch is over
            running.send_signal(number)
            _, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == status
    lines = [line for line in err.splitlines() if not line.startswith("epoch")]
    if checkpoint:
        assert lines == [f"fastconv: {word}; run.ckpt holds the run, and --resume goes on with it"]
        assert len(load_checkpoint("run.ckpt")["trainer"]["history"]) >= 1
        assert not any((nowhere / "models").iterdir())
    else:
        assert len(lines) == 1
        assert lines[0].startswith(f"fastconv: {word}; the weights as they are now lie in models/scratch-digits-inter")
        serialization.load_model(next((nowhere / "models").iterdir()))


# -- SIGKILL -----------------------------------------------------------------------------------------------------------


@posix
def test_killed_at_random_moments(capsys):
    """A short version of tests/kill_and_resume.py."""
    killer = kill_and_resume(8, seed=3, runs=(RUNS[2],))
    assert killer.kills == 8
    assert "the same bits" in capsys.readouterr().out
