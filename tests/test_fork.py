"""Fork: a child that uses fastconv after its parent did, made in any of the ways that Python has, with 1 and 2 threads.

A child that asks for threads which the fork did not copy waits for ever.  So each way runs in a Python of its own with
a time limit, and its children have an alarm: a hang is a failure.  What the package does is in fastconv/_threads.py.
"""

import os
import textwrap

import pytest
from test_threads import run

from fastconv import _kernels

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

# A problem that is large enough for two threads, and its result in the parent, which has used two threads.  `same` is
# what every child does: with two threads, with one, and with two again.
PROBLEM = """
    import concurrent.futures, multiprocessing, os, pty, signal, subprocess, sys, threading, warnings
    import numpy as np
    import fastconv
    from fastconv import _threads

    signal.alarm(50)  # a child that hangs ends, too
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks where there are threads: they work
    rng = np.random.default_rng(0)
    x, weight = rng.random((16, 16, 48, 48), np.float32), rng.random((32, 16, 3, 3), np.float32)
    fastconv.set_num_threads(2)

    def digest():
        grads = fastconv.conv2d_backward(fastconv.conv2d(x, weight), x, weight)
        pooled = fastconv.max_pool2d(x, 2)
        return sum(float(grad.sum()) for grad in (*grads, pooled))

    def in_child(function, fork=os.fork):
        sys.stdout.flush()
        pid = fork()
        pid, terminal = pid if isinstance(pid, tuple) else (pid, None)
        if pid == 0:
            status = 1
            try:
                signal.alarm(40)
                function()
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if terminal is not None:
            os.close(terminal)
        return status

    def same(*_):
        assert fastconv.get_num_threads() == 2
        assert digest() == expected
        with fastconv.threads(1):
            assert digest() == expected
        assert digest() == expected
        return True

    expected = digest()
"""

WAYS = {
    "os.fork, again and again": """
        for _ in range(4):
            assert in_child(same) == 0
            same()
    """,
    "os.forkpty": """
        assert in_child(same, os.forkpty) == 0
    """,
    "pty.fork": """
        assert in_child(same, pty.fork) == 0
    """,
    "a grandchild": """
        assert in_child(lambda: (same(), [None][in_child(same)])) == 0
        assert in_child(lambda: [None][in_child(same)]) == 0  # whose parent has not used it itself
    """,
    "two children at once": """
        pids = []
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    signal.alarm(40)
                    same()
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        same()
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    """,
    "by another thread": """
        statuses = []
        def work(first):
            if first:
                same()
            statuses.append(in_child(same))
        for first in (False, True):
            worker = threading.Thread(target=work, args=[first])
            worker.start()
            worker.join(45)
        assert statuses == [0, 0], statuses
    """,
    "while another thread computes": """
        stop = threading.Event()
        def work():
            while not stop.is_set():
                digest()
        worker = threading.Thread(target=work)
        worker.start()
        try:
            statuses = [in_child(same) for _ in range(8)]
        finally:
            stop.set()
            worker.join(45)
        assert statuses == [0] * 8, statuses
    """,
    "multiprocessing.Process": """
        processes = [multiprocessing.get_context("fork").Process(target=same) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(45)
        assert [process.exitcode for process in processes] == [0, 0]
    """,
    "multiprocessing.Pool": """
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(same, range(4)) == [True] * 4
    """,
    "ProcessPoolExecutor": """
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(same, range(4), timeout=45)) == [True] * 4
    """,
    "a subprocess": """
        code = "import numpy as np, fastconv; fastconv.set_num_threads(2); fastconv.relu(np.ones(10**6, np.float32))"
        for preexec in (None, lambda: None):  # the second makes subprocess fork where it might spawn
            subprocess.run([sys.executable, "-c", code], preexec_fn=preexec, timeout=45, check=True)
    """,
    "os.posix_spawn": """
        code = "import numpy as np, fastconv; fastconv.set_num_threads(2); fastconv.relu(np.ones(10**6, np.float32))"
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
        assert os.waitpid(pid, 0)[1] == 0
    """,
}


@pytest.mark.parametrize("way", WAYS)
def test_child_and_parent_go_on(way: str) -> None:
    """Each finishes, with the parent's result, and so does the parent afterwards."""
    code = textwrap.dedent(PROBLEM) + textwrap.dedent(WAYS[way]) + "\nsame()\nprint('done')\n"
    assert run(code) == "done"


def test_one_thread_where_the_pause_failed() -> None:
    code = """
    class Unable:
        openmp_pause = staticmethod(lambda: -1)
    real, _threads._kernels = _threads._kernels, Unable
    def single():
        assert fastconv.get_num_threads() == 1
        assert digest() == expected
        fastconv.set_num_threads(1)
        with fastconv.threads(1):
            pass
        for set_two in (lambda: fastconv.set_num_threads(2), fastconv.threads(2).__enter__):
            try:
                set_two()
            except RuntimeError as error:
                assert "forked" in str(error) and "got 2" in str(error)
            else:
                raise AssertionError
        assert fastconv.get_num_threads() == 1
    assert in_child(single) == 0
    block = fastconv.threads(2)
    block.__enter__()
    def leave():  # a block that was entered before the fork
        block.__exit__(None, None, None)
        assert fastconv.get_num_threads() == 1
    assert in_child(leave) == 0
    block.__exit__(None, None, None)
    _threads._kernels = real
    same()
    assert in_child(same) == 0
    print("done")
    """
    assert run(PROBLEM + code) == "done"


def test_pause_works_here() -> None:
    """Else the tests above would pass with one thread in every child."""
    assert _kernels.openmp_pause() == 0
