"""The processes of side_by_side.py: one a library, started with the settings that suit it best, asked one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

# What makes each library keep to an instruction set.
ISA_VARIABLES: dict[str, dict[str, str]] = {
    "avx2": {
        "FASTCONV_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avx512": {
        "FASTCONV_ISA": "avx512",
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
}

# glibc is to keep what was freed, instead of giving it back and paying for it again page by page.  A threshold above
# 32 MiB would be ignored.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}

IDLE_SECONDS = 0.5  # the longest wait for a library's threads to stop spinning


class Neighbours:
    """How busy other processes keep the CPUs from now on; Linux only."""

    def __init__(self) -> None:
        self._begin = self._now()

    def cpus(self) -> float | None:
        """The mean number of CPUs that others kept busy, once all workers have ended; None where it is not known."""
        begin, end = self._begin, self._now()
        if begin is None or end is None:
            return None
        seconds, busy, own = (after - before for after, before in zip(end, begin, strict=True))
        return max(0.0, (busy - own) / seconds)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds: the clock, all CPUs busy, this process and its children that have ended."""
        try:
            user, nice, system, _idle, _wait, *others = map(
                int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
            )
        except OSError:
            return None
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return times.elapsed, (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK"), own


class WorkerError(RuntimeError):
    """A worker failed; the message is what it said."""


class Process:
    """A library in a process of its own.

    Parameters
    ----------
    name : str
        As in library.LIBRARIES.
    python : str
        The interpreter in which it is installed.
    threads : int
    isa : str or None
        Instruction set that all libraries are held to.
    keep_memory : bool
        Whether glibc is told to keep freed memory.  fastconv does that itself.
    """

    def __init__(
        self,
        name: str,
        python: str,
        threads: int,
        isa: str | None = None,
        precision: str | None = None,
        keep_memory: bool = True,
    ) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **(ISA_VARIABLES[isa] if isa else {})}
        if precision:
            environment["FASTCONV_BENCHMARK_PRECISION"] = precision
        if keep_memory and name != "fastconv":
            environment |= KEEP_MEMORY
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("worker.py")), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.description: dict[str, Any] = self.ask("describe")

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have a command done, and wait until it is, and until the threads of this process sleep again."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.name}: its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}, {do} {arguments}:\n{answer['error']}")
        self._wait_until_idle()
        return answer

    def close(self) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            try:
                self._process.stdin.write('{"do": "quit"}\n')
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait_until_idle(self) -> None:
        tasks = Path(f"/proc/{self._process.pid}/task")
        if not tasks.is_dir():
            time.sleep(0.02)
            return
        deadline = time.perf_counter() + IDLE_SECONDS
        while time.perf_counter() < deadline and any(map(_runs, tasks.iterdir())):
            time.sleep(0.001)


def _runs(task: Path) -> bool:
    """Whether a thread runs, or wants to."""
    try:
        return (task / "stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[0] == "R"
    except OSError:  # it has just ended
        return False
