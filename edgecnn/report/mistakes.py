"""The worst mistakes of an inspection as pictures: what INT8 marks, and the outline of what the label mask says."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.mistakes import ESCAPE, FALSE_REJECT, MARKINGS, PIXELS, Mistake
from edgecnn.runtime.evaluation.pixels import read_mask
from edgecnn.vision.draw import overlay
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import Image, read_image
from edgecnn.vision.results import Decision

SIDE = 280
"""Longer side of a picture in pixels."""
MOST_BYTES = 600_000
"""Of all pictures together, as they stand in the page."""
REMARKS = {ESCAPE: "escape", FALSE_REJECT: "false reject", PIXELS: "rejected, wrong pixels", MARKINGS: "markings off"}
# Colours at full resolution: at half of it thin lines turn grey.
_HOW = (cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
# Okabe and Ito, "Color Universal Design" (2008): yellow, as BGR, on a dark line that parts it from any picture.
_OUTLINE, _EDGE = (66, 228, 240), (0, 0, 0)


@dataclass(frozen=True)
class MistakePicture:
    """A mistake as the page shows it.

    Attributes:
        name: The picture's path below the folder.
        remark: What is wrong.
        facts: Score, kind and overlap, as far as they are known.
        source: The picture as a data URI.
        outlined: Whether a label mask is drawn.
    """

    name: str
    remark: str
    facts: tuple[str, ...]
    source: str
    outlined: bool


def mistake_pictures(
    mistakes: Iterable[Mistake], items: Iterable[Labelled], manifest: Manifest
) -> list[MistakePicture]:
    """Draw mistakes, in their order; what cannot be read any more, or is too much for one page, is left out.

    Args:
        mistakes: What `Observer` kept.
        items: The pictures that were evaluated.
        manifest: The bundle's contract.
    """
    files, found, left = {item.name: item for item in items}, list[MistakePicture](), MOST_BYTES
    for mistake in mistakes:
        picture = _picture(mistake, files, manifest)
        if picture is not None and len(picture.source) <= left:
            found.append(picture)
            left -= len(picture.source)
    return found


def _picture(mistake: Mistake, files: Mapping[str, Labelled], manifest: Manifest) -> MistakePicture | None:
    item = files.get(mistake.row["picture"])
    if item is None:
        return None
    try:
        picture = read_image(item.path)
        mask = None if item.mask is None else read_mask(item.mask, (picture.shape[0], picture.shape[1]))
        drawn = _drawn(picture, mask, mistake, Preprocess.for_input(manifest.input))
    except DataError:
        return None
    done, data = cv2.imencode(".jpg", drawn, _HOW)
    source = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    facts = _facts(mistake)
    return MistakePicture(item.name, REMARKS[mistake.kind], facts, source, mask is not None) if done else None


def _facts(mistake: Mistake) -> tuple[str, ...]:
    row = mistake.row
    facts = [] if row["int8"]["score"] is None else [f"score {row['int8']['score']:.3f}"]
    facts += [f"is {row['kind']}"] if "kind" in row else []
    facts += [f"called {row['int8']['label']}"] if "label" in row["int8"] else []
    facts += [f"overlap {row['iou']:.3f}"] if "iou" in row else []
    facts += [f"F1 {row['f1']:.3f}", row["int8"]["decision"] or "no line"] if "f1" in row else []
    return tuple(facts)


def _drawn(picture: Image, mask: Image | None, mistake: Mistake, preprocess: Preprocess) -> Image:
    """Return the picture at the page's size with INT8's lanes and mask, below the threshold too, and the label mask."""
    geometry = preprocess.geometry(picture.shape[0], picture.shape[1])
    shown = Decision(mask=mistake.decision.mask, lanes=mistake.decision.lanes).to_frame(geometry)
    canvas = overlay(_resized(picture), None, shown, (), geometry=geometry)
    if mask is not None:
        factor = np.array(canvas.shape[1::-1]) / np.array(mask.shape[1::-1])
        lines = [
            _scaled(np.asarray(line, np.int32), factor)
            for line in cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
        ]
        cv2.polylines(canvas, lines, True, _EDGE, 3, cv2.LINE_AA)
        cv2.polylines(canvas, lines, True, _OUTLINE, 1, cv2.LINE_AA)
    return canvas


def _resized(picture: Image) -> Image:
    height, width = picture.shape[:2]
    factor = SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The mean over the pixels that become one looks best when a picture becomes small.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _scaled(line: npt.NDArray[np.integer], factor: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Return an outline (N, 1, 2) in pixels of a picture ``factor`` times as large; centres of pixels stay centres."""
    return np.asarray(np.rint((line + 0.5) * factor - 0.5), np.int32)
