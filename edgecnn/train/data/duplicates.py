"""Pictures that are (nearly) the same: found by their thumbnails, so that no two parts of a split share them.

A thumbnail is the grey picture at 32 x 32, less its blurred self, divided by its local contrast: light that comes from
elsewhere, or fades over the picture, does not matter. The product of two thumbnails is their correlation. What reaches
`SAME` shows the same thing again, perhaps under another light or a little moved.

Products in a fixture all look alike without being the same. They give themselves away by their number: what connects
more than `LARGEST` of all pictures is no repetition. What such pictures have in common, their mean, is then taken off,
and what is left is compared anew, more strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.train.data.families import joined, joined_by

Thumbnail = npt.NDArray[np.float32]

SIDE = 32
SAME = (0.8, 0.9, 0.95)
"""Correlation from which two thumbnails show the same: at first, and where the common has been taken off."""
LARGEST = 0.1
"""Share of all pictures that repetitions of one may make up."""
_FEWEST = 6
"""Pictures that may be the same in small data sets too, but no more than half of them."""
_BLUR, _NOISE = 2.0, 1.0
"""Standard deviation of the blur in thumbnail pixels; grey values squared, below which contrast is taken for noise."""
_PLAIN = 1e-3
"""Norm below which a thumbnail shows nothing."""
_BLOCK = 512


def thumbnail(picture: npt.NDArray[np.uint8]) -> Thumbnail:
    """Return the thumbnail of a picture (H, W, 3), BGR: float32 (SIDE * SIDE,) of norm 1, or 0 for a plain picture."""
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    values = np.asarray(grey, np.float32)
    detail = values - cv2.GaussianBlur(values, (0, 0), _BLUR)
    detail = detail / np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _BLUR) + _NOISE)
    return _normalised(detail.reshape(-1) - detail.mean())


def clusters(thumbnails: Sequence[Thumbnail], digests: Sequence[str]) -> tuple[list[str], int]:
    """Find the pictures that are the same.

    Args:
        thumbnails: One a picture.
        digests: Equal for equal pictures.

    Returns:
        The name of each picture's cluster, empty for those that are like no other; and how many pictures only look
        alike, as products in a fixture do. Pictures of equal digests are always in one cluster.
    """
    largest = max(min(_FEWEST, len(digests) // 2), round(LARGEST * len(digests)))
    first = sorted({digest: index for index, digest in reversed([*enumerate(digests)])}.values())
    families, alike = _repetitions(np.array([thumbnails[index] for index in first]), largest)
    near = [(first[family[0]], first[other]) for family in families for other in family[1:]]
    names = [""] * len(digests)
    for family in joined(len(digests), [*near, *joined_by(enumerate(digests))]):
        for index in family if len(family) > 1 else ():
            names[index] = digests[family[0]]
    return names, alike


def _repetitions(thumbnails: npt.NDArray[np.float32], largest: int, level: int = 0) -> tuple[list[list[int]], int]:
    """Return sets of indices that show the same, and how many thumbnails are in sets that are too large for that."""
    families = _connected(thumbnails, SAME[level])
    found = [family for family in families if len(family) <= largest]
    crowds = [family for family in families if len(family) > largest]
    for crowd in crowds if level + 1 < len(SAME) else ():
        own = _normalised(thumbnails[crowd] - thumbnails[crowd].mean(0))
        found += [[crowd[index] for index in family] for family in _repetitions(own, largest, level + 1)[0]]
    return found, sum(map(len, crowds))


def _connected(thumbnails: npt.NDArray[np.float32], same: float) -> list[list[int]]:
    """Return the sets that pairs connect which correlate by at least ``same``, in order of their first.

    Pairs are not listed: of thousands of products that look alike there would be millions.
    """
    sets = np.arange(len(thumbnails))
    for start in range(0, len(thumbnails), _BLOCK):
        near = thumbnails[start : start + _BLOCK] @ thumbnails[start:].T >= same
        for row in np.flatnonzero(near.sum(1) > 1):
            touched = sets[start:][near[row]]
            if (touched != touched[0]).any():
                sets[np.isin(sets, touched)] = touched.min()
    order = np.argsort(sets, kind="stable")
    return [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(sets[order])) + 1) if len(part)]


def _normalised(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return each row with norm 1; one that is (nearly) 0 becomes 0."""
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(np.where(norms > _PLAIN, values / np.maximum(norms, _PLAIN), 0), np.float32)
