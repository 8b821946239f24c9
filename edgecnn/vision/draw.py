"""A frame with what was decided about it drawn on top, for people. Nothing here decides anything.

A verdict is told by colour, word and symbol, so that it can be read without seeing colours. Text grows with the
picture, and what does not fit is shortened: nothing is ever drawn outside.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.vision.lanes.drawing import draw_lanes, ego_text
from edgecnn.vision.preprocess import Geometry
from edgecnn.vision.results import Decision, Finding, Region, Verdict

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Lines = tuple[tuple[tuple[float, float], ...], ...]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST = 7
"""Height of a capital letter, in pixels, below which nobody can read it."""
_LONGEST = 400
"""Characters of a text that are looked at."""
_PAPER: Colour = (24, 24, 24)
_INK: Colour = (255, 255, 255)
_REGION: Colour = (66, 228, 240)
_MASK_SHARE = 0.45

# Okabe and Ito, "Color Universal Design" (2008), as BGR: classes that colour-blind people can tell apart.
_CLASSES = np.array(
    [(178, 114, 0), (0, 159, 230), (167, 121, 204), (66, 228, 240), (233, 180, 86), (115, 158, 0), (0, 94, 213)],
    np.uint8,
)


@dataclass(frozen=True)
class _Style:
    """How a verdict looks: its fill and the ink on it, BGR, and its symbol in a square of side 1.

    The symbol is an area of ink with lines of fill on it, or without an area lines of ink.
    """

    fill: Colour
    ink: Colour
    lines: Lines
    area: Lines = ()


_STYLES = {
    Verdict.PASS: _Style((68, 128, 18), _INK, (((0.05, 0.55), (0.38, 0.9), (0.95, 0.12)),)),
    Verdict.REJECT: _Style((32, 24, 196), _INK, (((0.1, 0.1), (0.9, 0.9)), ((0.9, 0.1), (0.1, 0.9)))),
    Verdict.INVALID: _Style(
        (0, 196, 255),
        (0, 0, 0),
        (((0.5, 0.36), (0.5, 0.62)), ((0.5, 0.8), (0.5, 0.82))),
        (((0.5, -0.05), (1.08, 1.0), (-0.08, 1.0)),),
    ),
}
_UNDECIDED = _Style((92, 68, 52), _INK, ())


def overlay(
    image: Image,
    verdict: Verdict | None,
    decision: Decision | None,
    findings: Sequence[Finding],
    *,
    geometry: Geometry | None = None,
    threshold: float | None = None,
) -> Image:
    """Draw what was decided about a frame.

    Args:
        image: uint8, (H, W, 3) BGR, (H, W) or (H, W, 1) grey, of any size. Not written to.
        verdict: What to show in the banner; None shows the label alone.
        decision: Label, score, mask, regions and lanes; None where the model was not asked. Regions and lanes are in
            pixels of the frame that ``geometry`` speaks of, without it of ``image``.
        findings: Why the picture cannot be trusted; their reasons stand at the bottom.
        geometry: How the frame lay in the model's picture, to put the mask where it belongs; the frame that it speaks
            of may have another size than ``image``. Without it the mask is stretched over the picture.
        threshold: Score from which ``decision.label`` rejects, drawn as a mark on the bar of the score.

    Returns:
        A new picture, uint8 (H, W, 3) BGR, as large as ``image``.

    Raises:
        DataError: If the image is not uint8 of such a shape, or has no pixels.
    """
    canvas = _coloured(image)
    # Of an inspection regions are outlined: a mask over it would hide the defect.
    if decision is not None and decision.mask is not None and decision.verdict is None:
        _blend(canvas, decision.mask, geometry)
    regions = _placed(() if decision is None else decision.regions, canvas, geometry)
    _outlines(canvas, regions)
    if decision is not None and decision.lanes:
        draw_lanes(canvas, decision.lanes, _scale_to(canvas, geometry))
    style = _STYLES.get(verdict, _UNDECIDED) if verdict else _UNDECIDED
    label, bottom = "" if decision is None else decision.caption, 0
    if verdict or label:
        _frame(canvas, style)
        bottom = _banner(canvas, style, verdict.value if verdict else label, label if verdict else "")
        _bar(canvas, style, bottom, None if decision is None else decision.score, threshold)
        bottom += _bar_size(canvas)
    _tags(canvas, regions, bottom)
    if decision is not None and decision.ego is not None:
        _footer(canvas, ego_text(decision.ego))
    _reasons(canvas, findings)
    return canvas


def _coloured(image: Image) -> Image:
    """Return a copy as BGR."""
    shape = image.shape
    if image.dtype != np.uint8 or len(shape) not in (2, 3) or image.size == 0 or shape[2:] not in ((), (1,), (3,)):
        raise DataError(f"a picture to draw on must be uint8 (H, W) or (H, W, 3), got {image.dtype} of shape {shape}.")
    if shape[2:] == (3,):
        return image.copy(order="C")
    return np.repeat(image.reshape(*shape[:2], 1), 3, axis=2)


def _text_size(canvas: Image) -> int:
    """Return the height of the banner's capital letters in pixels: the same share of every picture."""
    height, width = canvas.shape[:2]
    return max(_SMALLEST, int(min(height, 0.6 * width) / 20 + 0.5))


# The mask


def _blend(canvas: Image, mask: npt.NDArray[np.uint8], geometry: Geometry | None) -> None:
    """Lay the classes of a mask over the picture, in place; class 0 is the background and stays clear."""
    height, width = canvas.shape[:2]
    warp = _warp(mask.shape[1], mask.shape[0], width, height, geometry)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    classes = cv2.warpAffine(mask, warp, (width, height), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    colours = _CLASSES[(classes.astype(np.intp) - 1) % len(_CLASSES)]
    mixed = cv2.addWeighted(canvas, 1 - _MASK_SHARE, colours, _MASK_SHARE, 0)
    np.copyto(canvas, np.asarray(mixed, np.uint8), where=(classes > 0)[..., None])


def _warp(
    mask_width: int, mask_height: int, width: int, height: int, geometry: Geometry | None
) -> npt.NDArray[np.float64]:
    """Return the affine map, shape (2, 3), from the centres of the picture's pixels to those of the mask's."""
    if geometry is None:
        scale = np.array([mask_width / width, mask_height / height])
        offset = np.zeros(2)
    else:
        share = _mask_share((mask_width, mask_height), geometry)
        shrunk = np.array(geometry.frame_size) / np.array([width, height])
        scale = np.array(geometry.scale) * shrunk * share
        offset = np.array(geometry.offset) * share
    # A pixel's centre lies at its index and a half.
    shift = offset + 0.5 * scale - 0.5
    return np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])


def _mask_share(mask: tuple[int, int], geometry: Geometry) -> npt.NDArray[np.float64]:
    """Return mask pixels per model pixel, (x, y). The model's size follows from the geometry but for one pixel."""
    model = [size + 2 * offset for size, offset in zip(geometry.resized, geometry.offset, strict=True)]
    return np.array([1.0 if abs(own - size) <= 1 else own / size for own, size in zip(mask, model, strict=True)])


# Regions


def _placed(regions: Sequence[Region], canvas: Image, geometry: Geometry | None) -> list[Region]:
    """Return regions in pixels of the picture that is drawn on, which may be smaller than the frame."""
    scale = _scale_to(canvas, geometry)
    return [replace(region, polygon=region.polygon * scale) for region in regions]


def _scale_to(canvas: Image, geometry: Geometry | None) -> tuple[float, float]:
    """Return pixels of the picture per pixel of the frame, (x, y)."""
    height, width = canvas.shape[:2]
    frame = (width, height) if geometry is None else geometry.frame_size
    return width / frame[0], height / frame[1]


def _outlines(canvas: Image, regions: Sequence[Region]) -> None:
    """Draw a bright line inside a dark one: one of them can be seen on any surface."""
    thick = max(1, round(_text_size(canvas) / 9))
    # Continuous coordinates, in 16ths of a pixel; a pixel's centre lies at its index and a half.
    lines = [np.asarray(np.round(16 * (region.polygon - 0.5)), np.int32) for region in regions]
    for colour, width in ((_PAPER, 3 * thick), (_REGION, thick)):
        for line in lines:
            cv2.polylines(canvas, [line], True, colour, width, cv2.LINE_AA, shift=4)


def _tags(canvas: Image, regions: Sequence[Region], top: int) -> None:
    """Write label and score above each region, or below where there is no room; none over another's."""
    height, width = canvas.shape[:2]
    size = max(_SMALLEST, round(0.6 * _text_size(canvas)))
    taken: list[tuple[int, int, int, int]] = []
    for region in regions:
        text = shortened(f"{region.label} {region.score:.2f}", width - size, size)
        left, above, _, below = (round(side) for side in region.box)
        wide, tall = _width(text, size) + size, 2 * size
        x = min(max(left, 0), width - wide)
        y = above - tall - size // 2 if above - tall - size // 2 >= top else max(below + size // 2, top)
        tag = (x, y, x + wide, y + tall)
        if text and y + tall <= height and not any(_meet(tag, other) for other in taken):
            taken.append(tag)
            cv2.rectangle(canvas, (x, y), (x + wide - 1, y + tall - 1), _PAPER, cv2.FILLED)
            _write(canvas, text, (x + size // 2, y + round(1.5 * size)), size, _REGION)


def _meet(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return all(first[axis] < second[axis + 2] and second[axis] < first[axis + 2] for axis in (0, 1))


# The banner


def _frame(canvas: Image, style: _Style) -> None:
    """Draw the verdict's colour around the picture."""
    height, width = canvas.shape[:2]
    edge = max(1, _text_size(canvas) // 4)
    cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), style.fill, 2 * edge - 1)


def _banner(canvas: Image, style: _Style, word: str, label: str) -> int:
    """Draw symbol, word and label on a strip at the top, the label below where there is no room; return its end."""
    size, width = _text_size(canvas), canvas.shape[1]
    room = width - size
    start = size // 2 + (round(1.7 * size) if style.lines else 0)
    word = shortened(word, width - start - size // 2, size)
    beside = room - start - _width(word, size) - size
    below = bool(label) and _width(_plain(label), size) > beside and canvas.shape[0] >= 14 * size
    bottom = min(int(canvas.shape[0]), round(2.2 * size) + below * round(1.8 * size))
    cv2.rectangle(canvas, (0, 0), (width - 1, bottom - 1), style.fill, cv2.FILLED)
    base = round(1.6 * size)
    _symbol(canvas, style, (size // 2, base - size), size)
    _write(canvas, word, (start, base), size, style.ink)
    label = shortened(label, room if below else beside, size)
    place = (size // 2, base + round(1.8 * size)) if below else (width - size // 2 - _width(label, size), base)
    _write(canvas, label, place, size, style.ink)
    return bottom


def _symbol(canvas: Image, style: _Style, corner: tuple[int, int], size: int) -> None:
    """Draw the verdict's symbol into the square of side ``size`` at ``corner``."""

    def placed(points: Sequence[tuple[float, float]]) -> npt.NDArray[np.int32]:
        return np.asarray(np.round(np.array(points) * 1.1 * size + np.array(corner)), np.int32)

    for area in style.area:
        cv2.fillPoly(canvas, [placed(area)], style.ink, cv2.LINE_AA)
    for line in style.lines:
        colour = style.fill if style.area else style.ink
        cv2.polylines(canvas, [placed(line)], False, colour, max(1, round(size / 6)), cv2.LINE_AA)


def _bar(canvas: Image, style: _Style, top: int, score: float | None, threshold: float | None) -> None:
    """Draw the score as a bar from 0 to 1 below the banner, and where it begins to reject."""
    if score is None or not math.isfinite(score):
        return
    width, tall = canvas.shape[1], _bar_size(canvas)
    cv2.rectangle(canvas, (0, top), (width - 1, top + tall - 1), _PAPER, cv2.FILLED)
    end = round(min(max(score, 0.0), 1.0) * (width - 1))
    cv2.rectangle(canvas, (0, top + 1), (end, top + tall - 2), style.fill, cv2.FILLED)
    if threshold is not None and math.isfinite(threshold):
        x, thick = round(min(max(threshold, 0.0), 1.0) * (width - 1)), max(1, tall // 4)
        cv2.rectangle(canvas, (x - 2 * thick, top), (x + 2 * thick, top + tall - 1), _PAPER, cv2.FILLED)
        cv2.rectangle(canvas, (x - thick // 2, top), (x + thick // 2, top + tall - 1), _INK, cv2.FILLED)


def _bar_size(canvas: Image) -> int:
    return max(3, _text_size(canvas) // 2)


def _footer(canvas: Image, text: str) -> None:
    """Write a text on a dark strip in the middle of the lower edge."""
    height, width = canvas.shape[:2]
    size = max(_SMALLEST, round(0.7 * _text_size(canvas)))
    text = shortened(text, width - size, size)
    left, wide, base = (width - _width(text, size)) // 2, _width(text, size), height - size
    cv2.rectangle(canvas, (left - size, base - 2 * size), (left + wide + size, height - 1), _PAPER, cv2.FILLED)
    _write(canvas, text, (left, base), size, _INK)


def _reasons(canvas: Image, findings: Sequence[Finding]) -> None:
    """Write why the picture cannot be trusted on a dark strip over the lower third."""
    height, width = canvas.shape[:2]
    size = max(_SMALLEST, round(0.85 * _text_size(canvas)))
    step = round(1.8 * size)
    lines = [line for finding in findings for line in wrapped(finding.reason, width - size, size)]
    kept = lines[: max(1, height // 3 // step)]
    if not kept:
        return
    if len(kept) < len(lines):
        kept[-1] = shortened(f"{kept[-1]} {lines[len(kept)]}...", width - size, size)
    top = height - len(kept) * step - size // 2
    cv2.rectangle(canvas, (0, top), (width - 1, height - 1), _PAPER, cv2.FILLED)
    for index, line in enumerate(kept):
        _write(canvas, line, (size // 2, top + round(1.6 * size) + index * step), size, _INK)


# Text


def shortened(text: str, width: int, size: int) -> str:
    """Return as much of a text as fits ``width`` pixels, its capitals ``size`` pixels high; dots where it was cut."""
    text = _plain(text)
    if _width(text, size) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = f"{text[:end].rstrip(' .')}..."
        if _width(cut, size) <= width:
            return cut
    return ""


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Return a text as lines of at most ``width`` pixels, broken between words; longer words are cut."""
    lines: list[str] = []
    for word in _plain(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, width, size))
    return [line for line in lines if line]


def _plain(text: str) -> str:
    """Return a text in ASCII, all that OpenCV's fonts have: accents are dropped, other letters become '?'."""
    letters = unicodedata.normalize("NFKD", text[:_LONGEST])
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(kept.encode("ascii", "replace").decode("ascii").split())


def _thickness(size: int) -> int:
    return max(1, round(size / 9))


def _scale(size: int) -> float:
    return cv2.getFontScaleFromHeight(_FONT, size, _thickness(size))


def _width(text: str, size: int) -> int:
    return cv2.getTextSize(text, _FONT, _scale(size), _thickness(size))[0][0] if text else 0


def _write(canvas: Image, text: str, place: tuple[int, int], size: int, colour: Colour) -> None:
    """Write a text with its baseline's left end at ``place``, (x, y)."""
    if text:
        cv2.putText(canvas, text, place, _FONT, _scale(size), colour, _thickness(size), cv2.LINE_AA)
