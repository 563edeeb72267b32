"""The stubs of the compiled module say what it has: every name, every argument and its default.

The first tests read the stubs themselves and need nothing else; mypy's stubtest looks closer where mypy is installed.
"""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv import _kernels

STUBS = Path(_kernels.__file__).with_name("_kernels.pyi")
BODY = ast.parse(STUBS.read_text(encoding="utf-8")).body
FUNCTIONS = {node.name: node for node in BODY if isinstance(node, ast.FunctionDef)}
CLASSES = {node.name: node for node in BODY if isinstance(node, ast.ClassDef)}
NAMES = {node.target.id for node in BODY if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
ONLY_FOR_TYPES = {"FloatArray"}


def arguments(node: ast.FunctionDef) -> list[tuple[str, object]]:
    """(name, default) of each argument in the stubs."""
    plain = node.args.posonlyargs + node.args.args
    missing = [inspect.Parameter.empty] * (len(plain) - len(node.args.defaults))
    found = list(zip((a.arg for a in plain), missing + [ast.literal_eval(d) for d in node.args.defaults], strict=True))
    keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return found + [(a.arg, ast.literal_eval(d) if d else inspect.Parameter.empty) for a, d in keywords]


def test_the_same_names():
    there = {name for name, value in vars(_kernels).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert {*FUNCTIONS, *CLASSES, *NAMES} == there


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_same_arguments(name):
    found = inspect.signature(getattr(_kernels, name)).parameters.values()
    assert [(p.name, p.default) for p in found] == arguments(FUNCTIONS[name])


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_attributes(name):
    kind, body = getattr(_kernels, name), CLASSES[name].body
    stubbed = {node.target.id for node in body if isinstance(node, ast.AnnAssign)}
    (init,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    names = [name for name, _ in arguments(init)][1:]
    said = kind.__doc__.partition("(")[2].partition(")")[0]  # Cython writes the signature there: "ptrdiff_t N, ..."
    assert [argument.split("=")[0].split()[-1] for argument in said.split(",")] == names
    problem = kind(*range(1, len(names) + 1))
    assert {name: getattr(problem, name) for name in names} == {name: i for i, name in enumerate(names, 1)}
    assert stubbed <= set(names)


def test_stubtest(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    allowed = tmp_path / "allowed"
    cythons_own = {"__reduce_cython__", "__setstate_cython__", "__test__"}
    allowed.write_text("".join(f"fastconv._kernels.{name}\n" for name in sorted(ONLY_FOR_TYPES | cythons_own)))
    command = [sys.executable, "-m", "mypy.stubtest", "fastconv._kernels", "--allowlist", str(allowed)]
    command.append("--ignore-unused-allowlist")
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
