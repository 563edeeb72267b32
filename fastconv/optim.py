"""Optimisers: what a step does to the parameters, given their gradients.

Names, defaults and results are PyTorch's, step for step.  Each update of a parameter is one kernel, one pass over
memory.  Parameters whose `.grad` is None are skipped.  The settings (`lr`, `momentum`, `betas`, ...) are plain
attributes that may be changed between steps, as the schedules of `fastconv.schedules` do.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _kernels
from fastconv import _validation as check
from fastconv._threads import get_num_threads

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]

Array: TypeAlias = NDArray[Any]
MOST = float(np.finfo(np.float64).max)


class Parameter(Protocol):
    """What an optimiser changes: `fastconv.nn.Parameter`, or anything with an array and its gradient."""

    data: Array
    grad: Array | None


class Optimizer:
    """What all optimisers share: the parameters, and a small dict of state for each.

    Parameters
    ----------
    params : iterable of Parameter
        Such as ``model.parameters()``.
    lr : float, at least 0
        The learning rate.

    Raises
    ------
    TypeError
        If params holds something else.
    ValueError
        If params is empty or holds a parameter twice, or a setting is out of range.
    """

    settings: tuple[str, ...] = ()  # names of the attributes that state_dict holds
    arrays: tuple[str, ...] = ()  # names of the arrays that are kept for each parameter
    counts_steps = False  # whether the number of steps is kept too

    def __init__(self, params: Iterable[Parameter], lr: float) -> None:
        op = type(self).__name__
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{op}: params must be an iterable of Parameters, such as model.parameters(), "
                f"got {check.describe(params)}"
            )
        self.params = list(params)
        for parameter in self.params:
            if not isinstance(getattr(parameter, "data", None), np.ndarray) or not hasattr(parameter, "grad"):
                raise TypeError(f"{op}: params must hold Parameters, such as model.parameters(), got {parameter!r:.60}")
        if not self.params:
            raise ValueError(f"{op}: params is empty; is it an iterator that was used before?")
        if len({id(parameter) for parameter in self.params}) != len(self.params):
            raise ValueError(f"{op}: params holds a parameter twice")
        self.lr = check.number_between(op, "lr", lr, 0.0, MOST)
        self._state: list[dict[str, Any]] = [{} for _ in self.params]

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        threads = get_num_threads()
        for parameter, state in zip(self.params, self._state, strict=True):
            grad = parameter.grad
            if grad is None:
                continue
            data = parameter.data
            if not isinstance(grad, np.ndarray):
                self._refuse(parameter, grad)
            if grad.shape != data.shape or grad.dtype != data.dtype or not data.flags.carray:
                self._refuse(parameter, grad)
            self._update(data, grad if grad.flags.c_contiguous else np.ascontiguousarray(grad), state, threads)

    def _update(self, data: Array, grad: Array, state: dict[str, Any], threads: int) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    def _refuse(self, parameter: Parameter, grad: Array) -> None:
        op = f"{type(self).__name__}.step"
        data = parameter.data
        if not isinstance(grad, np.ndarray):
            raise TypeError(f"{op}: a parameter's grad must be a NumPy array or None, got {check.describe(grad)}")
        if not data.flags.carray:
            raise ValueError(f"{op}: a parameter's data must be a C-contiguous, aligned, writeable array")
        raise check.ShapeError(
            f"{op}: a parameter is {data.dtype} of shape {data.shape}, its grad {grad.dtype} of shape {grad.shape}"
        )

    def zero_grad(self) -> None:
        """Set every gradient to None, so that the next backward writes instead of adding."""
        for parameter in self.params:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that is needed to go on later.

        Returns
        -------
        state : dict
            'settings': the learning rate and the others by name; 'state': for each parameter in order, a dict of arrays
            (and of the number of steps, an int), empty before its first step.
        """
        settings = {name: getattr(self, name) for name in self.settings}
        return {"settings": settings, "state": copy.deepcopy(self._state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; nothing is changed unless all of it fits.

        Raises
        ------
        ShapeError
            If settings are missing or unknown, or the state is not that of parameters of these shapes.
        """
        op = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{op}: state must be a mapping, such as state_dict() gives, got {check.describe(state)}")
        if "settings" not in state or "state" not in state:
            raise check.ShapeError(f"{op}: state must have 'settings' and 'state', got {sorted(map(str, state))}")
        settings, states = dict(state["settings"]), list(state["state"])
        if set(settings) != set(self.settings):
            raise check.ShapeError(f"{op}: the settings are {sorted(settings)}, expected {sorted(self.settings)}")
        if len(states) != len(self.params):
            raise check.ShapeError(f"{op}: the state is of {len(states)} parameters, expected {len(self.params)}")
        loaded = [self._loaded(op, i, dict(entries)) for i, entries in enumerate(states)]
        make: Any = type(self)
        checked = make(self.params, **settings)  # refuses settings that are out of range
        for name in self.settings:
            setattr(self, name, getattr(checked, name))
        self._state = loaded

    def _loaded(self, op: str, i: int, entries: dict[str, Any]) -> dict[str, Any]:
        """A copy of the state of parameter number i, once it is known to be fit for the kernel."""
        names = {*self.arrays, "step"} if self.counts_steps else {*self.arrays}
        if entries and set(entries) != names:
            raise check.ShapeError(f"{op}: the state of parameter {i} has {sorted(entries)}, expected {sorted(names)}")
        data = self.params[i].data
        copies: dict[str, Any] = {}
        for name, value in entries.items():
            if name == "step":
                copies[name] = check.integer(op, f"step of parameter {i}", value)
                if not 0 < copies[name] < 2**63:
                    raise check.ShapeError(f"{op}: step of parameter {i} must be at least 1, got {copies[name]}")
                continue
            array = check.floats(op, f"{name} of parameter {i}", value)
            if array.shape != data.shape:
                raise check.ShapeError(f"{op}: {name} of parameter {i} has shape {array.shape}, expected {data.shape}")
            copies[name] = _kernels.empty(data.shape, data.dtype)
            np.copyto(copies[name], array)
        return copies

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.settings)})"


def _zeros(data: Array) -> Array:
    zeros = _kernels.empty(data.shape, data.dtype)
    zeros.fill(0)
    return zeros


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for.

    ::

        g = grad + weight_decay * param
        velocity = g at the first step, then momentum * velocity + (1 - dampening) * g
        param -= lr * (g + momentum * velocity if nesterov else velocity)

    and ``param -= lr * g`` without momentum (Sutskever et al., 2013, in PyTorch's form).

    Parameters
    ----------
    params : iterable of Parameter
    lr, momentum, weight_decay : float, at least 0
    dampening : float
    nesterov : bool
        Needs momentum and no dampening.
    """

    settings = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    arrays = ("velocity",)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = check.number_between("SGD", "momentum", momentum, 0.0, MOST)
        self.dampening = check.number_between("SGD", "dampening", dampening, -MOST, MOST)
        self.weight_decay = check.number_between("SGD", "weight_decay", weight_decay, 0.0, MOST)
        self.nesterov = check.flag("SGD", "nesterov", nesterov)
        if nesterov and not (momentum > 0 and dampening == 0):
            raise check.ShapeError("SGD: nesterov needs momentum above 0 and dampening 0")

    def _update(self, data: Array, grad: Array, state: dict[str, Any], threads: int) -> None:
        velocity = state.get("velocity")
        first = velocity is None
        if first and self.momentum:
            velocity = state["velocity"] = _zeros(data)
        if not self.momentum:
            velocity = None
        _kernels.sgd_step(
            data,
            grad,
            velocity,
            self.lr,
            self.momentum,
            self.dampening,
            self.weight_decay,
            self.nesterov,
            first,
            threads,
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): steps scaled by running means of the gradient and of its square.

    ::

        g = grad + weight_decay * param
        m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2
        param -= lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)

    for step t = 1, 2, ...

    Parameters
    ----------
    params : iterable of Parameter
    lr, eps, weight_decay : float, at least 0
    betas : (float, float), each at least 0 and below 1
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    arrays = ("exp_avg", "exp_avg_sq")
    counts_steps = True
    decoupled = False

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(params, lr)
        op = type(self).__name__
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"{op}: betas must be a pair of numbers, got {check.describe(betas)}")
        below_one = float(np.nextafter(1.0, 0.0))
        self.betas = (
            check.number_between(op, "betas[0]", betas[0], 0.0, below_one),
            check.number_between(op, "betas[1]", betas[1], 0.0, below_one),
        )
        self.eps = check.number_between(op, "eps", eps, 0.0, MOST)
        self.weight_decay = check.number_between(op, "weight_decay", weight_decay, 0.0, MOST)

    def _update(self, data: Array, grad: Array, state: dict[str, Any], threads: int) -> None:
        if not state:
            state.update(step=0, exp_avg=_zeros(data), exp_avg_sq=_zeros(data))
        state["step"] += 1
        _kernels.adam_step(
            data,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            self.lr,
            self.betas[0],
            self.betas[1],
            self.eps,
            self.weight_decay,
            self.decoupled,
            state["step"],
            threads,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): ``param *= 1 - lr * weight_decay`` comes first.

    Parameters
    ----------
    params : iterable of Parameter
    lr, eps, weight_decay : float, at least 0
    betas : (float, float), each at least 0 and below 1
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
