"""What child.py says of rows that hold, fail, crash and hang; `run_row` below is the table."""

import os
import signal
import sys
import time

from child import Rows


def run_row(number: int) -> None:
    if number == 1:
        raise ValueError("two\nlines")
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 3:
        time.sleep(60)
    if number == 4:
        sys.exit(1)


def test_each_row_has_its_own_end():
    rows = Rows("test_child", 6, seconds=3)
    assert rows[5] is None
    assert rows[0] is None
    assert rows[1] == "ValueError: two\nlines"
    assert "status -11" in rows[2]
    assert rows[3] == "the process did not end within 3 s"
    assert rows[4] == "SystemExit: 1"
