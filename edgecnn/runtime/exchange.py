"""Two folders change places in one step: whoever looks sees the one or the other, and never neither."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# linux/fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""What a kernel before 3.15 says, and a file system that does not know the step: FAT, some network file systems."""


def exchange(first: Path, second: Path) -> bool:
    """Let two paths on one file system change places.

    Returns:
        Whether it was done; False where the system has no such step, and nothing was changed.

    Raises:
        OSError: If it was refused for another reason.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # glibc before 2.28
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
