"""Optimisers: what a step does to the parameters, given their gradients.

Names, defaults and results are PyTorch's, step for step.  Each update of a parameter is one kernel, one pass over
memory.  Parameters whose `.grad` is None are skipped.

Parameters come in groups with settings of their own (`lr`, `momentum`, `betas`, ...), which may be changed between
steps, as the schedules of `fastconv.schedules` do: ``optimizer.param_groups[1]["lr"] = 0.01``.  As an attribute of the
optimiser a setting is that of the first group; set there, it is set for all.
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


class Setting:
    """A setting as an attribute of the optimiser: read from the first group, written to all."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Optimizer | None, owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer.param_groups[0][self.name]

    def __set__(self, optimizer: Optimizer, value: Any) -> None:
        for group in optimizer.param_groups:
            group[self.name] = value


class Optimizer:
    """What all optimisers share: groups of parameters with settings, and a small dict of state for each parameter.

    Parameters
    ----------
    params : iterable of Parameter, such as ``model.parameters()``, or of dict
        A dict is a group: 'params', an iterable of Parameter, and settings that differ from the defaults, which the
        other arguments give.
    lr : float, at least 0
        The learning rate.

    Attributes
    ----------
    param_groups : list of dict
        'params', a list of Parameter, and each setting by its name.
    params : list of Parameter
        All groups', in order.
    defaults : dict
        The settings that a group has where it does not say.

    Raises
    ------
    TypeError
        If params holds something else.
    ValueError
        If params is empty or holds a parameter twice, or a setting is out of range or unknown.
    """

    settings: tuple[str, ...] = ("lr",)  # names of what a group has beside its parameters
    optional: tuple[str, ...] = ()  # arrays of the state that come and stay when a setting is changed between steps
    lr = Setting()

    def __init__(self, params: Iterable[Parameter] | Iterable[Mapping[str, Any]], lr: float, **others: Any) -> None:
        self.defaults = self._checked({"lr": lr, **others})
        self.param_groups: list[dict[str, Any]] = []
        self.params: list[Parameter] = []
        self._state: list[dict[str, Any]] = []
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{type(self).__name__}: params must be an iterable of Parameters, such as model.parameters(), "
                f"got {check.describe(params)}"
            )
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: params is empty; is it an iterator that was used before?")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """One more group: 'params', and the settings that differ from `defaults`.

        Raises
        ------
        TypeError, ValueError
            As when the optimiser is made.
        """
        op = type(self).__name__
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{op}: a group must be a dict with 'params', got {check.describe(param_group)}")
        given = param_group["params"]
        if not _is_parameter(given) and not isinstance(given, Iterable):
            raise TypeError(f"{op}: params of a group must be Parameters, got {check.describe(given)}")
        added = [given] if _is_parameter(given) else list(given)
        for parameter in added:
            if not _is_parameter(parameter):
                raise TypeError(f"{op}: params must hold Parameters, such as model.parameters(), got {parameter!r:.60}")
        if len({id(parameter) for parameter in [*self.params, *added]}) != len(self.params) + len(added):
            raise ValueError(f"{op}: params holds a parameter twice")
        settings = {name: value for name, value in param_group.items() if name != "params"}
        unknown = set(settings) - set(self.settings)
        if unknown:
            raise check.ShapeError(f"{op}: a group has the settings {sorted(unknown)}, known are {list(self.settings)}")
        self.param_groups.append({"params": added, **self._checked({**self.defaults, **settings})})
        self.params.extend(added)
        self._state.extend({} for _ in added)

    def _checked(self, settings: dict[str, Any]) -> dict[str, Any]:
        """All settings of a group, in order, once they are known to be of the right type and range."""
        return {**settings, "lr": check.number_between(type(self).__name__, "lr", settings["lr"], 0.0, MOST)}

    def step(self) -> None:
        """Change every parameter that has a gradient: all of them, or none where one can't be."""
        threads = get_num_threads()
        ready = []
        states = iter(self._state)
        for group in self.param_groups:
            for parameter, state in zip(group["params"], states, strict=False):
                grad = parameter.grad
                if grad is None:
                    continue
                data = parameter.data
                if not isinstance(grad, np.ndarray):
                    self._refuse(parameter, grad)
                if grad.shape != data.shape or grad.dtype != data.dtype or not data.flags.carray:
                    self._refuse(parameter, grad)
                grad = grad if grad.flags.carray else check.contiguous(grad)
                ready.append((group, data, grad, state, self._begin(group, data, state)))
        for group, data, grad, state, fresh in ready:
            state.update(fresh)
            self._update(group, data, grad, state, threads, bool(fresh))

    def _begin(self, group: dict[str, Any], data: Array, state: dict[str, Any]) -> dict[str, Any]:
        """What the state of a parameter lacks for its next step."""
        return {}

    def _update(
        self, group: dict[str, Any], data: Array, grad: Array, state: dict[str, Any], threads: int, first: bool
    ) -> None:
        """Step one parameter; first: whether `_begin` has just made some of its state."""
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    def _arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state that is kept for each parameter of a group: arrays, and 'step', their number."""
        return ()

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
            'settings': for each group, the learning rate and the others by name; 'state': for each parameter in order,
            a dict of arrays (and of the number of steps, an int), empty before its first step.
        """
        settings = [{name: group[name] for name in self.settings} for group in self.param_groups]
        return {"settings": settings, "state": copy.deepcopy(self._state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; nothing is changed unless all of it fits.

        Raises
        ------
        ShapeError
            If settings are missing or unknown, or the state is not that of parameters of these groups and shapes.
        """
        op = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{op}: state must be a mapping, such as state_dict() gives, got {check.describe(state)}")
        if "settings" not in state or "state" not in state:
            raise check.ShapeError(f"{op}: state must have 'settings' and 'state', got {sorted(map(str, state))}")
        settings, states = [dict(group) for group in state["settings"]], list(state["state"])
        if len(settings) != len(self.param_groups):
            raise check.ShapeError(f"{op}: the state has {len(settings)} groups, expected {len(self.param_groups)}")
        for group in settings:
            if set(group) != set(self.settings):
                raise check.ShapeError(f"{op}: the settings are {sorted(group)}, expected {sorted(self.settings)}")
        if len(states) != len(self.params):
            raise check.ShapeError(f"{op}: the state is of {len(states)} parameters, expected {len(self.params)}")
        checked = [self._checked({name: group[name] for name in self.settings}) for group in settings]
        owners = [new for group, new in zip(self.param_groups, checked, strict=True) for _ in group["params"]]
        loaded = [
            self._loaded(op, i, dict(entries), self._arrays(owner))
            for i, (entries, owner) in enumerate(zip(states, owners, strict=True))
        ]
        for group, new in zip(self.param_groups, checked, strict=True):
            group.update(new)
        self._state = loaded

    def _loaded(self, op: str, i: int, entries: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        """A copy of the state of parameter number i, once it is known to be fit for the kernel."""
        if entries and not set(names) - set(self.optional) <= set(entries) <= {*names, *self.optional}:
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
        groups = [", ".join(f"{name}={group[name]}" for name in self.settings) for group in self.param_groups]
        inside = groups[0] if len(groups) == 1 else "; ".join(f"group {i}: {text}" for i, text in enumerate(groups))
        return f"{type(self).__name__}({inside})"


def _is_parameter(value: object) -> bool:
    return isinstance(getattr(value, "data", None), np.ndarray) and hasattr(value, "grad")


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
    params : iterable of Parameter, or of dict
        As for `Optimizer`.
    lr, momentum, weight_decay : float, at least 0
    dampening : float
    nesterov : bool
        Needs momentum and no dampening.
    maximize : bool
        Whether to go up the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> weight, bias = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(1))
    >>> optimizer = optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 0.5}], lr=0.25)
    >>> weight.grad, bias.grad = np.ones(2), np.ones(1)
    >>> optimizer.step()
    >>> weight.data, bias.data
    (array([0.75, 0.75]), array([0.5]))
    """

    settings = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")
    momentum = Setting()
    dampening = Setting()
    weight_decay = Setting()
    nesterov = Setting()
    maximize = Setting()

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def _checked(self, settings: dict[str, Any]) -> dict[str, Any]:
        checked = super()._checked(settings)
        for name in ("momentum", "weight_decay"):
            checked[name] = check.number_between("SGD", name, checked[name], 0.0, MOST)
        checked["dampening"] = check.number_between("SGD", "dampening", checked["dampening"], -MOST, MOST)
        for name in ("nesterov", "maximize"):
            checked[name] = check.flag("SGD", name, checked[name])
        if checked["nesterov"] and not (checked["momentum"] > 0 and checked["dampening"] == 0):
            raise check.ShapeError("SGD: nesterov needs momentum above 0 and dampening 0")
        return checked

    def _arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("velocity",)

    def _begin(self, group: dict[str, Any], data: Array, state: dict[str, Any]) -> dict[str, Any]:
        return {"velocity": _zeros(data)} if group["momentum"] and state.get("velocity") is None else {}

    def _update(
        self, group: dict[str, Any], data: Array, grad: Array, state: dict[str, Any], threads: int, first: bool
    ) -> None:
        momentum = group["momentum"]
        _kernels.sgd_step(
            data,
            grad,
            state["velocity"] if momentum else None,
            group["lr"],
            momentum,
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            first,
            threads,
            group["maximize"],
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): steps scaled by running means of the gradient and of its square.

    ::

        g = grad + weight_decay * param
        m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2
        param -= lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)

    for step t = 1, 2, ...  With amsgrad (Reddi, Kale and Kumar, 2018) the largest v so far stands in the last line.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        As for `Optimizer`.
    lr, eps, weight_decay : float, at least 0
    betas : (float, float), each at least 0 and below 1
    amsgrad : bool
    maximize : bool
        Whether to go up the gradient.
    """

    settings = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")
    betas = Setting()
    eps = Setting()
    weight_decay = Setting()
    amsgrad = Setting()
    maximize = Setting()
    optional = ("max_exp_avg_sq",)
    decoupled = False

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )

    def _checked(self, settings: dict[str, Any]) -> dict[str, Any]:
        op = type(self).__name__
        checked = super()._checked(settings)
        betas = checked["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"{op}: betas must be a pair of numbers, got {check.describe(betas)}")
        below_one = float(np.nextafter(1.0, 0.0))
        checked["betas"] = (
            check.number_between(op, "betas[0]", betas[0], 0.0, below_one),
            check.number_between(op, "betas[1]", betas[1], 0.0, below_one),
        )
        for name in ("eps", "weight_decay"):
            checked[name] = check.number_between(op, name, checked[name], 0.0, MOST)
        for name in ("amsgrad", "maximize"):
            checked[name] = check.flag(op, name, checked[name])
        return checked

    def _arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ("step", "exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _begin(self, group: dict[str, Any], data: Array, state: dict[str, Any]) -> dict[str, Any]:
        fresh = {} if state else {"step": 0, "exp_avg": _zeros(data), "exp_avg_sq": _zeros(data)}
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            fresh["max_exp_avg_sq"] = _zeros(data)
        return fresh

    def _update(
        self, group: dict[str, Any], data: Array, grad: Array, state: dict[str, Any], threads: int, first: bool
    ) -> None:
        state["step"] += 1
        beta1, beta2 = group["betas"]
        _kernels.adam_step(
            data,
            grad,
            state["exp_avg"],
            state["exp_avg_sq"],
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self.decoupled,
            state["step"],
            threads,
            group["maximize"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): ``param *= 1 - lr * weight_decay`` comes first.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        As for `Optimizer`.
    lr, eps, weight_decay : float, at least 0
    betas : (float, float), each at least 0 and below 1
    amsgrad : bool
    maximize : bool
        Whether to go up the gradient.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
