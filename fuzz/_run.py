"""Start a fuzzer: what the harnesses of this folder share.

A harness is a module with `INSTRUMENT` (names of the modules whose branches guide the fuzzer), `WORDS` (what the
format is made of), `seeds()` (good files to start from, made by code) and `target()`, which imports what is tested and
returns a function of one input.  That function returns for whatever is read or refused as it should be, and raises for
anything else.

    pip install atheris . safetensors
    python fuzz/fuzz_idx.py -runs=10000000

Options are libFuzzer's; a folder as an argument keeps the corpus from run to run.  tests/test_hostile_files.py runs the
same functions on inputs of a seeded generator, without atheris.
"""

import os
import resource
import sys
import tempfile
from pathlib import Path
from types import ModuleType

MEMORY = 2 << 30  # bytes of address space: a file of a few kilobytes must not ask for more


def run(harness: ModuleType) -> None:
    """Fuzz until -runs or -max_total_time is reached, or a fault is found (it is written to ./crash-*)."""
    import atheris

    with atheris.instrument_imports(include=harness.INSTRUMENT):
        one_input = harness.target()
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "corpus")
        os.mkdir(folder)
        for i, seed in enumerate(harness.seeds()):
            Path(folder, f"seed-{i}").write_bytes(seed)
        words = Path(folder).with_suffix(".dict")
        escaped = ["".join(rf"\x{byte:02x}" for byte in word) for word in harness.WORDS]
        words.write_text("".join(f'"{word}"\n' for word in escaped))
        corpora = [argument for argument in arguments if not argument.startswith("-")]
        options = [argument for argument in arguments if argument.startswith("-")]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        defaults = ["-max_len=2048", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *defaults, f"-dict={words}", *options, *corpora, folder], one_input)
        atheris.Fuzz()


def refused(error: Exception, name: str = "file") -> None:
    """Check that a refusal is one short line that names the file."""
    text = str(error)
    assert text.startswith(f"{name}: "), text
    assert len(text) > len(name) + 5, text
    assert len(text) < 3000, text
    assert text.isprintable(), repr(text)


if __name__ == "__main__":
    sys.exit(f"run one of {', '.join(sorted(os.listdir(Path(__file__).parent)))}")
