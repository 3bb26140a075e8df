"""Why does a training step on a CPU wait for the kernel?  It asks for the same memory again and again.

glibc returns large blocks (logits of 10 MB) to the kernel as they are freed, and the next step has each page
of them cleared and mapped anew: a fifth of a step of a small model.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT = 2**31 - 1  # bytes that are free at the end of the heap
LARGEST = 2**25  # bytes of a block of the heap, which glibc allows at most


def keep_freed() -> None:
    """From now on this process keeps what it frees, up to 2 GiB; without glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)
