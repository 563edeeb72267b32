"""The Trainer: it learns, it measures, it tells, and it leaves cleanly."""

import copy
import io
import re
import sys

import numpy as np
import pytest

import fastconv
from fastconv import _progress, data, models, nn, optim, schedules
from fastconv.training import Callback, Checkpoint, Trainer, TrainingDiverged, evaluate


def bars(n, seed=0):
    """Images of 8 x 8 with a bar that stands (class 0) or lies (class 1), on some noise: not hard to tell apart."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label, place in zip(images, labels, rng.integers(2, 6, n), strict=True):
        (image.T if label == 0 else image)[place] += 180
    return data.ArrayDataset(images, labels)


def network(seed=0, dropout=0.1):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(dropout, rng=rng),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 2, rng=rng),
    )


def trainer(model=None, lr=0.02, **options):
    model = network() if model is None else model
    return Trainer(model, optim.Adam(model.parameters(), lr), nn.CrossEntropyLoss(), **{"progress": False, **options})


def loader(n=200, seed=0, **options):
    return data.Loader(bars(n, seed), 20, rng=np.random.default_rng(seed), **options)


# -- it learns and measures --------------------------------------------------------------------------------------------


def test_accuracy_where_targets_are_probabilities(rng):
    x = rng.normal(size=(3, 3)).astype(np.float32)
    soft = np.array([[0.9, 0.1, 0], [0, 0.2, 0.8], [0.6, 0.4, 0]], np.float32)
    model = nn.Sequential(nn.Linear(3, 3, rng=rng))
    expected = np.mean(model.eval()(x).argmax(axis=1) == [0, 2, 0])
    assert evaluate(model, nn.CrossEntropyLoss(), [(x, soft)])["accuracy"] == pytest.approx(expected)
    (entry,) = trainer(model).fit([(x, soft)], 1, validation=[(x[:2], soft[:2])])
    assert entry["train_accuracy"] == pytest.approx(expected)


def test_accuracy_where_each_pixel_has_a_class(rng):
    x = rng.normal(size=(4, 1, 5, 6)).astype(np.float32)
    y = rng.integers(0, 3, (4, 5, 6))
    model = nn.Sequential(nn.Conv2d(1, 3, 1, rng=rng))
    expected = np.mean(model.eval()(x).argmax(axis=1) == y)
    assert evaluate(model, nn.CrossEntropyLoss(), [(x, y)])["accuracy"] == pytest.approx(expected)


def test_validation_must_last_for_all_epochs():
    with pytest.raises(TypeError, match="validation is an iterator, which ends after one epoch"):
        trainer().fit(loader(40), 2, validation=iter(loader(20)))
    with pytest.raises(ValueError, match="there are no validation images"):
        trainer().fit(loader(40), 1, validation=[])


def test_it_learns_a_separable_problem():
    t = trainer()
    history = t.fit(loader(), 6, validation=bars(100, seed=1))
    assert history is t.history
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 3
    assert history[-1]["validation_accuracy"] == 1.0
    assert t.evaluate(bars(100, seed=2))["accuracy"] > 0.98
    assert set(history[0]) == {
        "epoch",
        "train_loss",
        "train_accuracy",
        "train_seconds",
        "lr",
        "validation_loss",
        "validation_accuracy",
    }
    assert all(entry["train_seconds"] > 0 for entry in history)


def test_the_losses_of_an_epoch_are_means_over_the_images():
    model = network(dropout=0.0)
    batches = [(x, y) for x, y in data.Loader(bars(50), 20, shuffle=False)]
    assert [len(y) for _, y in batches] == [20, 20, 10]
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    expected = nn.CrossEntropyLoss()(model.eval()(x), y)
    right = float((model(x).argmax(1) == y).mean())
    still = Trainer(model, optim.SGD(model.parameters(), 0.0), nn.CrossEntropyLoss(), progress=False)
    assert still.evaluate(batches) == pytest.approx({"loss": expected, "accuracy": right})
    (entry,) = still.fit(batches, 1, validation=batches)
    assert entry["train_loss"] == pytest.approx(expected)
    assert entry["train_accuracy"] == right
    assert entry["validation_loss"] == pytest.approx(expected)


def test_the_loop_is_forward_loss_backward_step():
    """The Trainer does what the loop that everyone writes by hand does, bit for bit."""
    one, two = network(), network()
    trainer(one, schedule=None).fit(loader(), 2)
    optimizer, loss = optim.Adam(two.parameters(), 0.02), nn.CrossEntropyLoss()
    batches = loader()
    for _ in range(2):
        for x, y in batches:
            loss(two(x), y)
            two.backward(loss.backward())
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_the_same_bits_for_any_number_of_threads():
    states = []
    for n in (1, 2):
        with fastconv.threads(n):
            model = models.build("dropout", rng=0)
            batches = data.Loader(data.digits(300), 100, rng=np.random.default_rng(0))
            trainer(model).fit(batches, 1)
            states.append(model.state_dict())
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])


def test_a_data_set_is_scaled_as_the_training_images_are():
    model = network()
    t = trainer(model)
    scaled = loader(scale=0.01, offset=-1.0)
    held_out = bars(60, seed=3)
    (entry,) = t.fit(scaled, 1, validation=held_out)
    again = data.Loader(held_out, 60, shuffle=False, scale=0.01, offset=-1.0)
    assert entry["validation_accuracy"] == t.evaluate(again)["accuracy"]
    assert entry["validation_loss"] == pytest.approx(t.evaluate(again)["loss"], rel=1e-6)
    t.fit(bars(60), 1)  # a data set instead of a loader


def test_evaluation_is_in_eval_mode_and_restores_the_mode():
    model = network(dropout=0.9)
    loss = nn.CrossEntropyLoss()
    batches = list(loader(40))
    for training in (True, False):
        model.train(training)
        assert evaluate(model, loss, batches) == evaluate(model, loss, batches)
        assert model.training == training
        assert model[3].training == training
    assert all(module._saved is None for module in model.modules())
    with pytest.raises(RuntimeError):
        loss.backward()
    nothing = evaluate(model, loss, [])
    assert np.isnan(nothing["loss"])
    assert np.isnan(nothing["accuracy"])


def test_the_schedule_moves_once_a_step():
    model = network()
    optimizer = optim.Adam(model.parameters(), 0.1)
    schedule = schedules.LinearTailLR(optimizer, 20, tail=1.0)
    t = Trainer(model, optimizer, nn.CrossEntropyLoss(), schedule=schedule, progress=False)
    t.fit(loader(), 2)
    assert schedule.last_step == 20
    assert [entry["lr"] for entry in t.history] == pytest.approx([0.05, 0.0])


def test_a_second_fit_goes_on():
    t = trainer()
    t.fit(loader(), 2)
    t.fit(loader(), 1)
    assert [entry["epoch"] for entry in t.history] == [1, 2, 3]


def test_afterwards_nothing_is_kept():
    t = trainer()
    t.fit(loader(), 1, validation=bars(20))
    assert not t.model.training
    assert all(module._saved is None for module in t.model.modules())
    assert all(parameter.grad is None for parameter in t.model.parameters())


def test_nothing_piles_up_while_it_runs():
    """Batches and gradients are let go of step by step."""
    model, alive = network(), []

    class Count(Callback):
        def on_step_end(self, trainer, loss):
            alive.append(sum(module._saved is not None for module in trainer.model.modules()))
            alive.append(sum(parameter.grad is not None for parameter in trainer.model.parameters()))

    trainer(model, callbacks=[Count()]).fit(loader(), 1)
    assert alive == [0] * 20


# -- callbacks ---------------------------------------------------------------------------------------------------------


class Notes(Callback):
    def __init__(self, stop_after_steps=None, stop_after_epochs=None):
        self.notes = []
        self.steps = stop_after_steps
        self.epochs = stop_after_epochs

    def on_fit_begin(self, trainer):
        self.notes.append("begin")

    def on_step_end(self, trainer, loss):
        assert loss > 0
        self.notes.append("step")
        trainer.stop = self.notes.count("step") == self.steps

    def on_epoch_end(self, trainer, entry):
        assert entry is trainer.history[-1]
        self.notes.append("epoch")
        trainer.stop = self.notes.count("epoch") == self.epochs

    def on_fit_end(self, trainer):
        self.notes.append("end")


def test_callbacks_are_called_in_their_moments():
    notes = Notes()
    trainer(callbacks=[notes]).fit(loader(40), 2)
    assert notes.notes == ["begin", "step", "step", "epoch", "step", "step", "epoch", "end"]


def test_a_callback_can_stop_the_run():
    notes = Notes(stop_after_epochs=1)
    t = trainer(callbacks=[notes])
    t.fit(loader(40), 5)
    assert notes.notes == ["begin", "step", "step", "epoch", "end"]
    notes = Notes(stop_after_steps=3)
    t = trainer(callbacks=[notes])
    t.fit(loader(40), 5)
    assert notes.notes == ["begin", "step", "step", "epoch", "step", "end"]
    assert len(t.history) == 1
    assert not t.model.training


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_history_and_weights():
    class Interrupt(Callback):
        def on_step_end(self, trainer, loss):
            if len(trainer.history) == 2:
                raise KeyboardInterrupt

    notes = Notes()
    t = trainer(callbacks=[notes, Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        t.fit(loader(40), 5)
    assert len(t.history) == 2
    assert notes.notes[-1] == "end"
    assert not t.model.training
    assert all(parameter.grad is None for parameter in t.model.parameters())
    assert np.isfinite(t.evaluate(bars(20))["loss"])
    t.callbacks.clear()
    t.fit(loader(40), 1)
    assert len(t.history) == 3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_with_a_clear_error():
    model = network()
    before = copy.deepcopy(model)
    before[0].weight.data[0] = np.nan
    with pytest.raises(
        TrainingDiverged, match=r"the loss became nan in epoch 1, in step 1: .*learning rate below 0\.02"
    ):
        trainer(before).fit(loader(), 2)
    with pytest.raises(TrainingDiverged, match=r"the loss became (nan|inf)"):
        trainer(model, lr=1e30).fit(loader(), 2)


def test_validation_that_is_not_finite_stops_too():
    x = np.full((4, 1, 8, 8), np.nan, np.float32)
    with pytest.raises(TrainingDiverged, match="on the validation data"):
        trainer().fit(loader(), 2, validation=[(x, np.zeros(4, int))])


def test_what_is_refused():
    t = trainer()
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        t.fit(loader(), 0)
    with pytest.raises(TypeError, match="epochs must be an int"):
        t.fit(loader(), 1.5)
    with pytest.raises(TypeError, match="train is an iterator"):
        t.fit(iter(loader()), 2)
    with pytest.raises(ValueError, match="no training images"):
        t.fit([], 1)


# -- the progress line -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    def replace(stream):
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    monkeypatch.setattr(_progress, "LINE_INTERVAL", 0.0)
    monkeypatch.setattr(_progress, "BAR_INTERVAL", 0.0)
    return replace


def fit(progress=True):
    trainer(progress=progress).fit(loader(), 2, validation=bars(20))


def test_one_line_an_epoch_where_stderr_is_no_terminal(stderr):
    stream = stderr(io.StringIO())
    fit()
    first, second = stream.getvalue().splitlines()
    assert first.startswith("epoch 1/2  loss ")
    assert "held out" in second
    assert "\r" not in stream.getvalue()


def test_short_epochs_do_not_fill_the_screen(stderr, monkeypatch):
    stream = stderr(io.StringIO())
    monkeypatch.setattr(_progress, "LINE_INTERVAL", 3600.0)
    trainer(progress=True).fit(loader(40), 7)
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == ["epoch 1/7", "epoch 7/7"]


def test_a_bar_where_tqdm_is_installed(stderr):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    stream = stderr(Terminal())
    fit()
    text = stream.getvalue()
    assert "epoch 1/2  loss " in text
    for word in ("accuracy ", " images/s", " left"):
        assert word in text
    assert "epoch 2/2" in text


def test_a_rewritten_line_where_it_is_not(stderr, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    stream = stderr(Terminal())
    fit()
    text = stream.getvalue()
    assert "images/s" in text
    assert text.count("\n") == 2
    assert text.endswith("\r\x1b[K")
    assert "epoch 2/2" in text.split("\n")[1]
    stream = stderr(Terminal())
    trainer(progress=True).fit(list(loader(40)), 1)  # the number of images is not known before the end
    assert "20 images" in stream.getvalue()


@pytest.mark.parametrize("tqdm", [True, False])
def test_a_run_that_is_resumed_goes_on_where_it_was(stderr, monkeypatch, tmp_path, tqdm):
    if tqdm:
        pytest.importorskip("tqdm", reason="tqdm is not installed")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    one = trainer()
    one.callbacks.append(Notes(stop_after_steps=13))
    one.fit(loader(), 2, checkpoint=Checkpoint(tmp_path / "file"))
    two = trainer(callbacks=[Notes()], progress=True)
    two.load(tmp_path / "file")
    stream = stderr(Terminal())
    two.fit(loader(), 2)
    text = stream.getvalue()
    shares = [int(share) for share in re.findall(r"(\d+) ?%", text)]
    assert shares[0] in (65, 70)  # 13 of 20 steps were done before
    assert max(shares) in (95, 100)
    assert "epoch 2/2" in text
    assert "epoch 1/2" not in text


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_never_when_quiet(stderr, stream, capsys):
    stderr(stream)
    fit(progress=False)
    assert stream.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_without_any_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    fit()
