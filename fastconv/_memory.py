"""Arrays from the core's own memory: without values yet, and beginning on a cache line (see csrc/memory.c)."""

from __future__ import annotations

from fastconv._kernels import empty as aligned_empty

__all__ = ["aligned_empty"]
