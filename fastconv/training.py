"""`Trainer`: the training loop, and evaluation.

The loop itself is five lines of `_train_epoch`: forward, loss, backward, step, zero_grad.  The rest is book-keeping: a
history, callbacks, a progress line, checkpoints, and leaving cleanly when something goes wrong.

A run that is resumed from a checkpoint ends with the bits of one that was never interrupted.  For that a checkpoint is
written between steps only, when all that changes is known: parameters and buffers, the optimiser's state, the step of
the schedule, the state of every random generator (of dropout, of the order of the images), the rest of the epoch's
order, the sums that the epoch's line in the history is made of, the history, and what callbacks keep.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import numpy as np

from fastconv import _progress
from fastconv import _validation as check
from fastconv._signals import Interrupts, leaving
from fastconv.checkpoint import Checkpoint, generators, load_checkpoint, save_checkpoint, states, with_states
from fastconv.data import ArrayDataset, Loader
from fastconv.nn import Loss, Module
from fastconv.nn.module import Array
from fastconv.optim import Optimizer
from fastconv.schedules import Schedule

__all__ = ["EVALUATION_BATCH", "Callback", "Checkpoint", "EarlyStopping", "Trainer", "TrainingDiverged", "evaluate"]

Batches: TypeAlias = Iterable[tuple[Array, Array]]

# Images at a time where evaluate makes the batches itself: as in training, so that their memory is there already.
EVALUATION_BATCH = 128


class TrainingDiverged(ArithmeticError):
    """The loss became infinite or NaN: the weights are of no more use."""


class Callback:
    """What to do at certain moments of a training run; a subclass defines the methods it needs.

    A callback ends the run early by setting ``trainer.stop = True``.
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_step_end(self, trainer: Trainer, loss: float) -> None:
        """After each step of the optimiser; `loss` is that of its batch."""

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        """After each epoch and its validation; `entry` is its line in the history."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch, also if it was interrupted or failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold for the callback to go on later; nothing by default."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class EarlyStopping(Callback):
    """Ends the run when a figure of the history has not become better for some epochs, and keeps the best weights.

    Parameters
    ----------
    monitor : str
        Which figure; one whose name ends in 'accuracy' is better when it is higher, any other when it is lower.
    patience : int, at least 1
        So many epochs without a better one end the run.
    restore_best : bool
        Whether the model gets the best epoch's weights when `fit` ends.

    Attributes
    ----------
    best : float or None
        The best figure so far.
    best_epoch : int
        Its epoch, from 1; 0 before the first.
    best_state : dict or None
        The model's `state_dict` then.
    """

    def __init__(self, monitor: str = "validation_loss", patience: int = 3, restore_best: bool = True) -> None:
        self.monitor = monitor
        self.patience = check.integer("EarlyStopping", "patience", patience)
        if self.patience < 1:
            raise check.ShapeError(f"EarlyStopping: patience must be at least 1, got {patience}")
        self.restore_best = check.flag("EarlyStopping", "restore_best", restore_best)
        self.best: float | None = None
        self.best_epoch = 0
        self.best_state: dict[str, Array] | None = None

    def on_epoch_end(self, trainer: Trainer, entry: dict[str, Any]) -> None:
        if self.monitor not in entry:
            raise check.ShapeError(f"EarlyStopping: there is no {self.monitor!r} in the history, only {list(entry)}")
        value = entry[self.monitor]
        sign = -1 if self.monitor.endswith("accuracy") else 1
        if self.best is None or sign * value < sign * self.best:
            self.best, self.best_epoch, self.best_state = value, entry["epoch"], trainer.model.state_dict()
        elif entry["epoch"] - self.best_epoch >= self.patience:
            trainer.stop = True

    def on_fit_end(self, trainer: Trainer) -> None:
        if self.restore_best and self.best_state is not None:
            trainer.model.load_state_dict(self.best_state)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "best_state": copy.deepcopy(self.best_state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best, epoch, weights = state["best"], state["best_epoch"], state["best_state"]
        self.best = None if best is None else float(best)
        self.best_epoch = check.integer("EarlyStopping", "best_epoch", epoch)
        self.best_state = None if weights is None else {str(name): np.array(array) for name, array in weights.items()}


@dataclass
class _Position:
    """Where a run is in an epoch, and the sums that the epoch's line in the history will be made of."""

    order: Array | None  # of a Loader's images
    begin: dict[str, Any] | None  # for other batches: the states of their generators when the epoch began
    step: int = 0  # steps that were made
    images: int = 0
    right: float = 0.0
    total: float = 0.0  # of the losses of the images
    seconds: float = 0.0


@dataclass
class _Fit:
    """A call of `fit`: what it goes through, and how far it is."""

    batches: Batches
    kind: dict[str, Any]
    generators: dict[str, np.random.Generator]
    checkpoint: Checkpoint | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    done: int = 0  # epochs
    stopped: bool = False  # by a callback
    position: _Position | None = None  # in the epoch after those; None before its first batch
    saved: str = ""  # where the last checkpoint was written, for people


class Trainer:
    """Trains a model, and measures it.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
        Of the model's parameters.
    loss : Loss
        ``loss.forward(model.forward(x), y)`` must give a float.
    schedule : Schedule, optional
        Moved on after each step of the optimiser.
    callbacks : sequence of Callback
    progress : bool
        Whether to show progress on stderr while `fit` runs.

    Attributes
    ----------
    history : list of dict
        One entry for each epoch that was finished: 'epoch' (from 1), 'train_loss' (mean over the images),
        'train_accuracy' (share of images right when their turn came), 'train_seconds', 'lr' (at its end), and with
        validation data 'validation_loss' and 'validation_accuracy'.  A further `fit` adds to it.
    stop : bool
        Set it to end the run after the present step.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss,
        *,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> None:
        for name, value, kind in (("model", model, Module), ("optimizer", optimizer, Optimizer), ("loss", loss, Loss)):
            if not isinstance(value, kind):
                article = "an" if kind is Optimizer else "a"
                raise TypeError(f"Trainer: {name} must be {article} {kind.__name__}, got {check.describe(value)}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(f"Trainer: schedule must be a Schedule or None, got {check.describe(schedule)}")
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.schedule = schedule
        self.callbacks = list(callbacks)
        self.progress = progress
        self.history: list[dict[str, Any]] = []
        self.stop = False
        self._fit: _Fit | None = None  # while it runs
        self._resume: dict[str, Any] | None = None  # the fit that a checkpoint was written in, until it goes on
        self._file = ""  # that it was read from

    def fit(
        self,
        train: ArrayDataset | Batches,
        epochs: int = 1,
        *,
        validation: ArrayDataset | Batches | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[dict[str, Any]]:
        """Train for some epochs.

        Parameters
        ----------
        train : Loader, or any iterable of (x, y) that can be gone through again, or ArrayDataset
            A data set goes through a Loader with batches of 128.
        epochs : int, at least 1
            After `load` of a checkpoint that a `fit` wrote: those of that fit, the ones that it has done included.
        validation : the same, optional
            What to measure the model on after each epoch.  A data set is scaled as the training images are.
        checkpoint : Checkpoint, optional
            Where to save the run, before the first step, as often as it says, and at the end.

        Returns
        -------
        history : list of dict, as the attribute

        Raises
        ------
        TrainingDiverged
            If the loss, or a weight that was to be saved, becomes infinite or NaN; the last checkpoint stays.
        KeyboardInterrupt
            On Ctrl-C, once the step is over and the checkpoint, if there is one, is written; at once on a second one.
        SystemExit
            With status 143, on SIGTERM, in the same way.
        OSError
            If the checkpoint before the first step cannot be written.  Later ones that cannot give a RuntimeWarning:
            the one before is still there, the run goes on, and tries again when the next one is due.
        ShapeError
            If a resumed run has other batches than the one that was saved, or fewer epochs than that has done.

        Notes
        -----
        Afterwards, however it ends, the model is in eval mode, with no gradients and nothing kept for backward.

        Batches other than a Loader are resumed by going through those that were used once more, with the generators
        that are attributes of theirs set as they were when the epoch began.

        Signals are looked after in the main thread only, and only where nobody else handles them.
        """
        epochs = check.integer("Trainer.fit", "epochs", epochs)
        if epochs < 1:
            raise check.ShapeError(f"Trainer.fit: epochs must be at least 1, got {epochs}")
        batches = Loader(train, 128) if isinstance(train, ArrayDataset) else train
        if isinstance(batches, Iterator):
            raise TypeError("Trainer.fit: train is an iterator, which ends after one epoch; give a Loader or a list")
        if isinstance(validation, Iterator):
            raise TypeError(
                "Trainer.fit: validation is an iterator, which ends after one epoch; give a Loader or a list"
            )
        if isinstance(validation, ArrayDataset):
            validation = self._loader(validation, like=batches)
        fit = _Fit(batches, _kind(batches), generators({"train": batches, "validation": validation}), checkpoint)
        resumed = self._resume is not None
        if self._resume is not None:
            try:
                _go_on(fit, self._resume, epochs, len(self.history))
            except check.ShapeError as error:
                raise check.ShapeError(f"{self._file}: {error}" if self._file else str(error)) from None
            self._resume = None
        self._fit = fit
        self.stop = False
        images = _images(batches)
        first = len(self.history) - fit.done  # epochs of earlier calls
        progress = _progress.make(
            self.progress,
            first + epochs,
            None if images is None else images * epochs,
            (images or 0) * fit.done + (fit.position.images if fit.position else 0),
            first + fit.done + 1,
        )
        try:
            with fit.interrupts:
                for callback in self.callbacks:
                    callback.on_fit_begin(self)
                if checkpoint is not None and not resumed:
                    self._save(fit)
                finished = resumed and (fit.stopped or fit.done == epochs)
                while fit.done < epochs and not fit.stopped:
                    entry = self._epoch(fit, validation, progress)
                    if entry is None:
                        break
                    fit.done, fit.position = fit.done + 1, None
                    progress.epoch(entry, last=fit.done == epochs or self.stop)
                    for callback in self.callbacks:
                        callback.on_epoch_end(self, entry)
                    fit.stopped = self.stop
                    if fit.interrupts.number is not None:
                        break
                if fit.interrupts.number is not None:
                    self._leave(fit)
                if checkpoint is not None and not finished:
                    self._try_to_save(fit, "the weights are in memory only")
        finally:
            self._fit = None
            progress.close()
            self.model.eval()
            self.loss.release()
            self.optimizer.zero_grad()
            for callback in self.callbacks:
                callback.on_fit_end(self)
        return self.history

    def evaluate(self, data: ArrayDataset | Batches) -> dict[str, float]:
        """Loss and accuracy, in eval mode; the model's mode is restored afterwards.

        Parameters
        ----------
        data : Loader, or any iterable of (x, y), or ArrayDataset
            A data set goes through a Loader with its default scale.

        Returns
        -------
        {'loss', 'accuracy'} : dict of float
            Means over the images; NaN where there are none.
        """
        return evaluate(self.model, self.loss, self._loader(data) if isinstance(data, ArrayDataset) else data)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that changes while it trains.

        Returns
        -------
        state : dict
            'model', 'optimizer', 'schedule' and 'callbacks': their own states; 'generators': those of the model;
            'history'; 'fit': while `fit` runs (in a callback) and between `load` and the `fit` that goes on, how far
            that is, else None; 'kinds': the types of optimiser, schedule, loss and callbacks.
        """
        fit = self._fit
        return {
            "kinds": self._kinds(),
            "model": self.model.state_dict(),
            "generators": states(generators(self.model)),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.callbacks],
            "history": copy.deepcopy(self.history),
            "fit": copy.deepcopy(self._resume) if fit is None else _fit_state(fit),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; nothing is changed unless all of it fits.

        If it was taken while `fit` ran, the next `fit` goes on with that one.

        Raises
        ------
        ShapeError
            If it is the state of another network, optimiser, schedule, loss or other callbacks, or is none.
        RuntimeError
            While `fit` runs.
        """
        if self._fit is not None:
            raise RuntimeError("Trainer.load_state_dict: fit is running; load before it")
        before = self.state_dict()
        try:
            self._load(state)
        except Exception as error:
            self._load(before)
            if isinstance(error, KeyError | TypeError | AttributeError | ValueError | OverflowError | IndexError):
                what = f"{error!r:.200}" if isinstance(error, KeyError) else str(error)
                raise check.ShapeError(f"Trainer: the state does not fit: {what}") from None
            raise

    def _load(self, state: Mapping[str, Any]) -> None:
        if dict(state["kinds"]) != self._kinds():
            raise check.ShapeError(f"it is of {_describe(state['kinds'])}, expected {_describe(self._kinds())}")
        own = self.model.state_dict()
        for name, array in state["model"].items():
            if name in own and (not isinstance(array, np.ndarray) or array.dtype != own[name].dtype):
                raise check.ShapeError(f"{name} is {getattr(array, 'dtype', array)!s:.40}, expected {own[name].dtype}")
        self.model.load_state_dict(state["model"])
        with_states(generators(self.model), state["generators"], "the model")
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if len(state["callbacks"]) != len(self.callbacks):
            raise check.ShapeError("it is of other callbacks")
        for callback, kept in zip(self.callbacks, state["callbacks"], strict=True):
            callback.load_state_dict(kept)
        self.history = _history(state["history"])
        self._resume = None if state["fit"] is None else dict(state["fit"])
        self._file = ""

    def _kinds(self) -> dict[str, Any]:
        """What the state is of, beside the names and shapes that it has itself."""
        kinds: dict[str, Any] = {name: type(getattr(self, name)).__name__ for name in ("optimizer", "schedule", "loss")}
        return kinds | {"callbacks": [type(callback).__name__ for callback in self.callbacks]}

    def save(self, path: str | os.PathLike[str], run: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint, atomically: `state_dict`, and in `run` what the caller wants to find there again.

        In a callback it holds the run that is going on, outside of `fit` a trainer that would begin a new one.
        Errors as `fastconv.checkpoint.save_checkpoint`.
        """
        save_checkpoint(path, {"run": dict(run or {}), "trainer": self.state_dict()})

    def load(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on from a checkpoint, with a trainer that was made as the saved one was.

        Returns
        -------
        run : dict
            What was saved beside the trainer's state.

        Raises
        ------
        ValueError
            If the file is damaged, is no checkpoint, or is not of such a trainer; nothing is changed then.
        OSError
            If it cannot be read.
        """
        return self.restore(load_checkpoint(path), path)

    def restore(self, found: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
        """`load` for a checkpoint that was read before; the path is for messages."""
        try:
            if not isinstance(found.get("run"), dict) or not isinstance(found.get("trainer"), dict):
                raise check.ShapeError("it is no checkpoint of a Trainer")
            self.load_state_dict(found["trainer"])
        except check.ShapeError as error:
            raise check.ShapeError(f"{os.fspath(path)}: {error}") from None
        self._file = os.fspath(path)
        run: dict[str, Any] = found["run"]
        return run

    def _save(self, fit: _Fit) -> None:
        """Write the checkpoint of a fit, unless its weights are of no more use."""
        if fit.checkpoint is None:
            return
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.data).all():
                step = fit.position.step if fit.position else 0
                raise self._diverged(f"{name} became infinite or NaN", f"by step {step}")
        fit.checkpoint.save(self.state_dict())
        fit.saved = _where(fit, len(self.history))

    def _try_to_save(self, fit: _Fit, so: str = "training goes on") -> None:
        """The same where a run should not be lost because it cannot be saved."""
        try:
            self._save(fit)
        except OSError as error:
            warnings.warn(
                f"{error.filename}: the checkpoint could not be written ({error.strerror or error}); "
                f"the one before it is still there, and {so}",
                RuntimeWarning,
                stacklevel=3,
            )

    def _leave(self, fit: _Fit) -> NoReturn:
        """After a signal, between two steps or epochs: save, and end what runs."""
        error = leaving(fit.interrupts.number or signal.SIGINT)
        if fit.checkpoint is not None:
            try:
                self._save(fit)
                error.checkpoint = fit.checkpoint.path
            except OSError as problem:
                error.problem = problem
        raise error

    # -- one epoch -----------------------------------------------------------------------------------------------------

    def _epoch(self, fit: _Fit, validation: Batches | None, progress: _progress.Silent) -> dict[str, Any] | None:
        """Train for an epoch, or for the rest of one, and measure; None if it was stopped on the way."""
        self.model.train()
        position = self._train_epoch(fit, progress)
        if position is None:
            return None
        entry = {
            "epoch": len(self.history) + 1,
            "train_loss": position.total / position.images,
            "train_accuracy": position.right / position.images,
            "train_seconds": position.seconds,
            "lr": self.optimizer.lr,
        }
        if validation is not None:
            everything = generators(self.model) | fit.generators
            before = states(everything)
            measured = self.evaluate(itertools.takewhile(lambda _: fit.interrupts.number is None, validation))
            if fit.interrupts.number is not None:  # a resumed run measures again, from the beginning
                with_states(everything, before, "the run")
                self._leave(fit)
            if math.isnan(measured["accuracy"]):
                raise ValueError("Trainer.fit: there are no validation images")
            if not math.isfinite(measured["loss"]):
                raise self._diverged(f"the loss became {measured['loss']}", "on the validation data")
            entry |= {f"validation_{name}": value for name, value in measured.items()}
        self.history.append(entry)
        return entry

    def _train_epoch(self, fit: _Fit, progress: _progress.Silent) -> _Position | None:
        """The sums of an epoch; None if it was stopped on the way."""
        batches, position = _begin_or_go_on(fit)
        try:
            return self._steps(fit, batches, position, progress)
        finally:  # a thread that prepares batches ends here, whatever holds on to this frame
            getattr(batches, "close", _nothing)()

    def _steps(
        self, fit: _Fit, batches: Iterator[tuple[Array, Array]], position: _Position, progress: _progress.Silent
    ) -> _Position | None:
        model, loss, optimizer, schedule = self.model, self.loss, self.optimizer, self.schedule
        callbacks = [c for c in self.callbacks if type(c).on_step_end is not Callback.on_step_end]
        checkpoint, interrupts = fit.checkpoint, fit.interrupts
        begin = time.perf_counter() - position.seconds
        for x, y in batches:
            scores = model.forward(x)
            value = float(loss.forward(scores, y))
            if not math.isfinite(value):
                raise self._diverged(f"the loss became {value}", f"in step {position.step + 1}")
            model.backward(loss.backward(), need_grad_x=False)
            optimizer.step()
            optimizer.zero_grad()
            if schedule is not None:
                schedule.step()
            count = len(y)
            position.step += 1
            position.images += count
            position.total += value * count
            right = _right(scores, y)
            position.right += right
            position.seconds = time.perf_counter() - begin
            progress.step(count, value, right)
            for callback in callbacks:
                callback.on_step_end(self, value)
            if self.stop:
                return None
            if interrupts.number is not None:
                self._leave(fit)
            if checkpoint is not None and checkpoint.due():
                self._try_to_save(fit)
        if not position.images:
            raise ValueError("Trainer.fit: there are no training images")
        position.seconds = time.perf_counter() - begin
        return position

    def _diverged(self, what: str, where: str) -> TrainingDiverged:
        fit = self._fit
        kept = ""
        if fit is not None and fit.checkpoint is not None and fit.checkpoint.path.exists():
            kept = f"; {fit.checkpoint.path} holds the run as it was at {fit.saved or 'an earlier step'}"
        return TrainingDiverged(
            f"{what} in epoch {len(self.history) + 1}, {where}: training has diverged; "
            f"try a learning rate below {self.optimizer.lr:g}{kept}"
        )

    def _loader(self, dataset: ArrayDataset, like: object = None) -> Loader:
        """Batches for evaluation, scaled as those of another loader are."""
        if isinstance(like, Loader):
            return Loader(
                dataset, EVALUATION_BATCH, shuffle=False, scale=like.scale, offset=like.offset, dtype=like.dtype
            )
        return Loader(dataset, EVALUATION_BATCH, shuffle=False)


def evaluate(model: Module, loss: Loss, batches: Batches) -> dict[str, float]:
    """Loss and accuracy of a model in eval mode; its mode is restored afterwards.

    Parameters
    ----------
    batches : iterable of (x, y)

    Returns
    -------
    {'loss', 'accuracy'} : dict of float
        Means over the images; NaN where there are none.
    """
    training = model.training
    model.eval()
    images = 0
    right = total = 0.0
    try:
        for x, y in batches:
            scores = model.forward(x)
            total += float(loss.forward(scores, y)) * len(y)
            right += _right(scores, y)
            images += len(y)
    finally:
        loss.release()
        model.train(training)
    if not images:
        return {"loss": math.nan, "accuracy": math.nan}
    return {"loss": total / images, "accuracy": right / images}


def _right(scores: Array, y: Array) -> float:
    """How many images have the highest of their scores (N, C) at their class; y may hold the probabilities of all.

    An image with scores for each of its positions, (N, C, d1, ...), counts as the share of positions that are right.
    """
    classes = np.asarray(y)
    if classes.ndim == scores.ndim:
        classes = classes.argmax(axis=1)
    hits = np.count_nonzero(scores.argmax(axis=1) == classes)
    return float(hits * len(y) / max(classes.size, 1))


def _images(batches: object) -> int | None:
    """How many images there are in an epoch, if that can be known."""
    if not isinstance(batches, Loader):
        return None
    return min(len(batches.dataset), len(batches) * batches.batch_size) if isinstance(batches, Sized) else None


# -- what a checkpoint knows of a fit ----------------------------------------------------------------------------------


def _nothing() -> None:
    """For iterators that need not be closed."""


def _kind(batches: object) -> dict[str, Any]:
    """What must be the same of the batches for a run to go on with them."""
    if not isinstance(batches, Loader):
        return {"type": type(batches).__name__}
    names = ("batch_size", "shuffle", "scale", "offset", "drop_last")
    kind = {name: getattr(batches, name) for name in names}
    if batches.augment is not None:
        kind["augment"] = repr(batches.augment)
    return {"type": type(batches).__name__, "images": len(batches.dataset), "dtype": str(batches.dtype), **kind}


def _knows_its_order(batches: object) -> bool:
    return isinstance(batches, Loader) and type(batches).__iter__ is Loader.__iter__


def _begin_or_go_on(fit: _Fit) -> tuple[Iterator[tuple[Array, Array]], _Position]:
    """The batches of an epoch that are still to come, and where in it they begin."""
    batches, position = fit.batches, fit.position
    if isinstance(batches, Loader) and _knows_its_order(batches):
        if position is None:
            position = fit.position = _Position(batches.order(), None)
        order = np.arange(0) if position.order is None else position.order
        return batches.batches(order, position.step), position
    if position is None:
        position = fit.position = _Position(None, states(fit.generators))
        return iter(batches), position
    now = states(fit.generators)
    with_states(fit.generators, position.begin or {}, "the batches")
    left = iter(batches)
    skipped = sum(1 for _ in itertools.islice(left, position.step))
    if skipped != position.step:
        raise check.ShapeError(f"Trainer.fit: the saved run was at batch {position.step}, there are {skipped}")
    with_states(fit.generators, now, "the batches")
    return left, position


def _where(fit: _Fit, epochs: int) -> str:
    """How far a run is that has so many epochs in its history, in words."""
    if fit.position is not None and fit.position.step:
        return f"epoch {epochs + 1}, step {fit.position.step}"
    return f"the end of epoch {epochs}" if epochs else "the beginning"


def _fit_state(fit: _Fit) -> dict[str, Any]:
    position = None if fit.position is None else copy.deepcopy(vars(fit.position))
    return {
        "batches": fit.kind,
        "generators": states(fit.generators),
        "done": fit.done,
        "stopped": fit.stopped,
        "position": position,
    }


def _go_on(fit: _Fit, saved: Mapping[str, Any], epochs: int, in_history: int) -> None:
    """Set a fit to where a saved one was; nothing is changed unless all fits."""
    op = "Trainer.fit"
    try:
        kind, done, position = dict(saved["batches"]), saved["done"], saved["position"]
        if kind != fit.kind:
            raise check.ShapeError(f"{op}: the saved run had batches of {_describe(kind)}, got {_describe(fit.kind)}")
        done = _count("done", done)
        stopped = check.flag(op, "stopped", saved["stopped"])
        if done > in_history or (stopped and not done):
            raise check.ShapeError(
                f"{op}: the saved run has done {done} epochs, of which its history knows {in_history}"
            )
        if position is not None:
            position = _position(fit, position)
        if epochs < done + (position is not None):
            raise check.ShapeError(f"{op}: the saved run is in epoch {done + 1} already; got epochs={epochs}")
        with_states(fit.generators, saved["generators"], f"{op}: the batches")
    except check.ShapeError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise check.ShapeError(f"{op}: the saved run is damaged ({error!r:.200})") from None
    fit.done, fit.stopped, fit.position = done, stopped, position


def _position(fit: _Fit, saved: Mapping[str, Any]) -> _Position:
    """A position in an epoch, once it is known to be one of these batches."""
    order, begin = saved["order"], saved["begin"]
    batches = fit.batches
    counts = {name: _count(name, saved[name]) for name in ("step", "images")}
    if isinstance(batches, Loader) and _knows_its_order(batches):
        size = len(batches.dataset)
        if not isinstance(order, np.ndarray) or order.dtype != np.int64 or order.shape != (size,):
            raise check.ShapeError("Trainer.fit: the saved order of the images is not one of so many images")
        if size and (order.min() < 0 or order.max() >= size):
            raise check.ShapeError("Trainer.fit: the saved order of the images has positions that there are not")
        if counts["step"] > len(batches):
            raise check.ShapeError(f"Trainer.fit: the saved run was at batch {counts['step']} of {len(batches)}")
    elif not isinstance(begin, dict):
        raise check.ShapeError("Trainer.fit: the saved run does not say how its epoch began")
    right, total, seconds = (float(saved[name]) for name in ("right", "total", "seconds"))
    return _Position(order, begin, **counts, right=right, total=total, seconds=seconds)


def _count(name: str, value: object) -> int:
    number = check.integer("Trainer.fit", name, value)
    if not 0 <= number < 2**63:
        raise check.ShapeError(f"Trainer.fit: {name} of the saved run is {number:.40}")
    return number


def _history(saved: Any) -> list[dict[str, Any]]:
    """A saved history, once it is known to be one."""
    history = [dict(entry) for entry in saved]
    for entry in history:
        for name in ("epoch", "train_loss", "train_accuracy", "train_seconds", "lr"):
            if not isinstance(entry[name], int | float):
                raise check.ShapeError(f"{name} in the history is {entry[name]!r:.40}")
    return history


def _describe(kind: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in dict(kind).items())
