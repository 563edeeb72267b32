"""Learning-rate schedules: the learning rate as a function of the step.

A schedule sets the optimiser's settings for step 0 when it is made, and for the next step each time `step()` is called,
which is after the optimiser's own.  Names, defaults and values are PyTorch's where it has the schedule.  The state of a
schedule is one number.  Each of the optimiser's groups goes from the learning rate that it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastconv import _validation as check
from fastconv.optim import MOST, Optimizer

__all__ = ["CosineAnnealingLR", "LinearTailLR", "OneCycleLR", "Schedule", "StepLR"]


class Schedule:
    """What all schedules share.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    base_lrs : list of float
        The learning rate of each of the optimiser's groups when the schedule was made.
    last_step : int
        The step that the optimiser is set for, from 0.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be an Optimizer, got {check.describe(optimizer)}")
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_step = 0

    def lr_at(self, step: int, group: int = 0) -> float:
        """The learning rate of a group at a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} does not define lr_at")

    def apply(self) -> None:
        """Set the optimiser for `last_step`."""
        for i in range(len(self.base_lrs)):
            self.optimizer.param_groups[i]["lr"] = self.lr_at(self.last_step, i)

    def step(self) -> None:
        """Set the optimiser for the next step."""
        self.last_step += 1
        self.apply()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group as the optimiser has it now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, int]:
        return {"last_step": self.last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        step = check.integer(type(self).__name__, "last_step", state["last_step"])
        if step < 0:
            raise check.ShapeError(f"{type(self).__name__}: last_step must not be negative, got {step}")
        self.last_step = step
        self.apply()


class _Recurrence(Schedule):
    """A schedule that computes each learning rate from the one before, as PyTorch does, down to the last bit."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self._known = [(0, lr) for lr in self.base_lrs]  # the last (step, learning rate) of each group

    def _next(self, lr: float, step: int, base_lr: float) -> float:
        """The learning rate of `step`, from that of the step before."""
        raise NotImplementedError(f"{type(self).__name__} does not define _next")

    def lr_at(self, step: int, group: int = 0) -> float:
        base_lr = self.base_lrs[group]
        known, lr = self._known[group]
        if step < known:
            known, lr = 0, base_lr
        while known < step:
            known += 1
            lr = self._next(lr, known, base_lr)
        self._known[group] = known, lr
        return lr


class StepLR(_Recurrence):
    """The learning rate times `gamma` after each `step_size` steps: ``lr = lr0 * gamma**(step // step_size)``.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int, at least 1
    gamma : float, at least 0

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim, schedules
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(1))], lr=1.0)
    >>> schedule = schedules.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [schedule.lr_at(step) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = check.integer("StepLR", "step_size", step_size)
        if self.step_size < 1:
            raise check.ShapeError(f"StepLR: step_size must be at least 1, got {check.describe(step_size)}")
        self.gamma = check.number_between("StepLR", "gamma", gamma, 0.0, MOST)
        self.apply()

    def _next(self, lr: float, step: int, base_lr: float) -> float:
        return lr if step % self.step_size else lr * self.gamma


class CosineAnnealingLR(_Recurrence):
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
        self.apply()

    def _next(self, lr: float, step: int, base_lr: float) -> float:
        if (step - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the minimum, where the ratio below is 0 / 0
            return lr + (base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        ratio = (1 + math.cos(math.pi * step / self.T_max)) / (1 + math.cos(math.pi * (step - 1) / self.T_max))
        return ratio * (lr - self.eta_min) + self.eta_min


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
        self.apply()

    def lr_at(self, step: int, group: int = 0) -> float:
        left = max(0, self.total_steps - step)
        return self.base_lrs[group] * min(1.0, left / (self.tail * self.total_steps))


class OneCycleLR(Schedule):
    """The 1cycle policy (Smith and Topin, 2019): the learning rate rises to `max_lr` and falls to almost nothing.

    Phases, with initial = max_lr / div_factor and last = initial / final_div_factor: up from initial to max_lr during
    the first ``pct_start`` of the steps, then down to last; with three_phase down to initial as fast as up, and then
    to last.
    Momentum (SGD's momentum, Adam's first beta) goes the opposite way, between max_momentum and base_momentum.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, above 0, or a list of one for each group
    total_steps : int or None
        None is ``epochs * steps_per_epoch``, which must then be given.
    epochs, steps_per_epoch : int or None
    pct_start : float, 0 to 1
    anneal_strategy : 'cos' or 'linear'
    cycle_momentum : bool
    base_momentum, max_momentum : float, 0 to 1, or a list of one for each group
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
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        super().__init__(optimizer)
        op = "OneCycleLR"
        tiny = math.ulp(0.0)
        max_lrs = self._of_groups("max_lr", max_lr, tiny, MOST)
        pct_start = check.number_between(op, "pct_start", pct_start, 0.0, 1.0)
        div_factor = check.number_between(op, "div_factor", div_factor, tiny, MOST)
        final_div_factor = check.number_between(op, "final_div_factor", final_div_factor, tiny, MOST)
        lows = self._of_groups("base_momentum", base_momentum, 0.0, 1.0)
        highs = self._of_groups("max_momentum", max_momentum, 0.0, 1.0)
        self._cosine = check.one_of(op, "anneal_strategy", anneal_strategy, ("cos", "linear")) == "cos"
        self.cycle_momentum = check.flag(op, "cycle_momentum", cycle_momentum)
        if self.cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise check.ShapeError(f"{op}: cycle_momentum needs an optimiser with momentum, got {optimizer!r}")
        self.total_steps = _total_steps(op, total_steps, epochs, steps_per_epoch)
        end = float(self.total_steps - 1)
        # Of each group: (last step of the phase, learning rate and momentum at its begin, at its end).
        self._phases: list[list[tuple[float, float, float, float, float]]] = []
        three = check.flag(op, "three_phase", three_phase)
        for most, low, high in zip(max_lrs, lows, highs, strict=True):
            initial = most / div_factor
            last = initial / final_div_factor
            phases = [(pct_start * self.total_steps - 1, initial, most, high, low)]
            if three:
                phases.append((2 * pct_start * self.total_steps - 2, most, initial, low, high))
                phases.append((end, initial, last, high, high))
            else:
                phases.append((end, most, last, low, high))
            self._phases.append(phases)
        self.apply()

    def _of_groups(self, name: str, value: object, low: float, high: float) -> list[float]:
        """One number for each group, from a list of them or from one for all."""
        op, count = "OneCycleLR", len(self.base_lrs)
        if not isinstance(value, list | tuple):
            return [check.number_between(op, name, value, low, high)] * count
        if len(value) != count:
            raise check.ShapeError(f"{op}: {name} must have one number for each of {count} groups, got {len(value)}")
        return [check.number_between(op, f"{name}[{i}]", one, low, high) for i, one in enumerate(value)]

    def lr_at(self, step: int, group: int = 0) -> float:
        return self._values(step, group)[0]

    def apply(self) -> None:
        if self.last_step > self.total_steps:
            raise check.ShapeError(f"OneCycleLR: step {self.last_step} is beyond the total of {self.total_steps} steps")
        for i in range(len(self._phases)):
            group = self.optimizer.param_groups[i]
            group["lr"], momentum = self._values(self.last_step, i)
            if self.cycle_momentum and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif self.cycle_momentum:
                group["momentum"] = momentum

    def _values(self, step: int, group: int) -> tuple[float, float]:
        """Learning rate and momentum of a step."""
        begin = 0.0
        phases = self._phases[group]
        for phase in phases:
            end, lr0, lr1, momentum0, momentum1 = phase
            if step <= end or phase is phases[-1]:
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
