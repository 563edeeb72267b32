"""Kill training runs with SIGKILL, resume them each time, and compare the end with that of an undisturbed run.

    python tests/kill_and_resume.py --kills 200

Each run is `fastconv train` in a process of its own, with a checkpoint after every few steps.  It is killed again and
again until it gets to its end; then its weights must be those of a run that nobody touched, bit for bit, and so must
its history but for the times.  After each kill the checkpoint, if there is one, must be whole.  Kills come

- at a random moment: while Python starts, while the data are made, while it trains, while it writes;
- inside the write of a checkpoint: the child kills itself just before or after a step of it, or in the middle of the
  bytes (`STAGES`).  The hook for that is in the child program below, not in the package.

Runs take turns: plain SGD; Adam with a one-cycle schedule; dropout, which draws from generators; no shuffling and a
learning rate that falls at the end.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STAGES = ("before open", "after open", "half written", "before fsync", "before rename", "after rename", "after all")
RUNS = (
    ("scratch", ["--train-size", "120", "--epochs", "3", "--batch-size", "4"]),
    ("fast", ["--train-size", "240", "--epochs", "6", "--batch-size", "16"]),
    ("dropout", ["--train-size", "240", "--epochs", "4", "--batch-size", "12"]),
    ("ann", ["--train-size", "60", "--epochs", "4", "--batch-size", "3"]),
)
READY = "ready\n"


# -- the child: fastconv train, which kills itself where it was told to ------------------------------------------------


def child(arguments: list[str]) -> int:
    """Run the command; with KILL_IN_WRITE="number:stage" it dies at that stage of the write of that number."""
    from fastconv import cli, serialization, training

    told = os.environ.get("KILL_IN_WRITE")
    if told:
        number, _, stage = told.partition(":")
        _arm(serialization, int(number), stage)
    fit = training.Trainer.fit

    def announced(*args, **options):
        sys.stdout.write(READY)
        sys.stdout.flush()
        return fit(*args, **options)

    training.Trainer.fit = announced  # type: ignore[method-assign]
    return cli.main(arguments)


def _arm(serialization, number: int, stage: str) -> None:
    """Wrap what `atomic_write` calls, so that the process dies at a stage of its write of that number."""
    original = serialization.atomic_write
    writes = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Half:
        """A file that takes half of the bytes."""

        def __init__(self, file) -> None:
            self.file = file

        def write(self, data) -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            die()

    class System:
        """The module `os`, which dies around one of its functions."""

        def __getattr__(self, name):
            function = getattr(os, name)
            before = {"before open": "open", "before fsync": "fsync", "before rename": "replace"}.get(stage) == name
            after = {"after open": "open", "after rename": "replace"}.get(stage) == name
            if not before and not after:
                return function

            def deadly(*args, **options):
                if before:
                    die()
                function(*args, **options)
                die()

            return deadly

    def atomic_write(path, write):
        nonlocal writes
        writes += 1
        if writes != number:
            return original(path, write)
        serialization.os = System()
        original(path, (lambda file: write(Half(file))) if stage == "half written" else write)
        return die()

    from fastconv import checkpoint

    checkpoint.atomic_write = serialization.atomic_write = atomic_write


# -- the parent --------------------------------------------------------------------------------------------------------


class Killer:
    """Runs, kills, resumes and compares, in one folder."""

    def __init__(self, folder: Path, seed: int, verbose: bool) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.verbose = verbose
        self.kills = 0
        self.where: dict[str, int] = {}
        self.runs = 0
        self.expected: dict[tuple[str, int], tuple[float, dict, list]] = {}

    def start(self, run, seed: int, name: str, extra=(), hook: str | None = None) -> subprocess.Popen:
        net, arguments = run
        command = [sys.executable, __file__, "--child", "train", "--data", "digits", "--net", net, *arguments]
        command += ["--seed", str(seed), "--quiet", "--out", f"{name}-models", "--metrics", f"{name}.json", *extra]
        command += ["--threads", self.random.choice("12")]  # the bits do not depend on it
        root = str(Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        environment.pop("KILL_IN_WRITE", None)
        if hook is not None:
            environment["KILL_IN_WRITE"] = hook
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def undisturbed(self, run, seed: int) -> tuple[float, dict, list]:
        """Seconds of training, weights and history of a run that nobody touches, without any checkpoint."""
        key = (run[0], seed)
        if key not in self.expected:
            process = self.start(run, seed, "undisturbed")
            while process.stdout.readline() != READY:
                self.check(process.poll() is None, process)
            begin = time.perf_counter()
            self.check(process.wait() == 0, process)
            seconds = time.perf_counter() - begin
            process.communicate()
            self.expected[key] = (seconds, *self.result("undisturbed"))
        return self.expected[key]

    def result(self, name: str) -> tuple[dict, list]:
        from fastconv import serialization

        files = (self.folder / f"{name}-models").glob("*.*")
        (path,) = (path for path in files if path.suffix in (".npz", ".safetensors"))
        state = serialization.load_weights(path)[0]
        path.unlink()
        found = json.loads((self.folder / f"{name}.json").read_text())
        history = [{k: v for k, v in entry.items() if k != "train_seconds"} for entry in found["epochs"]]
        return state, [history, found["test_accuracy"], found["train_accuracy"]]

    def check(self, right: bool, process: subprocess.Popen, what: str = "the child failed") -> None:
        if not right:
            process.kill()
            out, err = process.communicate()
            raise SystemExit(f"{what}: status {process.returncode}\n{out}{err}")

    def one_run(self, run, most: int) -> None:
        """A run that is killed until it gets to its end, or `most` times."""
        seed = self.random.randrange(2)
        seconds, weights, history = self.undisturbed(run, seed)
        file = self.folder / "run.ckpt"
        file.unlink(missing_ok=True)
        kills = 0
        while True:
            every = str(self.random.choice([1, 2, 5]))
            extra = ["--checkpoint", file.name, "--checkpoint-every", every, "--resume"]
            hook = None
            if kills < most and self.random.random() < 0.5:
                hook = f"{self.random.choice([1, 1, 2, 3, 5, 8])}:{self.random.choice(STAGES)}"
            process = self.start(run, seed, "killed", extra, hook)
            how = f"write {hook}" if hook else "in training"
            if hook is None and kills < most:
                if self.random.random() < 0.2:
                    how = "while it starts"
                    time.sleep(self.random.uniform(0, 0.6))
                else:
                    while process.stdout.readline() not in (READY, ""):
                        pass
                    time.sleep(self.random.uniform(0, seconds))
                process.kill()
            process.wait()
            if process.returncode != -signal.SIGKILL:
                break
            kills += 1
            self.kills += 1
            self.where[how.split(":")[-1]] = self.where.get(how.split(":")[-1], 0) + 1
            self.after_a_kill(file, process, how)
        self.check(process.returncode == 0, process)
        process.communicate()
        self.compare(run, seed, kills, weights, history)

    def after_a_kill(self, file: Path, process: subprocess.Popen, how: str) -> None:
        """The checkpoint is whole, and at most the file that was being written is left beside it."""
        from fastconv.checkpoint import load_checkpoint

        process.communicate()
        where = ""
        if file.exists():
            state = load_checkpoint(file)["trainer"]
            position = (state["fit"] or {}).get("position") or {"step": 0}
            where = f"at epoch {len(state['history']) + 1}, step {position['step']}"
        left = [path.name for path in self.folder.glob(".run.ckpt.*")]
        if len(left) > 1:
            raise SystemExit(f"temporary files pile up: {left}")
        if self.verbose:
            print(f"kill {self.kills}: {how}; checkpoint {where or 'not there yet'}", flush=True)

    def compare(self, run, seed: int, kills: int, weights: dict, history: list) -> None:
        self.runs += 1
        found, found_history = self.result("killed")
        for name, array in weights.items():
            if found[name].dtype != array.dtype or found[name].tobytes() != array.tobytes():
                apart = np.abs(found[name] - array).max()
                raise SystemExit(f"{run[0]}, seed {seed}, {kills} kills: {name} differs by up to {apart}")
        if set(found) != set(weights) or found_history != history:
            raise SystemExit(f"{run[0]}, seed {seed}, {kills} kills: the histories differ:\n{found_history}\n{history}")
        left = [path.name for path in self.folder.glob(".*.tmp")]
        if left:
            raise SystemExit(f"temporary files are left: {left}")
        print(f"{run[0]}, seed {seed}: killed {kills} times, the same bits", flush=True)


def kill_and_resume(kills: int, seed: int, verbose: bool = False, runs=RUNS) -> Killer:
    """Kill so many times in all; SystemExit if anything is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="fastconv-kills-") as folder:
        killer = Killer(Path(folder), seed, verbose)
        while killer.kills < kills:
            killer.one_run(runs[killer.runs % len(runs)], kills - killer.kills)
    return killer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many in all (default: 200)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments (default: another one each time)")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    begin = time.perf_counter()
    killer = kill_and_resume(args.kills, seed, args.verbose)
    for how, number in sorted(killer.where.items()):
        print(f"{number:5} {how}")
    seconds = time.perf_counter() - begin
    print(f"{killer.kills} kills in {killer.runs} runs, all with the bits of undisturbed runs; {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(child(sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main())
