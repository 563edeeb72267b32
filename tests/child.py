"""Rows of a table of calls, run in child processes: a call that crashes or hangs fails its own row, and pytest lives.

A test module has `run_row(number)`, which raises where a row does not hold.  `Rows(module, count)[number]` is None for
a row that holds, else what went wrong.  Rows run in chunks of one child each; after a crash or a hang another child
goes on with the next row.

    python tests/child.py MODULE START STOP

runs rows by hand.
"""

import faulthandler
import importlib
import subprocess
import sys
import traceback

CHUNK = 100
SECONDS = 60.0  # for a chunk, which takes well under one


class Rows:
    """What came of each row; a chunk is run when the first of its rows is asked for."""

    def __init__(self, module: str, count: int, seconds: float = SECONDS) -> None:
        self.module, self.count, self.seconds = module, count, seconds
        self.results: dict[int, str | None] = {}

    def __getitem__(self, number: int) -> str | None:
        if number not in self.results:
            start = number // CHUNK * CHUNK
            self._run(start, min(start + CHUNK, self.count))
        return self.results[number]

    def _run(self, start: int, stop: int) -> None:
        while start < stop:
            command = [sys.executable, "-W", "error", __file__, self.module, str(start), str(stop)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
                ended = f"the process did not end within {self.seconds} s"
                try:
                    out, err = child.communicate(timeout=self.seconds)
                    ended = f"the process ended with status {child.returncode}: {err[-2000:]}"
                except subprocess.TimeoutExpired:
                    child.kill()
                    out, _ = child.communicate()
            for line in out.splitlines():
                word, _, rest = line.partition(" ")
                if word == "row":
                    number, _, problem = rest.partition(" ")
                    self.results[int(number)] = problem.replace("\\n", "\n") or None
            done = start
            while done in self.results:
                done += 1
            if done < stop:
                self.results[done] = ended
            start = done + 1


def main(name: str, start: int, stop: int) -> None:
    faulthandler.enable()
    module = importlib.import_module(name)
    for number in range(start, stop):
        problem = ""
        try:
            module.run_row(number)
        except BaseException as error:
            problem = "".join(traceback.format_exception_only(error)).strip() or repr(error)
        print("row", number, problem.replace("\n", "\\n"), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
