"""What the installed package says of itself, how it is loaded, and which instruction set it takes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _kernels

ISAS = _kernels.available_isas()
PACKAGE = Path(fastconv.__file__).parent


def python(code: str, *, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "FASTCONV_ISA"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- instruction sets --------------------------------------------------------------------------------------------------

SHOW = """
import numpy as np, fastconv
x = np.arange(2 * 3 * 9 * 9, dtype=np.float32).reshape(2, 3, 9, 9) % 7 - 3
weight = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3) % 5 - 2
print(fastconv.show_config()["isa"], int(fastconv.conv2d(x, weight).sum()), int(fastconv.max_pool2d(x, 2).sum()))
"""


def test_each_instruction_set_can_be_forced() -> None:
    results = {}
    for isa in ISAS:
        done = python(SHOW, FASTCONV_ISA=isa)
        assert done.returncode == 0, done.stderr
        chosen, *results[isa] = done.stdout.split()
        assert chosen == isa
    assert len({tuple(result) for result in results.values()}) == 1  # small integers: exact everywhere


@pytest.mark.parametrize("environment", [{}, {"FASTCONV_ISA": ""}])
def test_the_best_instruction_set_is_the_default(environment: dict[str, str]) -> None:
    assert python(SHOW, **environment).stdout.split()[0] == ISAS[-1]


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2,avx512", " ", "baseline ", "\u00e9"])
def test_an_unknown_instruction_set_is_refused(isa: str) -> None:
    done = python("import fastconv", FASTCONV_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: FASTCONV_ISA: ")
    assert "baseline" in last  # what would be right


def test_an_instruction_set_that_the_machine_lacks_is_refused() -> None:
    known = re.search(r"knows (.*)", _refusal("sse9"))
    assert known
    missing = [isa for isa in known.group(1).split(", ") if isa not in ISAS]
    if not missing:
        pytest.skip("this machine has every instruction set of this build")
    for isa in missing:
        assert repr(isa) in _refusal(isa)


def _refusal(isa: str) -> str:
    with pytest.raises(ValueError, match="instruction set") as caught:
        _kernels.select_isa(isa)
    return str(caught.value)


# -- show_config and the others ----------------------------------------------------------------------------------------


def test_show_config_is_a_dict_that_reads_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    config = fastconv.show_config()
    assert capsys.readouterr().out == ""  # the library never prints
    assert config["fastconv"] == fastconv.__version__
    assert config["numpy"] == np.__version__
    assert config["isa"] in config["isas"]
    assert config["isas"] == ISAS
    assert config["threads"] == fastconv.get_num_threads()
    assert config["float32 precision"] == "highest"
    lines = repr(config).splitlines()
    assert str(config) == repr(config)
    assert len(lines) == len(config)
    for line, (key, value) in zip(lines, config.items(), strict=True):
        assert line.startswith(f"{key} ")
        assert line.endswith(" ".join(value) if isinstance(value, list) else str(value))
    assert dict(config) == config


def test_show_config_shows_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    with fastconv.threads(1):
        fastconv.set_float32_precision("medium")
        try:
            config = fastconv.show_config()
        finally:
            fastconv.set_float32_precision("highest")
    assert (config["threads"], config["OMP_NUM_THREADS"]) == (1, "3")
    assert config["float32 precision"] == "medium"
    assert "GOMP_SPINCOUNT" not in config


def test_cpu_info_is_the_callers_own() -> None:
    info = fastconv.cpu_info()
    assert info
    info.clear()
    assert fastconv.cpu_info()


def test_precision_is_a_permission_that_nothing_uses_yet() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.random((2, 8, 20, 20), np.float32), rng.random((8, 8, 3, 3), np.float32)
    expected = fastconv.conv2d(x, weight).tobytes()
    try:
        for precision in ("high", "medium", "highest"):
            fastconv.set_float32_precision(precision)
            assert fastconv.get_float32_precision() == precision
            assert fastconv.conv2d(x, weight).tobytes() == expected
    finally:
        fastconv.set_float32_precision("highest")


def test_release_memory() -> None:
    x = np.ones((64, 1024, 64), np.float32)
    y = fastconv.relu(x)
    del y
    assert fastconv.release_memory() >= x.nbytes
    assert fastconv.show_config()["memory cached"] == 0
    assert fastconv.release_memory() == 0
    kept = fastconv.relu(x)
    fastconv.release_memory()
    assert np.array_equal(kept, x)


# -- the package -------------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    assert list(fastconv.__all__) == sorted(fastconv.__all__)
    assert set(fastconv.ops.__all__) < set(fastconv.__all__)
    for name in fastconv.__all__:
        assert getattr(fastconv, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastconv.__version__)


def test_every_public_function_is_documented() -> None:
    for name in fastconv.__all__:
        value = getattr(fastconv, name)
        if callable(value):
            assert value.__doc__, name
            assert "Examples\n" in value.__doc__ or name in ("ShapeError", "get_num_threads", "get_float32_precision")


LAZY = """
import sys, fastconv
names = ["nn", "optim", "schedules", "data", "models", "training", "reference"]
assert not [name for name in names if f"fastconv.{name}" in sys.modules], "imported at once"
assert set(names) | {"Trainer"} <= set(dir(fastconv))
for name in names:
    assert getattr(fastconv, name) is sys.modules[f"fastconv.{name}"]
assert fastconv.Trainer is fastconv.training.Trainer
try:
    fastconv.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
else:
    raise AssertionError
"""


def test_submodules_are_imported_when_first_used() -> None:
    done = python(LAZY)
    assert done.returncode == 0, done.stderr


def test_import_is_silent_and_brings_nothing_that_is_optional() -> None:
    optional = ["tqdm", "matplotlib", "PIL", "safetensors", "scipy", "torch", "argparse"]
    code = f"import sys, fastconv; print([name for name in {optional} if name in sys.modules])"
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_tree_without_the_compiled_module_says_so(tmp_path: Path) -> None:
    """The flat-layout trap: the source tree is the current directory and hides the installed package."""
    shutil.copytree(
        PACKAGE, tmp_path / "fastconv", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.c")
    )
    # Where the package under test is installed in editable mode, its finder would lend the copy its compiled module.
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if 'Editable' not in repr(f)]; import fastconv"
    done = python(code, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: fastconv's compiled module is missing")
    for part in (str(tmp_path), "pip install -e .", "another directory"):
        assert part in last


def test_an_import_that_fails_for_another_reason_is_not_disguised(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv import _threads

    def fail(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(_threads.importlib, "import_module", fail)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    with pytest.raises(ModuleNotFoundError, match="other"):
        _threads._load_kernels()
    assert "GOMP_SPINCOUNT" not in os.environ
