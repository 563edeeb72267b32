"""`Trainer`: the training loop, and evaluation.

The loop itself is five lines of `_train_epoch`: forward, loss, backward, step, zero_grad.  The rest is book-keeping: a
history, callbacks, a progress line, and leaving cleanly when something goes wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np

from fastconv import _progress
from fastconv import _validation as check
from fastconv.data import ArrayDataset, Loader
from fastconv.nn import Loss, Module
from fastconv.nn.module import Array
from fastconv.optim import Optimizer
from fastconv.schedules import Schedule

__all__ = ["EVALUATION_BATCH", "Callback", "Trainer", "TrainingDiverged", "evaluate"]

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

    def fit(
        self, train: ArrayDataset | Batches, epochs: int = 1, *, validation: ArrayDataset | Batches | None = None
    ) -> list[dict[str, Any]]:
        """Train for some epochs.

        Parameters
        ----------
        train : Loader, or any iterable of (x, y) that can be gone through again, or ArrayDataset
            A data set goes through a Loader with batches of 128.
        epochs : int, at least 1
        validation : the same, optional
            What to measure the model on after each epoch.  A data set is scaled as the training images are.

        Returns
        -------
        history : list of dict, as the attribute

        Raises
        ------
        TrainingDiverged
            If the loss becomes infinite or NaN.
        KeyboardInterrupt
            On Ctrl-C; weights and history stay as they were after the last step.

        Notes
        -----
        Afterwards, however it ends, the model is in eval mode, with no gradients and nothing kept for backward.
        """
        epochs = check.integer("Trainer.fit", "epochs", epochs)
        if epochs < 1:
            raise check.ShapeError(f"Trainer.fit: epochs must be at least 1, got {epochs}")
        batches = Loader(train, 128) if isinstance(train, ArrayDataset) else train
        if isinstance(batches, Iterator):
            raise TypeError("Trainer.fit: train is an iterator, which ends after one epoch; give a Loader or a list")
        if isinstance(validation, ArrayDataset):
            validation = self._loader(validation, like=batches)
        self.stop = False
        images = _images(batches)
        progress = _progress.make(self.progress, epochs, None if images is None else images * epochs)
        for callback in self.callbacks:
            callback.on_fit_begin(self)
        try:
            for i in range(epochs):
                entry = self._epoch(batches, validation, progress)
                if entry is None:
                    break
                progress.epoch(entry, last=i == epochs - 1 or self.stop)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, entry)
                if self.stop:
                    break
        finally:
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

    # -- one epoch -----------------------------------------------------------------------------------------------------

    def _epoch(self, batches: Batches, validation: Batches | None, progress: _progress.Silent) -> dict[str, Any] | None:
        """Train for an epoch and measure; None if it was stopped on the way."""
        begin = time.perf_counter()
        self.model.train()
        trained = self._train_epoch(iter(batches), progress)
        if trained is None:
            return None
        loss, accuracy = trained
        entry = {
            "epoch": len(self.history) + 1,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "train_seconds": time.perf_counter() - begin,
            "lr": self.optimizer.lr,
        }
        if validation is not None:
            measured = self.evaluate(validation)
            if not math.isfinite(measured["loss"]):
                raise self._diverged(measured["loss"], "on the validation data")
            entry |= {f"validation_{name}": value for name, value in measured.items()}
        self.history.append(entry)
        return entry

    def _train_epoch(
        self, batches: Iterator[tuple[Array, Array]], progress: _progress.Silent
    ) -> tuple[float, float] | None:
        """(mean loss, accuracy) of an epoch; None if it was stopped on the way."""
        model, loss, optimizer, schedule = self.model, self.loss, self.optimizer, self.schedule
        callbacks = [c for c in self.callbacks if type(c).on_step_end is not Callback.on_step_end]
        images = right = 0
        total = 0.0
        for step, (x, y) in enumerate(batches):
            scores = model.forward(x)
            value = float(loss.forward(scores, y))
            if not math.isfinite(value):
                raise self._diverged(value, f"in step {step + 1}")
            model.backward(loss.backward(), need_grad_x=False)
            optimizer.step()
            optimizer.zero_grad()
            if schedule is not None:
                schedule.step()
            count = len(y)
            images += count
            total += value * count
            right += _right(scores, y)
            progress.step(count, value)
            for callback in callbacks:
                callback.on_step_end(self, value)
            if self.stop:
                return None
        if not images:
            raise ValueError("Trainer.fit: there are no training images")
        return total / images, right / images

    def _diverged(self, value: float, where: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"the loss became {value} in epoch {len(self.history) + 1}, {where}: training has diverged; "
            f"try a learning rate below {self.optimizer.lr:g}"
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
    images = right = 0
    total = 0.0
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


def _right(scores: Array, y: Array) -> int:
    """How many rows of scores (N, C) are highest at their class."""
    return int(np.count_nonzero(scores.argmax(axis=1) == y))


def _images(batches: object) -> int | None:
    """How many images there are in an epoch, if that can be known."""
    if not isinstance(batches, Loader):
        return None
    return min(len(batches.dataset), len(batches) * batches.batch_size) if isinstance(batches, Sized) else None
