"""What the library is and runs on (show_config, cpu_info), and the memory that it holds (release_memory)."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from fastconv import _kernels
from fastconv._precision import get_float32_precision
from fastconv._threads import default_num_threads, get_num_threads
from fastconv._version import __version__

# Environment variables that change what fastconv does.
VARIABLES = ("FASTCONV_ISA", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class Config(dict[str, Any]):
    """A dict that shows itself as a table."""

    def __repr__(self) -> str:
        width = max((len(key) for key in self), default=0)
        return "\n".join(f"{key:<{width}}  {_text(value)}" for key, value in self.items())


def _text(value: object) -> str:
    return " ".join(str(element) for element in value) if isinstance(value, list) else str(value)


def show_config() -> Config:
    """Versions, processor, instruction set, threads and memory of this fastconv.

    Nothing is printed: the result is a dict whose repr is a readable table, so that typing ``fastconv.show_config()``
    at a prompt shows it, and ``print(fastconv.show_config())`` does in a program.

    Returns
    -------
    config : dict of str to str, int or list of str
        'fastconv', 'numpy', 'python', 'platform' : versions.
        'cpu' : name of the processor.
        'isa' : instruction set in use; 'isas' : those that this machine and this build have, the best last.
        'threads' : most threads a call may use; 'threads default' : the same where nobody sets it.
        'openmp' : version of the OpenMP standard, as the compiler's date.
        'float32 precision' : see set_float32_precision.
        'memory cached', 'memory limit' : bytes held for reuse, and the most that may be held.
        Environment variables that matter, where set.

    Examples
    --------
    >>> import fastconv
    >>> config = fastconv.show_config()
    >>> config["isa"] in config["isas"]
    True
    """
    config = Config()
    config["fastconv"] = __version__
    config["numpy"] = np.__version__
    config["python"] = platform.python_version()
    config["platform"] = f"{platform.system()} {platform.machine()}"
    config["cpu"] = cpu_info().get("model") or "unknown"
    config["isa"] = _kernels.active_isa()
    config["isas"] = _kernels.available_isas()
    config["threads"] = get_num_threads()
    config["threads default"] = default_num_threads()
    config["openmp"] = _kernels.openmp_version()
    config["float32 precision"] = get_float32_precision()
    config["memory cached"] = _kernels.memory_cached()
    config["memory limit"] = _kernels.memory_limit()
    config.update((name, os.environ[name]) for name in VARIABLES if name in os.environ)
    return config


def cpu_info() -> dict[str, Any]:
    """What the processor and the operating system have, as fastconv found it.

    Returns
    -------
    info : dict
        Vendor and name of the processor, its instruction sets, and the sizes of its caches in bytes (0: unknown).

    Examples
    --------
    >>> import fastconv
    >>> isinstance(fastconv.cpu_info(), dict)
    True
    """
    return dict(_kernels.cpu_info())


def release_memory() -> int:
    """Give memory that is held for reuse back to the operating system.

    Results live in memory that is taken from a bounded cache of freed blocks, as fresh memory costs as much time as a
    small layer.  Arrays that are still alive are not touched.

    Returns
    -------
    released : int
        Bytes given back.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.release_memory() >= 0
    True
    """
    return _kernels.memory_release()
