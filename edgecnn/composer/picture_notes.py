"""What is odd about the calibration pictures: masks among them, one colour, all of them nearly the same.

Nothing of it is an error, and the export goes on. But ranges that were chosen on such pictures do not fit what a camera
sees, and nothing else would show it before the device does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

SIDE = 32
_ROWS, _COLUMNS = 32, 512
MASK_COLOURS, MASK_SAME = 128, 0.95
"""A mask has few colours, and nearly all neighbours are the same. Measured on photographs: 0.82 at most, with hundreds
of colours; on drawn digits 0.92; on masks, resized and compressed ones too, 0.97 at least."""
ONE_COLOUR = 4
"""Grey levels between the darkest and the brightest pixel of a picture that shows nothing."""
ALIKE, MOST = 2.0, 0.9
"""Grey levels between a thumbnail and the median one, mean over its pixels; share of the pictures that are nearer.

One picture again, with noise, moved by a pixel or under light that varies by 3 %, is 0.3 to 1.9 away, other parts and
scenes 6 and more.
"""


@dataclass(frozen=True)
class Sight:
    """What was seen of one picture.

    Attributes:
        thumbnail: uint8 (SIDE, SIDE), grey, of the picture at the model's size.
        plain: Whether it shows one colour alone.
        mask: Whether it looks like a mask: areas of few values.
    """

    thumbnail: Image
    plain: bool
    mask: bool


def look(frame: Image, fitted: Image) -> Sight:
    """Look at a picture as it came, (H, W) or (H, W, C), and at the model's size, (H, W, C)."""
    rows = frame[:: max(1, frame.shape[0] // _ROWS), :_COLUMNS]
    rows = rows.reshape(*rows.shape[:2], -1)
    span, mask = int((rows.max((0, 1)).astype(np.int16) - rows.min((0, 1))).max()), _is_mask(rows)
    grey = cv2.cvtColor(fitted, cv2.COLOR_BGR2GRAY) if fitted.shape[2] == 3 else np.ascontiguousarray(fitted[..., 0])
    thumbnail = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Sight(thumbnail.astype(np.uint8), span <= ONE_COLOUR and not mask, mask)


def _is_mask(rows: Image) -> bool:
    same = (rows[:, 1:] == rows[:, :-1]).all(-1)
    if same.size == 0 or same.mean() < MASK_SAME:
        return False
    return 1 < len(np.unique(rows.reshape(-1, rows.shape[2]), axis=0)) <= MASK_COLOURS


def picture_notes(sights: Sequence[tuple[str, Sight]]) -> list[str]:
    """Return what the user should know of the pictures, as (path below the folder, what was seen); none as a rule."""
    notes = []
    masks = [name for name, sight in sights if sight.mask]
    if masks:
        notes.append(_masks(masks, sights))
    plain = [name for name, sight in sights if sight.plain]
    if 2 * len(plain) > len(sights) and not masks:
        notes.append(
            f"{len(plain)} of {len(sights)} calibration picture(s) show one colour alone, e.g. {plain[0]}: ranges that "
            "are chosen on them fit nothing else. Give pictures of what the camera will see."
        )
    elif not masks and _are_alike([sight.thumbnail for _, sight in sights]):
        notes.append(
            f"the {len(sights)} calibration pictures are nearly the same, like {sights[0][0]}: ranges that are chosen "
            "on them may not fit other parts, places or light. Give pictures of all that the camera will see."
        )
    return notes


def _masks(masks: Sequence[str], sights: Sequence[tuple[str, Sight]]) -> str:
    where = _folders(masks, [name for name, sight in sights if not sight.mask and not sight.plain])
    named = f" (in {', '.join(where[:3])}{', ...' if len(where) > 3 else ''})" if where else ""
    return (
        f"{len(masks)} of {len(sights)} calibration pictures look like masks, with areas of few values{named}, e.g. "
        f"{masks[0]}: ranges that are chosen on masks do not fit pictures. Give --calibrate a folder without them."
    )


def _folders(masks: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the topmost folders that hold masks and no other pictures."""
    mixed = {parent for name in others for parent in PurePosixPath(name).parents} | {PurePosixPath(".")}
    found: dict[str, None] = {}
    for name in masks:
        inside = [parent for parent in PurePosixPath(name).parents if parent not in mixed]
        if inside:
            found[f"{inside[-1]}/"] = None
    return list(found)


def _are_alike(thumbnails: Sequence[Image]) -> bool:
    if len(thumbnails) < 2:
        return False
    stack = np.stack(thumbnails)
    distances = np.abs(stack - np.median(stack, 0)).mean((1, 2))
    return bool(np.quantile(distances, MOST) < ALIKE)
