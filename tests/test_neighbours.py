"""Beside torch and scikit-learn, each with an OpenMP of its own, in one process: imported before or after, in turns.

In a Python of its own with a time limit; skipped where the other library is missing.
"""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.peer

OURS = """
    import fastconv
    fastconv.set_num_threads(2)
"""
THEIRS = {
    "torch": """
    import torch
    torch.set_num_threads(2)
    def theirs():
        y = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=1)
        return y.numpy()
    """,
    "sklearn": """
    import sklearn
    from sklearn.cluster import KMeans
    def theirs():
        return KMeans(4, n_init=1, random_state=0).fit(x.reshape(-1, 48)).cluster_centers_
    """,
}
BEFORE = """
    import os, signal
    import numpy as np
    signal.alarm(100)
    rng = np.random.default_rng(0)
    x, weight = rng.random((16, 16, 48, 48), np.float32), rng.random((32, 16, 3, 3), np.float32)
"""
BOTH = """
    from concurrent.futures import ThreadPoolExecutor
    with fastconv.threads(1):
        right = fastconv.conv2d(x, weight, padding=1)
    first = theirs()
    for _ in range(3):
        assert np.array_equal(fastconv.conv2d(x, weight, padding=1), right)
        assert np.allclose(theirs(), first, rtol=1e-4, atol=1e-4)
        assert fastconv.get_num_threads() == 2
    with ThreadPoolExecutor(2) as pool:  # at the same time
        jobs = [pool.submit(one) for one in (theirs, lambda: fastconv.conv2d(x, weight, padding=1)) * 3]
        assert all(np.array_equal(job.result(), right) for job in jobs[1::2])
    pid = os.fork()
    if pid == 0:  # a child goes on with ours
        status = 1
        try:
            signal.alarm(40)
            status = int(not np.array_equal(fastconv.conv2d(x, weight, padding=1), right))
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert np.array_equal(fastconv.conv2d(x, weight, padding=1), right)
    print("done")
"""


@pytest.mark.parametrize("order", ["fastconv first", "fastconv second"])
@pytest.mark.parametrize("library", THEIRS)
def test_together(library: str, order: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"no {library} here")
    parts = [OURS, THEIRS[library]] if order == "fastconv first" else [THEIRS[library], OURS]
    code = "\n".join(textwrap.dedent(part) for part in (BEFORE, *parts, BOTH))
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "FASTCONV_"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "done"), result.stderr
