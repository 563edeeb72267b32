"""The number of threads: its default and its setting.  What a fork does to it is in test_fork.py."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _threads

TIMEOUT = 60  # seconds


@pytest.fixture(autouse=True)
def _restore() -> Any:
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


def run(code: str, **environment: str) -> str:
    """Output of a Python of its own, whose environment has these thread settings and no others."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "FASTCONV_"))}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


# -- the setting -------------------------------------------------------------------------------------------------------


def test_what_is_set_is_what_one_gets() -> None:
    for n in (1, 2, 3, 64, 1024, np.int64(2)):
        fastconv.set_num_threads(n)
        assert fastconv.get_num_threads() == n
        assert type(fastconv.get_num_threads()) is int


def test_context_manager_restores() -> None:
    fastconv.set_num_threads(3)
    with fastconv.threads(1):
        assert fastconv.get_num_threads() == 1
        with fastconv.threads(2):
            assert fastconv.get_num_threads() == 2
        assert fastconv.get_num_threads() == 1
    assert fastconv.get_num_threads() == 3


def test_context_manager_restores_after_an_exception() -> None:
    fastconv.set_num_threads(3)
    with pytest.raises(KeyError), fastconv.threads(1):
        raise KeyError
    assert fastconv.get_num_threads() == 3


def test_context_manager_may_be_used_again_and_inside_itself() -> None:
    fastconv.set_num_threads(4)
    one = fastconv.threads(1)
    for _ in range(2):
        with one:
            fastconv.set_num_threads(2)
            with one:
                assert fastconv.get_num_threads() == 1
            assert fastconv.get_num_threads() == 2
        assert fastconv.get_num_threads() == 4


def test_ops_pass_the_number_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    module = sys.modules["fastconv.ops.relu"]  # fastconv.ops.relu is the function
    monkeypatch.setattr(module, "relu_forward", lambda x, y, threads: seen.append(threads))
    for n in (1, 2, 7):
        with fastconv.threads(n):
            fastconv.relu(np.zeros(6, np.float32)[::2])  # not one of the quick calls, which have the number in C
            assert _threads._kernels.quick_threads() == n
    assert seen == [1, 2, 7]


# -- the default -------------------------------------------------------------------------------------------------------


def test_default_is_the_smallest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for most, affinity, quota in ((8, 4, 2), (2, 8, 4), (4, 2, 8), (1, 1, 1), (4000, 3000, 2000), (0, 4, 4)):
        monkeypatch.setattr(_threads._kernels, "openmp_max_threads", lambda most=most: most)
        monkeypatch.setattr(_threads, "_affinity", lambda affinity=affinity: affinity)
        monkeypatch.setattr(_threads, "_cgroup_quota", lambda quota=quota: quota)
        assert _threads.default_num_threads() == max(1, min(most, affinity, quota, 1024))


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("6", True),
        (" 6 ", True),
        ("6,2", True),
        ("", False),
        ("0", False),
        ("-1", False),
        ("many", False),
        ("2.5", False),
    ],
)
def test_omp_num_threads_overrides_the_other_limits(value: str, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(_threads._kernels, "openmp_max_threads", lambda: 6)
    monkeypatch.setattr(_threads, "_affinity", lambda: 2)
    monkeypatch.setattr(_threads, "_cgroup_quota", lambda: 1)
    assert _threads.default_num_threads() == (6 if counts else 1)


def test_omp_num_threads_in_a_process() -> None:
    code = "import fastconv; print(fastconv.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="5") == "5"
    assert run(code, OMP_NUM_THREADS="5,2") == "5"
    assert int(run(code)) <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_affinity_in_a_process() -> None:
    code = """
        import os
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
        import fastconv
        print(fastconv.get_num_threads())
    """
    assert run(code) == "1"


CGROUPS = {
    "no cgroups": ({}, 1024),
    "v2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "v2, rounded up": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
    "v2, half a CPU": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
    "v2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 1024),
    "v2, one word": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max"}, 1024),
    "v2, nonsense": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "a b\n"}, 1024),
    "v2, period 0": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1 0\n"}, 1024),
    "v2, more than anybody has": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9999999999 1000\n"}, 1024),
    "v2, group": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/a/cpu.max": "max 100000\n",
        },
        4,
    ),
    "v2, the group above binds": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
        },
        3,
    ),
    "v2, the host's path in a container": (
        {"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
    "v2, a path outside": ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        },
        3,
    ),
    "v1, by its short name": (
        {
            "proc/self/cgroup": "4:cpuacct,cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        1,
    ),
    "v1, no limit": (
        {
            "proc/self/cgroup": "4:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        1024,
    ),
    "v1, another controller": (
        {
            "proc/self/cgroup": "4:cpuset:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        1024,
    ),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_cgroup_quota(case: str, tmp_path: Path) -> None:
    files, expected = CGROUPS[case]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert _threads._cgroup_quota(str(tmp_path)) == expected


# -- spinning ----------------------------------------------------------------------------------------------------------

# What libgomp's environment holds while the compiled module is imported, and after it.
SPIN = """
    import importlib, json, os
    seen, real = [], importlib.import_module
    def spy(name, *arguments):
        if name == "fastconv._kernels":
            seen.append(os.environ.get("GOMP_SPINCOUNT"))
        return real(name, *arguments)
    importlib.import_module = spy
    import fastconv
    print(json.dumps([seen, os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY")]))
"""


@pytest.mark.parametrize(
    ("environment", "during", "after"),
    [
        ({}, "2000", [None, None]),
        ({"GOMP_SPINCOUNT": "7"}, "7", ["7", None]),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, None, [None, "PASSIVE"]),
    ],
)
def test_spinning_is_short_and_the_environment_untouched(
    environment: dict[str, str], during: str | None, after: list[str | None]
) -> None:
    assert json.loads(run(SPIN, **environment)) == [[during], *after]
