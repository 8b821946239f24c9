"""What several sources let their address say."""

from __future__ import annotations

import re

from edgecnn.errors import OptionError
from edgecnn.runtime.address import Options

LARGEST_SIDE = 16384
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def size_option(options: Options, name: str = "size") -> tuple[int, int] | None:
    """Return the option ``name`` as (width, height), from ``"640x480"``; None where it is not given.

    Raises:
        OptionError: If it is no size.
    """
    text = options.text(name)
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= min(width, height) <= max(width, height) <= LARGEST_SIDE:
        raise OptionError(
            f"{name} is width x height in pixels, for example 640x480, at most {LARGEST_SIDE} a side; got '{text}'."
        )
    return width, height


def flag_option(options: Options, name: str) -> bool:
    """Return the option ``name``, 0 or 1, as a boolean; False where it is not given.

    Raises:
        OptionError: If it is something else.
    """
    return options.choice(name, "0", ("0", "1")) == "1"
