"""The schedules: known points, and PyTorch's values where it is installed."""

import math

import numpy as np
import pytest

from fastconv import ShapeError, nn, optim, schedules


def optimizer(kind=optim.SGD, **options):
    return kind([nn.Parameter(np.zeros(1))], **{"lr": 0.1, **options})


def values(schedule, steps):
    """(lr, momentum or first beta) of each step."""
    found = []
    for step in range(steps):
        o = schedule.optimizer
        found.append((o.lr, o.betas[0] if isinstance(o, optim.Adam) else o.momentum))
        if step + 1 < steps:
            schedule.step()
    return np.array(found)


ONE_CYCLES = [
    {"max_lr": 0.1, "total_steps": 20},
    {"max_lr": 0.01, "epochs": 3, "steps_per_epoch": 7, "anneal_strategy": "linear"},
    {"max_lr": 1.0, "total_steps": 33, "pct_start": 0.1, "div_factor": 10.0, "final_div_factor": 3.0},
    {"max_lr": 0.5, "total_steps": 25, "three_phase": True, "base_momentum": 0.6, "max_momentum": 0.8},
    {"max_lr": 0.5, "total_steps": 10, "cycle_momentum": False},
    {"max_lr": 0.5, "total_steps": 2},
]


@pytest.mark.peer
@pytest.mark.parametrize("options", ONE_CYCLES)
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_one_cycle_is_pytorchs(kind, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    extra = {"momentum": 0.3} if kind is optim.SGD else {}
    ours = schedules.OneCycleLR(optimizer(kind, **extra), **options)
    them = getattr(torch.optim, kind.__name__)([torch.zeros(1)], lr=0.1, **extra)
    theirs = torch.optim.lr_scheduler.OneCycleLR(them, **options)
    expected = []
    for _ in range(ours.total_steps):
        group = them.param_groups[0]
        expected.append((group["lr"], group["betas"][0] if kind is optim.Adam else group["momentum"]))
        theirs.step()
    np.testing.assert_allclose(values(ours, ours.total_steps), expected, rtol=1e-12)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_cosine_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    them = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(them, 12, 0.01)
    expected = []
    for _ in range(12):
        expected.append(them.param_groups[0]["lr"])
        theirs.step()
    ours = schedules.CosineAnnealingLR(optimizer(), 12, 0.01)
    np.testing.assert_allclose(values(ours, 12)[:, 0], expected, rtol=1e-12)


def test_one_cycle_begins_peaks_and_ends_where_it_should():
    schedule = schedules.OneCycleLR(optimizer(optim.Adam), max_lr=0.5, total_steps=100)
    lr, beta = values(schedule, 100).T
    assert lr[0] == pytest.approx(0.5 / 25)
    assert lr.argmax() == 29
    assert lr[29] == pytest.approx(0.5)
    assert lr[-1] == pytest.approx(0.5 / 25 / 1e4)
    assert (beta[0], beta[29], beta[-1]) == pytest.approx((0.95, 0.85, 0.95))
    schedule.step()
    with pytest.raises(ShapeError, match="step 101 is beyond the total of 100"):
        schedule.step()


def test_cosine_falls_to_its_minimum():
    lr = values(schedules.CosineAnnealingLR(optimizer(), 10, 0.02), 11)[:, 0]
    assert (lr[0], lr[5], lr[10]) == pytest.approx((0.1, 0.06, 0.02))


def test_steps():
    schedule = schedules.StepLR(optimizer(), 2, 0.5)
    np.testing.assert_array_equal(values(schedule, 7)[:, 0], [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])
    assert schedule.get_last_lr() == [0.0125]
    assert schedule.lr_at(1) == 0.1  # also backwards


def test_each_group_has_its_own():
    groups = [{"params": [nn.Parameter(np.zeros(1))], "lr": lr} for lr in (0.1, 0.5)]
    o = optim.SGD(groups, momentum=0.5)
    schedules.StepLR(o, 1, 0.5).step()
    assert schedules.Schedule(o).get_last_lr() == [0.05, 0.25]
    schedules.CosineAnnealingLR(o, 2).load_state_dict({"last_step": 2})
    assert [group["lr"] for group in o.param_groups] == [0, 0]
    schedule = schedules.OneCycleLR(o, [1.0, 2.0], 10, base_momentum=[0.1, 0.2], max_momentum=0.9)
    schedule.load_state_dict({"last_step": 2})
    assert schedule.get_last_lr() == [1.0, 2.0]
    assert [group["momentum"] for group in o.param_groups] == pytest.approx([0.1, 0.2])
    for wrong in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ShapeError, match="max_lr must have one number for each of 2 groups"):
            schedules.OneCycleLR(o, wrong, 10)


def test_tail_is_constant_and_then_a_line():
    schedule = schedules.LinearTailLR(optimizer(), 10, tail=0.4)
    np.testing.assert_allclose(values(schedule, 12)[:, 0], [0.1] * 7 + [0.075, 0.05, 0.025, 0, 0], atol=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.OneCycleLR(o, 0.5, 20),
        lambda o: schedules.CosineAnnealingLR(o, 20),
        lambda o: schedules.LinearTailLR(o, 20),
        lambda o: schedules.StepLR(o, 3, 0.5),
    ],
)
def test_going_on_from_a_state(make):
    one, two = make(optimizer(optim.Adam)), make(optimizer(optim.Adam))
    for _ in range(13):
        one.step()
    two.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(values(one, 5), values(two, 5))
    for state in ({"last_step": -1}, {"last_step": 1.5}):
        with pytest.raises((ShapeError, TypeError), match="last_step"):
            two.load_state_dict(state)


def test_a_schedule_must_define_lr_at():
    with pytest.raises(NotImplementedError, match="Schedule"):
        schedules.Schedule(optimizer()).step()


BAD = [
    (lambda: schedules.CosineAnnealingLR(None, 5), TypeError, "CosineAnnealingLR: optimizer"),
    (lambda: schedules.CosineAnnealingLR(optimizer(), 0), ShapeError, "CosineAnnealingLR: T_max"),
    (lambda: schedules.CosineAnnealingLR(optimizer(), 5, -1), ShapeError, "CosineAnnealingLR: eta_min"),
    (lambda: schedules.StepLR(optimizer(), 0), ShapeError, "StepLR: step_size"),
    (lambda: schedules.StepLR(optimizer(), 1.5), TypeError, "StepLR: step_size"),
    (lambda: schedules.StepLR(optimizer(), 1, -1), ShapeError, "StepLR: gamma"),
    (lambda: schedules.LinearTailLR(optimizer(), 0), ShapeError, "LinearTailLR: total_steps"),
    (lambda: schedules.LinearTailLR(optimizer(), 5, 0), ShapeError, "LinearTailLR: tail"),
    (lambda: schedules.OneCycleLR(optimizer(), 0.1), ShapeError, "OneCycleLR: give total_steps"),
    (lambda: schedules.OneCycleLR(optimizer(), 0.1, 0), ShapeError, "OneCycleLR: total_steps"),
    (lambda: schedules.OneCycleLR(optimizer(), 0, 5), ShapeError, "OneCycleLR: max_lr"),
    (lambda: schedules.OneCycleLR(optimizer(), math.nan, 5), ShapeError, "OneCycleLR: max_lr"),
    (lambda: schedules.OneCycleLR(optimizer(), 1, 5.0), TypeError, "OneCycleLR: total_steps"),
    (lambda: schedules.OneCycleLR(optimizer(), 1, 5, pct_start=2), ShapeError, "OneCycleLR: pct_start"),
    (lambda: schedules.OneCycleLR(optimizer(), 1, 5, anneal_strategy="exp"), ShapeError, "anneal_strategy"),
    (lambda: schedules.OneCycleLR(optimizer(), 1, 5, div_factor=0), ShapeError, "OneCycleLR: div_factor"),
    (lambda: schedules.OneCycleLR(optimizer(), 1, 5, three_phase=1), TypeError, "OneCycleLR: three_phase"),
    (
        lambda: schedules.OneCycleLR(optim.Optimizer([nn.Parameter(np.zeros(1))], 0.1), 1, 5),
        ShapeError,
        "OneCycleLR: cycle_momentum needs",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
