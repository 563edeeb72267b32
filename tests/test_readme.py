"""The README's Python programs run as they stand, and its commands with options that make them short."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
HOUR = [line.split("#")[0].strip() for line in README.splitlines() if re.match(r"fastconv \w+", line)]
DIGITS = "--data digits --train-size 300 --no-download"
SHORTER = {  # what the tests add to a command
    "train": f"{DIGITS} --epochs 1",
    "evaluate": "",
    "compare": "--data digits --train-size 60 --ann-epochs 2 --cnn-epochs 1",
    "show": "--no-download",
    "predict": "",
    "bench": "--batch-size 1",
    "info": "",
}


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


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder where somebody has trained, and the environment of a new user."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "docs").symlink_to(ROOT / "docs")
    new = {"XDG_CACHE_HOME": str(folder / "cache"), "MPLBACKEND": "agg", "MPLCONFIGDIR": str(folder / "mpl")}
    environment = {name: value for name, value in os.environ.items() if name != "FASTCONV_DATA"} | new
    fastconv(folder, environment, f"fastconv train {SHORTER['train']}")
    return folder, environment


def fastconv(folder, environment, command):
    arguments = shlex.split(command)[1:]
    run = subprocess.run(
        [sys.executable, "-m", "fastconv", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("command", [line for line in HOUR if not line.startswith("fastconv draw")])
def test_command_runs(home, command):
    name = command.split()[1]
    if name in ("show", "compare"):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    if name == "predict":
        pytest.importorskip("PIL", reason="pillow is not installed")
    fastconv(*home, f"{command} {SHORTER[name]}")


def test_the_commands_are_all_there():
    told = {line.split()[1] for line in HOUR}
    assert told == {
        "draw",
        "show",
        "predict",
        "compare",
        "evaluate",
        "train",
        "bench",
        "info",
    }  # draw: tests/test_draw.py
