"""Speed measurements: each fast path against its plain twin, in one process, interleaved."""
