"""One library in a process of its own: takes commands from side_by_side.py, one JSON object a line, and answers each.

    python worker.py fastconv | torch | torch-channels_last | onnxruntime | openvino

Commands (`do`) and answers:
    describe                               -> what it is: versions, instruction set, threads
    prepare case label pass seconds [arrays]  -> {"seconds": of a call} after warming up, or {"unsupported": why};
                                              the results of one call are written to the file `arrays`, if given
    time                                   -> {"seconds": [of a call, ...]}: one round of about `seconds`
    train network batch_size [data_dir] [exact]  -> {}; makes a network ready to be trained
    steps count                            -> {"seconds", "images", "losses"}
    evaluate                               -> {"accuracy"} on MNIST's test images; needs data_dir
    peak                                   -> {"bytes"}: the most memory this process has held
    quit
An error is answered with {"error": its traceback}.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import OTHERS, TABLE
from library import LIBRARIES, Library, Training, Unsupported
from networks import INFERENCES

WARM_SECONDS = 0.004  # untimed calls at the start of a round: caches, clocks and threads have been idle
SAMPLE_SECONDS = 100e-6  # calls shorter than this are timed several at once


class Worker:
    """The commands."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.timed: Callable[[], Any] | None = None
        self.training: Training | None = None
        self.calls = self.samples = self.warm = 1

    def describe(self) -> dict[str, Any]:
        return self.library.describe()

    def prepare(self, case: str, label: str, which: str, seconds: float, arrays: str | None) -> dict[str, Any]:
        self.timed = None
        gc.collect()
        chosen = next(one for one in (*TABLE, *OTHERS, *INFERENCES) if (one.name, one.label) == (case, label))
        try:
            self.timed = self.library.call(chosen, which)
        except Unsupported as error:
            return {"unsupported": str(error)}
        result = self.timed()
        if arrays is not None:
            np.savez(arrays, *self.library.arrays(result))
        del result
        estimate = min(_duration(self.timed, 1) for _ in range(3))
        self.calls = max(1, round(SAMPLE_SECONDS / estimate))
        self.samples = max(2, round(seconds / (estimate * self.calls)))
        self.warm = max(1, round(WARM_SECONDS / (estimate * self.calls)))
        return {"seconds": estimate}

    def time(self) -> dict[str, Any]:
        assert self.timed is not None
        gc.disable()
        for _ in range(self.warm):
            _duration(self.timed, self.calls)
        seconds = [_duration(self.timed, self.calls) for _ in range(self.samples)]
        gc.enable()
        return {"seconds": seconds}

    def train(self, network: str, batch_size: int, data_dir: str | None, exact: bool) -> dict[str, Any]:
        self.timed = self.training = None
        gc.collect()
        self.training = self.library.train(network, batch_size, Path(data_dir) if data_dir else None, exact)
        return {}

    def steps(self, count: int) -> dict[str, Any]:
        assert self.training is not None
        begin = time.perf_counter()
        done = list(self.training.steps(count))
        seconds = time.perf_counter() - begin
        return {
            "seconds": seconds,
            "images": sum(images for images, _ in done),
            "losses": [float(loss) for _, loss in done],
        }

    def evaluate(self) -> dict[str, Any]:
        assert self.training is not None
        return {"accuracy": self.training.evaluate()}

    def peak(self) -> dict[str, Any]:
        return {"bytes": peak_memory()}


def _duration(call: Callable[[], Any], calls: int) -> float:
    """Seconds of one call, the mean over some that follow each other."""
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def peak_memory() -> int:
    """The most bytes this process has held.

    ru_maxrss counts what the parent held when it started this process; Linux's VmHWM does not.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    module, arguments = LIBRARIES[sys.argv[1]]
    worker = Worker(importlib.import_module(module).make(*arguments))
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "quit":
            break
        try:
            answer = getattr(worker, do)(**command)
        except Exception:  # whatever it is, the parent shows it
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
