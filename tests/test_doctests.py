"""Every example in a docstring of the package gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import fastconv

MODULES = ["fastconv"] + [
    info.name for info in pkgutil.walk_packages(fastconv.__path__, "fastconv.") if not info.name.endswith("__main__")
]
FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples():
    for name in MODULES:
        for test in FINDER.find(importlib.import_module(name), name):
            if test.examples:
                yield pytest.param(test, id=test.name)


EXAMPLES = list(examples())


@pytest.mark.parametrize("test", EXAMPLES)
def test_examples_give_what_they_say(test):
    out = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=out.append, clear_globs=False)
    assert not out, "".join(out)


def test_there_are_examples_to_run():
    """Walking the package must not come to nothing: each public operation has one."""
    tested = {param.values[0].name.rpartition(".")[2] for param in EXAMPLES}
    assert tested >= set(fastconv.ops.__all__)
