"""Build of the compiled module `fastconv._kernels`: the C core of csrc/ and its Cython binding.

What pyproject.toml cannot say: each file of csrc/isa/ is compiled with the flags of its instruction set, and nothing
else is, so that the module loads on any machine of its architecture and picks its kernels at import.
"""

import os
import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMMON = ["-std=gnu11", "-O3", "-fopenmp", "-ffp-contract=off", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra"]
# For developers and CI: more flags for our own C alone, not for what Cython writes (FASTCONV_CFLAGS="-Werror").
EXTRA = os.environ.get("FASTCONV_CFLAGS", "").split()

X86 = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
ISAS = X86 if platform.machine().lower() in ("x86_64", "amd64", "i686") else {"baseline": []}

SOURCES = sorted(str(path) for folder in ("csrc", "csrc/units") for path in Path(folder).glob("*.c"))
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in (".h", ".inc", ".c"))


class BuildExtension(build_ext):
    """Compiles the C core unit by unit, then the binding, and links them into one module."""

    def build_extension(self, ext: Extension) -> None:
        objects = []
        newest = max(Path(path).stat().st_mtime for path in HEADERS)

        def compile_unit(source: str, flags: list[str]) -> None:
            target = Path(self.compiler.object_filenames([source], output_dir=self.build_temp)[0])
            objects.append(str(target))
            if not self.force and target.exists() and target.stat().st_mtime > newest:
                return
            self.compiler.compile(
                [source], output_dir=self.build_temp, include_dirs=["csrc"], extra_postargs=COMMON + EXTRA + flags
            )

        for isa, flags in ISAS.items():
            compile_unit(f"csrc/isa/{isa}.c", flags)
        for source in SOURCES:
            compile_unit(source, [])
        ext.extra_objects = objects
        super().build_extension(ext)


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
                extra_compile_args=["-O2", "-g0", "-fopenmp", "-fvisibility=hidden"],
                extra_link_args=["-fopenmp"],
                depends=HEADERS,
            )
        ],
        language_level=3,
    ),
    cmdclass={"build_ext": BuildExtension},
)
