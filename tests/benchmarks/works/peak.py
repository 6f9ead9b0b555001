"""Peak memory of a process."""

import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Peak of the resident memory of this process alone: that of resource includes the process that forked it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        scale = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
