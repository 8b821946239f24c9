"""What a piece of code needs, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_MEASURED = """
import sys
try:
    exec(sys.argv.pop(1))
finally:
    lines = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def peak_memory_of(code: str, *arguments: str) -> int:
    """Return the most memory, in bytes, that a process held which ran ``code``; an exception in it is no error."""
    command = [sys.executable, "-c", _MEASURED, f"import sys\n{code}", *arguments]
    child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return int(child.stdout.split()[-1]) * 1024
