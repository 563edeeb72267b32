"""Build of the compiled module `fastconv._kernels`: the C core of csrc/ and its Cython binding.

What pyproject.toml cannot say: each file of csrc/families/ is compiled once for each instruction set, with its
flags, and nothing else is, so that the module loads on any machine of its architecture and picks its kernels at import.
"""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMMON = ["-std=gnu11", "-fopenmp", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
# For developers and CI: more flags for our own C alone, not for what Cython writes (FASTCONV_CFLAGS="-Werror").
EXTRA = os.environ.get("FASTCONV_CFLAGS", "").split()
# For all C, Cython's too, and the linker: FASTCONV_SANITIZE="address,undefined" or FASTCONV_COVERAGE=1.  Such a build
# wants a directory of its own (build --build-base ...) and few instruction sets (FASTCONV_ISAS="baseline avx2"), since
# it takes long: see .ci/core.
INSTRUMENT: list[str] = []
KERNELS: list[str] = []
if os.environ.get("FASTCONV_SANITIZE"):
    INSTRUMENT += [
        f"-fsanitize={os.environ['FASTCONV_SANITIZE']}",
        "-fno-sanitize-recover=all",
        "-fno-omit-frame-pointer",
    ]
    # The kernels are long unrolled runs of loads and stores, which take GCC many minutes with all that may be added to
    # each: so checks of memory are calls there, and UBSan leaves to AddressSanitizer what both would see.
    KERNELS = [
        "-fno-sanitize=null,alignment,object-size",
        "-fno-sanitize-address-use-after-scope",
        "--param=asan-instrumentation-with-call-threshold=0",
    ]
if os.environ.get("FASTCONV_COVERAGE"):
    INSTRUMENT += ["--coverage", "-fprofile-update=atomic"]
OPTIMISE = ["-O3", "-g0", "-fno-asynchronous-unwind-tables"]  # no exceptions pass through C
if INSTRUMENT:
    OPTIMISE = ["-O0" if os.environ.get("FASTCONV_COVERAGE") else "-O1", "-g"]

# Wheels go without names for profilers and debuggers; what is built in place keeps them.
STRIP = ["-Wl,-s"] if "bdist_wheel" in sys.argv and not INSTRUMENT and sys.platform == "linux" else []

X86 = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
ISAS = X86 if platform.machine().lower() in ("x86_64", "amd64", "i686") else {"baseline": []}
WANTED = os.environ.get("FASTCONV_ISAS", " ".join(ISAS)).split()
LEFT_OUT = [f"-DFC_WITHOUT_{isa.upper()}" for isa in ISAS if isa not in WANTED]

SOURCES = sorted(str(path) for folder in ("csrc", "csrc/units") for path in Path(folder).glob("*.c"))
FAMILIES = sorted(str(path) for path in Path("csrc/families").glob("*.c"))
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in (".h", ".inc", ".c"))


class BuildExtension(build_ext):
    """Compiles the C core, several units at a time, then the binding, and links them into one module."""

    def build_extension(self, ext: Extension) -> None:
        units: list[tuple[str, str, list[str]]] = [(path, Path(path).stem, []) for path in SOURCES]
        for isa, flags in ISAS.items():
            if isa not in WANTED:
                continue
            units += [(path, f"{Path(path).stem}-{isa}", [*flags, *KERNELS, f"-DFC_ISA={isa}"]) for path in FAMILIES]
        folder = Path(self.build_temp)
        folder.mkdir(parents=True, exist_ok=True)
        targets = [folder / f"{name}.o" for _, name, _ in units]

        def compile_unit(unit: tuple[str, str, list[str]]) -> None:
            source, name, flags = unit
            target, depends = folder / f"{name}.o", folder / f"{name}.d"
            if self.force or not _is_current(target, depends):
                command = [
                    *self.compiler.compiler_so,
                    *COMMON,
                    *OPTIMISE,
                    *INSTRUMENT,
                    *LEFT_OUT,
                    *EXTRA,
                    *flags,
                    "-MMD",
                    "-MF",
                    str(depends),
                ]
                self.spawn([*command, "-Icsrc", "-c", source, "-o", str(target)])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_unit, units))
        ext.extra_objects = [str(target) for target in targets]
        super().build_extension(ext)


def _is_current(target: Path, depends: Path) -> bool:
    """Whether an object is newer than all that its unit includes, by the list that the compiler left."""
    if not target.exists() or not depends.exists():
        return False
    sources = depends.read_text(encoding="utf-8").replace("\\\n", " ").split()[1:]
    made = target.stat().st_mtime
    return all(Path(source).exists() and Path(source).stat().st_mtime < made for source in sources)


setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastconv._kernels",
                ["fastconv/_kernels.pyx"],
                include_dirs=["csrc", numpy.get_include()],
                define_macros=[
                    ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
                    ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),
                ],
                extra_compile_args=[
                    *(OPTIMISE if INSTRUMENT else ["-O2", "-g0"]),
                    "-fopenmp",
                    "-fvisibility=hidden",
                    *INSTRUMENT,
                ],
                extra_link_args=["-fopenmp", *INSTRUMENT, *STRIP],
                depends=HEADERS,
            )
        ],
        language_level=3,
    ),
    cmdclass={"build_ext": BuildExtension},
)
