"""Pictures below one folder and their masks below another, paired by path."""

from __future__ import annotations

from pathlib import Path

from edgecnn.train.data.layouts._found import pictures_below
from edgecnn.train.data.samples import Skipped

Pairs = list[tuple[Path, Path | None]]

_ENDINGS = ("_mask", "_gt", "_label")


def paired(images: Path, masks: Path) -> tuple[Pairs, list[Skipped]]:
    """Return every picture below ``images`` with its mask, and the masks that belong to none.

    A mask has its picture's path below ``masks``, with any extension; its name may end in ``_mask``, ``_gt`` or
    ``_label``.
    """
    names = {path: path.relative_to(images).with_suffix("") for path in pictures_below(images)}
    known = set(names.values())
    found: dict[Path, Path] = {}
    orphans = []
    for mask in pictures_below(masks):
        below = mask.relative_to(masks).with_suffix("")
        name = below if below in known else below.with_name(_bare(below.name))
        if name in known and name not in found:
            found[name] = mask
        else:
            why = (
                f"{found[name].name} is its mask already" if name in found else f"there is no picture of it in {images}"
            )
            orphans.append(Skipped(f"{masks.name}/{mask.relative_to(masks).as_posix()}", f"a mask, but {why}"))
    return [(path, found.get(name)) for path, name in names.items()], orphans


def _bare(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)
