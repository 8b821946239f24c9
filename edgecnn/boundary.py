"""The one place where a reader meets what it reads: whatever goes wrong inside is a fault of what was read.

What a damaged or hostile file makes a parser stumble over cannot be listed: an index, a codec, a number too large for a
float, memory, depth. A list of exceptions is always one short, so a boundary takes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import EdgecnnError
from edgecnn.limits import Limit

_LONGEST = 300
_BLOCK = 1 << 20


@contextmanager
def boundary(kind: type[EdgecnnError], what: str, advice: str = "") -> Iterator[None]:
    """Read inside: errors of edgecnn pass as they are, all others become one of ``kind``.

    Args:
        kind: What the caller is promised.
        what: Begins the message: what was read, and what it should have been.
        advice: Ends the message: what to do about it.

    Raises:
        EdgecnnError: Of ``kind``, for whatever else is raised inside; Ctrl-C and the process's end pass.
    """
    try:
        yield
    except EdgecnnError:
        raise
    except Exception as error:
        raise kind(_message(what, error, advice)) from error
    except BaseException as error:
        # What Rust calls a panic reaches Python beside `Exception`, by the hand of PyO3.
        if type(error).__name__ != "PanicException":
            raise
        raise kind(_message(what, error, advice)) from error


def _message(what: str, error: BaseException, advice: str) -> str:
    return f"{what}: {described(error)}. {advice}".rstrip()


def described(error: BaseException) -> str:
    """Return what an error says, in one line, without its end mark; its type where that says more."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str((isinstance(error, OSError) and error.strerror) or error).strip().rstrip(".")
    plain = isinstance(error, (OSError, ValueError, EOFError, RuntimeError))
    shown = text if text and plain else f"{type(error).__name__}{text and f' ({text})'}"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def read_bytes(path: Path, limit: Limit, kind: type[EdgecnnError]) -> bytes:
    """Read a whole file.

    Args:
        path: The file; a pipe or device is read too, as far as the limit.
        limit: The most that it may have.
        kind: The error to raise.

    Raises:
        EdgecnnError: Of ``kind``, if it cannot be read or is larger.
    """
    data = bytearray()
    with boundary(kind, f"{path}: cannot be read"), path.open("rb") as stream:
        # Block by block: Python allocates what it is asked to read, not what there is.
        while len(data) <= limit.most and (block := stream.read(min(_BLOCK, limit.most + 1 - len(data)))):
            data += block
    limit.check(len(data), path, kind)
    return bytes(data)
