"""The README's Python programs run as they stand, and its two commands are the ones that people and CI rely on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.splitlines()[-1][:40])
def test_program_runs(program):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    right = re.search(r"([\d.]+)% of the test digits right", run.stdout)
    if "test digits" in program:
        assert right is not None
        assert float(right[1]) > 65  # three short epochs; a guess would have 10
    else:
        assert run.stdout == ""


def test_there_are_programs_and_commands_to_check():
    assert len(PROGRAMS) == 2
    assert any("pip install . &&" in command and "fastconv train" in command for command in COMMANDS)
    assert any("pip install -e '.[test]'" in command and "pytest" in command for command in COMMANDS)
