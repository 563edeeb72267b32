"""The rules of the house that a program can check: who knows whom, which names exist, where things are."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import ops, reference

ROOT = Path(__file__).parents[1]
PACKAGE, CSRC = ROOT / "fastconv", ROOT / "csrc"
OPS = sorted(path.stem for path in (PACKAGE / "ops").glob("*.py") if not path.stem.startswith("_"))


def imports(path):
    """Full names of the modules that a Python file imports, those of `from . import x` included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def python_files(*folders):
    return [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]


def c_files():
    return sorted(path for pattern in ("*.c", "*.h", "*.inc") for path in CSRC.rglob(pattern))


def public_functions(module):
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == module.__name__
    }


# -- ops and reference -------------------------------------------------------------------------------------------------


def test_ops_and_reference_export_the_same_names():
    assert sorted(ops.__all__) == sorted(reference.__all__)
    assert set(ops.__all__) <= set(fastconv.__all__)
    assert sorted(path.stem for path in (PACKAGE / "reference").glob("*.py") if not path.stem.startswith("_")) == OPS


def parameters(function):
    """Names, kinds and defaults, without annotations."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("op", OPS)
def test_each_op_has_its_twin(op):
    fast = public_functions(importlib.import_module(f"fastconv.ops.{op}"))
    naive = public_functions(importlib.import_module(f"fastconv.reference.{op}"))
    assert set(fast) == set(naive)
    assert op in fast
    for name in fast:
        assert parameters(fast[name]) == parameters(naive[name]), name


@pytest.mark.parametrize("op", OPS)
def test_forward_and_backward_stand_side_by_side(op):
    functions = public_functions(importlib.import_module(f"fastconv.ops.{op}"))
    for name in functions:
        assert name.endswith("_backward") or f"{name}_backward" in functions


@pytest.mark.parametrize("op", OPS)
def test_one_op_one_name(op):
    assert (ROOT / "tests" / f"test_{op}.py").exists()
    assert (ROOT / "benchmarks" / f"bench_{op}.py").exists()


@pytest.mark.parametrize("module", [ops, reference], ids=["ops", "reference"])
def test_signatures_are_those_of_the_contract(module):
    """Argument order and defaults are PyTorch's."""
    expected = {
        "conv2d": "(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)",
        "conv2d_backward": "(grad_y, x, weight, stride=1, padding=0, dilation=1, groups=1, *, need=(True, True, True))",
        "conv_transpose2d": "(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)",
        "conv_transpose2d_backward": "(grad_y, x, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, "
        "*, need=(True, True, True))",
        "unfold": "(x, kernel_size, dilation=1, padding=0, stride=1)",
        "unfold_backward": "(grad_y, input_shape, kernel_size, dilation=1, padding=0, stride=1)",
        "fold": "(x, output_size, kernel_size, dilation=1, padding=0, stride=1)",
        "fold_backward": "(grad_y, kernel_size, dilation=1, padding=0, stride=1)",
        "max_pool2d": "(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False)",
        "max_pool2d_backward": "(grad_y, indices, input_shape)",
        "avg_pool2d": "(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
        "divisor_override=None)",
        "avg_pool2d_backward": "(grad_y, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, "
        "count_include_pad=True, divisor_override=None)",
        "adaptive_avg_pool2d": "(x, output_size)",
        "adaptive_avg_pool2d_backward": "(grad_y, input_shape)",
        "batch_norm": "(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05, "
        "*, return_stats=False)",
        "batch_norm_backward": "(grad_y, x, mean, inv_std, weight=None, training=False, *, need=(True, True, True))",
        "linear": "(x, weight, bias=None)",
        "linear_backward": "(grad_y, x, weight, *, need=(True, True, True))",
        "relu": "(x)",
        "relu_backward": "(grad_y, x)",
        "leaky_relu": "(x, negative_slope=0.01)",
        "leaky_relu_backward": "(grad_y, x, negative_slope=0.01)",
        "sigmoid": "(x)",
        "sigmoid_backward": "(grad_y, y)",
        "tanh": "(x)",
        "tanh_backward": "(grad_y, y)",
        "nll_loss": "(x, target, weight=None, ignore_index=-100, reduction='mean')",
        "nll_loss_backward": "(x, target, weight=None, ignore_index=-100, reduction='mean', *, grad_y=None)",
        "mse_loss": "(x, target, reduction='mean')",
        "mse_loss_backward": "(x, target, reduction='mean', *, grad_y=None)",
        "softmax": "(x, dim=-1)",
        "softmax_backward": "(grad_y, y, dim=-1)",
        "log_softmax": "(x, dim=-1)",
        "log_softmax_backward": "(grad_y, y, dim=-1)",
        "cross_entropy": "(x, target, weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0)",
        "cross_entropy_backward": "(x, target, weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0, "
        "*, grad_y=None)",
        "dropout": "(x, p=0.5, training=True, *, rng=None, return_mask=False)",
        "dropout_backward": "(grad_y, mask, p=0.5)",
        "dropout2d": "(x, p=0.5, training=True, *, rng=None, return_mask=False)",
        "dropout2d_backward": "(grad_y, mask, p=0.5)",
    }
    found = {}
    for name in module.__all__:
        signature = inspect.signature(getattr(module, name))
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        found[name] = str(inspect.Signature(bare))
    assert found == expected


# -- who may know whom -------------------------------------------------------------------------------------------------


def test_reference_imports_numpy_alone():
    for path in python_files("reference"):
        for name in imports(path):
            allowed = ("numpy", "fastconv.reference", "typing", "collections.abc")
            assert name.startswith(allowed), f"{path.name} imports {name}"


def test_nothing_imports_reference():
    for path in python_files("."):
        if path.parent.name != "reference":
            assert not any("reference" in name.split(".") for name in imports(path)), path


LAYERS = {  # folder or module: what it may not know
    "ops": ("nn", "optim", "schedules", "data", "training", "models", "cli", "examples"),
    "nn": ("optim", "schedules", "data", "training", "models", "cli", "examples", "_kernels"),
    "data": ("nn", "optim", "schedules", "training", "models", "cli", "examples"),
    "optim.py": ("nn", "data", "training", "models", "cli", "examples", "ops"),
    "training.py": ("cli", "examples", "_kernels"),
    "_validation.py": ("ops", "nn", "_threads"),
    "_threads.py": ("ops", "nn"),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_do_not_reach_up(layer):
    files = python_files(layer) if not layer.endswith(".py") else [PACKAGE / layer]
    assert files
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            known = parts[1] if parts[0] == "fastconv" and len(parts) > 1 else ""
            assert known not in LAYERS[layer], f"{path.relative_to(ROOT)} imports {name}"


def test_numpys_blas_is_not_used_where_training_passes():
    """`@`, dot, matmul, einsum and tensordot belong to fastconv's own kernels there."""
    for path in python_files("ops", "nn"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)), path
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("dot", "matmul", "einsum", "tensordot", "inner", "vdot"), path


# -- the C core --------------------------------------------------------------------------------------------------------


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def test_threads_are_started_in_csrc_ops_alone():
    pragmas = [
        path for path in c_files() if re.search(r"omp\s+parallel|pragma\s+omp", without_comments(path.read_text()))
    ]
    assert pragmas
    assert all(path.parent == CSRC / "ops" for path in pragmas), pragmas


def test_intrinsics_are_in_csrc_simd_alone():
    users = [path for path in c_files() if re.search(r"(immintrin|arm_neon|[a-z]mmintrin)\.h", path.read_text())]
    assert users
    assert all(path.parent == CSRC / "simd" or path == CSRC / "dispatch.c" for path in users), users


def test_the_core_knows_nothing_of_python():
    for path in c_files():
        assert not re.search(r"#\s*include\s*[<\"](Python|numpy/)", path.read_text()), path


def test_kernels_allocate_nothing_and_do_no_io():
    for path in sorted((CSRC / "kernels").glob("*")):
        text = without_comments(path.read_text())
        assert not re.search(r"\b(malloc|calloc|realloc|free|printf|fprintf|fopen|exit|abort)\s*\(", text), path


def test_no_fast_math_and_no_native():
    for path in (ROOT / "setup.py", ROOT / "pyproject.toml"):
        text = path.read_text(encoding="utf-8")
        assert "-ffast-math" not in text
        assert "-march=native" not in text
        assert "-Ofast" not in text


@pytest.mark.parametrize("path", c_files(), ids=lambda path: str(path.relative_to(CSRC)))
def test_c_files_open_with_what_they_are_for(path):
    assert path.read_text(encoding="utf-8").lstrip().startswith(("/*", "//"))


# -- the package -------------------------------------------------------------------------------------------------------


def modules():
    yield fastconv
    for info in pkgutil.walk_packages(fastconv.__path__, "fastconv."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def test_public_things_have_docstrings():
    missing = []
    for module in modules():
        if module.__name__ == "fastconv._kernels":
            continue
        if not module.__doc__:
            missing.append(module.__name__)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                private = module.__name__.rpartition(".")[2].startswith("_")
                if not value.__doc__ and not private:
                    missing.append(f"{module.__name__}.{name}")
    assert not missing


@pytest.mark.parametrize("name", sorted(ops.__all__))
def test_docstrings_of_ops_say_what_goes_in_and_out(name):
    doc = inspect.getdoc(getattr(ops, name))
    for section in ("Parameters", "Returns", "Raises"):
        assert f"{section}\n{'-' * len(section)}" in doc, section
    for parameter in inspect.signature(getattr(ops, name)).parameters:
        assert re.search(rf"^.*\b{parameter}\b.*", doc, re.MULTILINE), parameter


def test_the_library_never_prints():
    for path in python_files("ops", "nn", "reference", "data"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Name) and node.id == "print"), path


def test_no_assert_for_user_input():
    for path in [*python_files("ops", "data", "cli"), *PACKAGE.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"


def test_all_is_complete():
    """What fastconv shows is what it lists."""
    assert sorted(fastconv.__all__) == sorted(set(fastconv.__all__))
    for name in fastconv.__all__:
        assert getattr(fastconv, name) is not None
    assert fastconv.ShapeError.__mro__[1:3] == (ValueError, RuntimeError)
    assert isinstance(fastconv.conv2d(np.ones((1, 2, 2)), np.ones((1, 1, 1, 1))), np.ndarray)
