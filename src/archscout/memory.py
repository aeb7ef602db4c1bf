"""Memory that a process keeps instead of handing it back to the system between steps."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = -1  # for the trim threshold: see its manual page


def keep_freed_memory() -> bool:
    """Let the allocator of this process reuse the large blocks that every training step frees and takes again.

    glibc hands them back to the system and gets fresh pages, which the system has to clear one by one: measured on two
    cores, a supernet step spends up to two fifths of its time on that. Returns whether the allocator has the setting.

    For processes of our own (the command line, benchmarks); a library must not change its host's allocator.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
