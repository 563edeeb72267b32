"""Learning-rate schedules: the learning rate as a function of the step.

A schedule sets the optimiser's settings for step 0 when it is made, and for the next step each time `step()` is called,
which is after the optimiser's own.  Names, defaults and values are PyTorch's where it has the schedule.  The state of a
schedule is one number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastconv import _validation as check
from fastconv.optim import MOST, SGD, Adam, Optimizer

__all__ = ["CosineAnnealingLR", "LinearTailLR", "OneCycleLR", "Schedule"]


class Schedule:
    """What all schedules share.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    last_step : int
        The step that the optimiser is set for, from 0.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be an Optimizer, got {check.describe(optimizer)}")
        self.optimizer = optimizer
        self.last_step = 0

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} does not define lr_at")

    def apply(self) -> None:
        """Set the optimiser for `last_step`."""
        self.optimizer.lr = self.lr_at(self.last_step)

    def step(self) -> None:
        """Set the optimiser for the next step."""
        self.last_step += 1
        self.apply()

    def state_dict(self) -> dict[str, int]:
        return {"last_step": self.last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        step = check.integer(type(self).__name__, "last_step", state["last_step"])
        if step < 0:
            raise check.ShapeError(f"{type(self).__name__}: last_step must not be negative, got {step}")
        self.last_step = step
        self.apply()


class CosineAnnealingLR(Schedule):
    """From the optimiser's learning rate to `eta_min` along half a cosine (Loshchilov and Hutter, 2017).

    ``lr = eta_min + (lr0 - eta_min) * (1 + cos(pi * step / T_max)) / 2``

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Steps to the minimum; after that it rises again.
    eta_min : float, at least 0
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        op = "CosineAnnealingLR"
        self.T_max = check.integer(op, "T_max", T_max)
        if self.T_max < 1:
            raise check.ShapeError(f"{op}: T_max must be at least 1, got {check.describe(T_max)}")
        self.eta_min = check.number_between(op, "eta_min", eta_min, 0.0, MOST)
        self.base_lr = optimizer.lr
        self.apply()

    def lr_at(self, step: int) -> float:
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class LinearTailLR(Schedule):
    """The optimiser's learning rate, then down to 0 along a line over the last part of the run.

    ``lr = lr0 * min(1, (total_steps - step) / (tail * total_steps))``; 0 from step total_steps on.

    Parameters
    ----------
    optimizer : Optimizer
    total_steps : int
    tail : float, above 0, at most 1
        The share of the steps in which it falls.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, tail: float = 0.2) -> None:
        super().__init__(optimizer)
        op = "LinearTailLR"
        self.total_steps = _total_steps(op, check.integer(op, "total_steps", total_steps), None, None)
        self.tail = check.number_between(op, "tail", tail, math.ulp(0.0), 1.0)
        self.base_lr = optimizer.lr
        self.apply()

    def lr_at(self, step: int) -> float:
        left = max(0, self.total_steps - step)
        return self.base_lr * min(1.0, left / (self.tail * self.total_steps))


class OneCycleLR(Schedule):
    """The 1cycle policy (Smith and Topin, 2019): the learning rate rises to `max_lr` and falls to almost nothing.

    Phases, with initial = max_lr / div_factor and last = initial / final_div_factor: up from initial to max_lr during
    the first ``pct_start`` of the steps, then down to last; with three_phase down to initial as fast as up, and then
    to last.
    Momentum (SGD's momentum, Adam's first beta) goes the opposite way, between max_momentum and base_momentum.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, above 0
    total_steps : int or None
        None is ``epochs * steps_per_epoch``, which must then be given.
    epochs, steps_per_epoch : int or None
    pct_start : float, 0 to 1
    anneal_strategy : 'cos' or 'linear'
    cycle_momentum : bool
    base_momentum, max_momentum : float, 0 to 1
    div_factor, final_div_factor : float, above 0
    three_phase : bool

    Raises
    ------
    ShapeError, TypeError
        If an argument is out of range or of the wrong type; in `step`, after the last step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        super().__init__(optimizer)
        op = "OneCycleLR"
        tiny = math.ulp(0.0)
        max_lr = check.number_between(op, "max_lr", max_lr, tiny, MOST)
        pct_start = check.number_between(op, "pct_start", pct_start, 0.0, 1.0)
        initial = max_lr / check.number_between(op, "div_factor", div_factor, tiny, MOST)
        last = initial / check.number_between(op, "final_div_factor", final_div_factor, tiny, MOST)
        low = check.number_between(op, "base_momentum", base_momentum, 0.0, 1.0)
        high = check.number_between(op, "max_momentum", max_momentum, 0.0, 1.0)
        self._cosine = check.one_of(op, "anneal_strategy", anneal_strategy, ("cos", "linear")) == "cos"
        self.cycle_momentum = check.flag(op, "cycle_momentum", cycle_momentum)
        if self.cycle_momentum and not isinstance(optimizer, SGD | Adam):
            raise check.ShapeError(f"{op}: cycle_momentum needs an optimiser with momentum, got {optimizer!r}")
        self.total_steps = _total_steps(op, total_steps, epochs, steps_per_epoch)
        # (last step of the phase, learning rate and momentum at its begin, at its end)
        peak = pct_start * self.total_steps - 1
        self._phases = [(peak, initial, max_lr, high, low)]
        if check.flag(op, "three_phase", three_phase):
            self._phases.append((2 * pct_start * self.total_steps - 2, max_lr, initial, low, high))
            self._phases.append((float(self.total_steps - 1), initial, last, high, high))
        else:
            self._phases.append((float(self.total_steps - 1), max_lr, last, low, high))
        self.apply()

    def lr_at(self, step: int) -> float:
        return self._values(step)[0]

    def apply(self) -> None:
        if self.last_step > self.total_steps:
            raise check.ShapeError(f"OneCycleLR: step {self.last_step} is beyond the total of {self.total_steps} steps")
        self.optimizer.lr, momentum = self._values(self.last_step)
        if not self.cycle_momentum:
            return
        if isinstance(self.optimizer, Adam):
            self.optimizer.betas = (momentum, self.optimizer.betas[1])
        elif isinstance(self.optimizer, SGD):
            self.optimizer.momentum = momentum

    def _values(self, step: int) -> tuple[float, float]:
        """Learning rate and momentum of a step."""
        begin = 0.0
        for phase in self._phases:
            end, lr0, lr1, momentum0, momentum1 = phase
            if step <= end or phase is self._phases[-1]:
                break
            begin = end
        part = (step - begin) / (end - begin) if end != begin else 1.0
        return self._between(lr0, lr1, part), self._between(momentum0, momentum1, part)

    def _between(self, first: float, last: float, part: float) -> float:
        if self._cosine:
            return last + (first - last) / 2 * (1 + math.cos(math.pi * part))
        return first + (last - first) * part


def _total_steps(op: str, total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise check.ShapeError(f"{op}: give total_steps, or epochs and steps_per_epoch")
        total_steps = check.integer(op, "epochs", epochs) * check.integer(op, "steps_per_epoch", steps_per_epoch)
    total = check.integer(op, "total_steps", total_steps)
    if total < 1:
        raise check.ShapeError(f"{op}: total_steps must be at least 1, got {check.describe(total)}")
    return total
