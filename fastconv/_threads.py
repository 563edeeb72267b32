"""The one place where the number of threads is decided, and where the compiled module and with it OpenMP is loaded.

1. Default: the smallest of the OpenMP maximum, the CPUs this process may run on, and the CPU quota of its cgroup
   (rounded up), so that a container with two CPUs gets two threads on a machine of sixty-four.  OMP_NUM_THREADS
   overrides all three; set_num_threads and threads override that.  One number for the whole process.
2. Spinning: libgomp's threads spin for milliseconds after each parallel region, which takes CPU time from everybody
   else.  GOMP_SPINCOUNT=2000 keeps that to about 50 microseconds: the next layer of a network mostly comes sooner, and
   finds the threads awake (to wake one takes 20 to 40; a virtual machine may make the end of the spinning slower).
   The runtime reads its variables once, when it is loaded, so ours is in the environment only while the compiled module
   is imported, and not at all if the user has set either GOMP_SPINCOUNT or OMP_WAIT_POLICY.  A libgomp that somebody
   loaded before us keeps its settings.
3. Fork: libgomp's pool of threads does not survive a fork, and a child that then asks for it hangs.  So the pool is
   paused (its threads end; they come back when needed) in the parent just before a fork.  Where that fails, which
   libgomp does only inside a parallel region, the child uses one thread.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

MAX_THREADS = 1024
SPIN_COUNT = "2000"


def _load_kernels() -> Any:
    """Import `fastconv._kernels` for the first time."""
    keep_spinning_short = "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if keep_spinning_short:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    try:
        return importlib.import_module("fastconv._kernels")
    except ModuleNotFoundError as error:
        if error.name != "fastconv._kernels":
            raise
        raise ImportError(
            f"fastconv's compiled module is missing from {Path(__file__).parent}. If that is the source tree, Python "
            f"found it before the installed package, because it is the current directory: build the tree in place with "
            f"'pip install -e .', or start Python in another directory. If it is not, install fastconv again for this "
            f"Python."
        ) from error
    finally:
        if keep_spinning_short:
            os.environ.pop("GOMP_SPINCOUNT", None)


_kernels = _load_kernels()


# -- the default -------------------------------------------------------------------------------------------------------


def default_num_threads() -> int:
    """The number of threads where nobody has set one."""
    most = max(1, int(_kernels.openmp_max_threads()))
    if not _set_in_environment():
        most = min(most, _affinity(), _cgroup_quota())
    return min(most, MAX_THREADS)


def _set_in_environment() -> bool:
    """Whether OMP_NUM_THREADS holds a number (or a list of them, one for each level of nesting)."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _cgroup_quota(root: str = "/") -> int:
    """CPUs that the cgroups of this process may use, rounded up; MAX_THREADS where there is no limit.

    A quota of any group above binds too.  The path in /proc may be that of the host, which a container does not see;
    the walk up then ends at what the container has mounted.
    """
    try:
        lines = Path(root, "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return MAX_THREADS
    least = MAX_THREADS
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"] if controllers else ["sys/fs/cgroup"]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                least = min(least, _group_quota(Path(root, mount, *parts[:depth])))
    return least


def _group_quota(group: Path) -> int:
    """The quota of one cgroup, version 2 (cpu.max) or 1 (cpu.cfs_*), in CPUs."""
    try:
        try:
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()[:2]
        except FileNotFoundError:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
        if int(quota) > 0 and int(period) > 0:
            return min(-(-int(quota) // int(period)), MAX_THREADS)
    except (OSError, ValueError):  # no such file, not readable, or "max", which is no limit
        pass
    return MAX_THREADS


# -- the number in use -------------------------------------------------------------------------------------------------

_num_threads = default_num_threads()
_set_in_c = _kernels.set_threads  # for quick calls
_set_in_c(_num_threads)
_single = False  # this process was forked from one whose pool of threads could not be paused


def get_num_threads() -> int:
    """The most threads that one call of fastconv may use.

    Returns
    -------
    n : int
        What set_num_threads or threads has set; else OMP_NUM_THREADS as it was when fastconv was imported; else the
        smallest of the OpenMP maximum, the CPUs that this process may run on, and its cgroup's CPU quota.

    Notes
    -----
    Small problems use fewer threads, where waking them would take longer than the work.  Results do not depend on the
    number of threads.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(2):
    ...     fastconv.get_num_threads()
    2
    """
    return _num_threads


def set_num_threads(n: int) -> None:
    """Set the most threads that one call of fastconv may use, for the whole process.

    Parameters
    ----------
    n : int, 1 to 1024

    Raises
    ------
    ShapeError
        If n is not in 1 .. 1024.
    TypeError
        If n is not an int.
    RuntimeError
        If n is more than 1 in a process that was forked while its parent's threads could not be paused.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_num_threads()
    >>> fastconv.set_num_threads(2)
    >>> fastconv.get_num_threads()
    2
    >>> fastconv.set_num_threads(before)
    """
    count = _checked("set_num_threads", n)
    if _single and count > 1:
        raise RuntimeError(
            f"set_num_threads: n must be 1 in this process, got {count}: it was forked while the OpenMP threads of its "
            f"parent could not be paused"
        )
    _use(count)


class threads:
    """Context manager: at most n threads inside the `with` block, the number from before after it.

    Parameters
    ----------
    n : int, 1 to 1024

    Raises
    ------
    ShapeError, TypeError, RuntimeError
        As set_num_threads.

    Notes
    -----
    The number is one for the whole process: other Python threads see it too while the block lasts.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.threads(1):
    ...     fastconv.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = _checked("threads", n)
        self._before: list[int] = []  # a stack, so that one object may be entered again inside itself

    def __enter__(self) -> None:
        before = _num_threads
        set_num_threads(self._n)
        self._before.append(before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        before = self._before.pop()
        _use(1 if _single else before)


def _use(n: int) -> None:
    global _num_threads
    _num_threads = n
    _set_in_c(n)


def _checked(op: str, n: object) -> int:
    from fastconv._validation import ShapeError, describe, integer  # which needs the compiled module, loaded above

    count = integer(op, "n", n)
    if not 1 <= count <= MAX_THREADS:
        raise ShapeError(f"{op}: n must be in 1 .. {MAX_THREADS}, got {describe(count)}")
    return count


# -- fork --------------------------------------------------------------------------------------------------------------

_pause_failed = False


def _before_fork() -> None:
    global _pause_failed
    _pause_failed = _kernels.openmp_pause() != 0


def _after_fork_in_child() -> None:
    global _single
    if _pause_failed:
        _single = True
        _use(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
