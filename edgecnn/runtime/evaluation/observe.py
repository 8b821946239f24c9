"""Run a model over pictures and write down what it decides about each, beside what the float model decides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.runtime.compare import mean_iou
from edgecnn.runtime.engines import Engine
from edgecnn.runtime.evaluation.labelled import PASS, REJECT, Labelled
from edgecnn.runtime.evaluation.lanes import LaneCounts
from edgecnn.runtime.evaluation.masks import LabelMasks
from edgecnn.runtime.evaluation.mistakes import Mistakes
from edgecnn.runtime.evaluation.pixels import PixelCounts
from edgecnn.runtime.evaluation.section import Judgement, OutputNoise, Overlap, PictureRow
from edgecnn.runtime.evaluation.statistics import Noise
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import read_image
from edgecnn.vision.results import Decision, Output, Verdict
from edgecnn.vision.tasks import decoder

Frame = npt.NDArray[np.uint8]
Array = npt.NDArray[np.generic]
Run = Callable[[Frame], Sequence[Array]]
"""From a frame (H, W, C) at the model's size to all outputs with their batch axis."""
DIGITS = 6
"""Scores are written down with so many decimals, because exp() differs between processors in the last bits."""


def run_of(engine: Engine) -> Run:
    """Return what runs an engine on one frame."""
    return lambda frame: engine.run([frame[None]])


class RealOutput(Output):
    """An output of the float model: ``integers`` holds real values, in the layout in which the bundle gives it."""

    @property
    def real(self) -> npt.NDArray[np.float32]:
        """The real values, float32, same shape."""
        return self.integers.astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """A picture that is ready for the model.

    Attributes:
        item: What it is called and labelled.
        digest: SHA-256 of its file.
        frame: uint8 (H, W, C) at the model's size.
        size: Height and width that it had before.
    """

    item: Labelled
    digest: str
    frame: Frame
    size: tuple[int, int] = (0, 0)


def read_pictures(items: Iterable[Labelled], preprocess: Preprocess, skipped: list[str]) -> Iterator[Picture | None]:
    """Yield the pictures at the model's size, None for what cannot be used; why is added to ``skipped``."""
    for item in items:
        try:
            image = read_image(item.path)
            frame = preprocess(image)
            with item.path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except (DataError, OSError) as error:
            skipped.append(f"{item.name}: {str(error).removeprefix(f'{item.path}: ')}")
            yield None
        else:
            yield Picture(item, digest, frame, (image.shape[0], image.shape[1]))


class Observer:
    """Collects what one engine decides.

    Args:
        manifest: The bundle's contract; its task reads the outputs.
        recorded: What is known of pictures from another time, by the digest of their file. Asked where the float model
            is not there.

    Attributes:
        manifest: The bundle's contract.
        rows: One per picture.
        label_masks: What was counted beside label masks.
        pixels: Likewise of inspections.
        lanes: Likewise of lanes.
        mistakes: The worst of them.
    """

    def __init__(self, manifest: Manifest, recorded: Mapping[str, PictureRow] | None = None) -> None:
        self.manifest = manifest
        self.rows: list[PictureRow] = []
        self._decode, self._decode_float = decoder(manifest), decoder(manifest.of_float)
        self._recorded = recorded or {}
        self._noise = [Noise() for _ in manifest.outputs]
        self._compared = False
        self.label_masks = LabelMasks(manifest)
        self.pixels = PixelCounts(manifest)
        self.lanes = LaneCounts(manifest)
        self.mistakes = Mistakes()

    def add(self, picture: Picture, integers: Sequence[Array], real: Sequence[Array] | None = None) -> None:
        """Take in one picture.

        Args:
            picture: The picture.
            integers: What the engine returned, one array an output.
            real: What the float model returned, in the same layout; None where it was not run.

        Raises:
            DataError: If the outputs are not what the bundle's task reads.
        """
        pairs = zip(self.manifest.outputs, integers, strict=True)
        outputs = [Output(contract, array) for contract, array in pairs]
        found, matched = self._decode(outputs), None
        if real is None:
            self._count(picture, found, None)
            row = self._recalled(picture, found)
            matched = self.lanes.add(picture.item, picture.size, (found, outputs), None)
        else:
            row, matched = self._compare(picture, found, outputs, real)
        overlap = self.pixels.add(picture.item, picture.size, integers, real)
        if overlap is not None:
            row["iou"] = round(overlap, DIGITS)
        if matched is not None:
            row["f1"] = round(matched, DIGITS)
        self.rows.append(row)
        self.mistakes.add(row, found)

    def _compare(
        self, picture: Picture, found: Decision, outputs: Sequence[Output], real: Sequence[Array]
    ) -> tuple[PictureRow, float | None]:
        """Return the row, and INT8's F1 of lane markings."""
        wanted = [RealOutput(output.contract, array) for output, array in zip(outputs, real, strict=True)]
        for noise, clean, noisy in zip(self._noise, wanted, outputs, strict=True):
            noise.add(clean.real[None], noisy.real[None])
        self._compared = True
        before = self._decode_float(wanted)
        self._count(picture, found, before)
        matched = self.lanes.add(picture.item, picture.size, (found, outputs), (before, wanted))
        return _row(picture, judgement(found), judgement(before), _overlap(before, found)), matched

    def _count(self, picture: Picture, found: Decision, before: Decision | None) -> None:
        """Compare with the label mask, if the task makes masks and there is one."""
        if found.mask is not None and found.verdict is None and picture.item.mask is not None:
            wanted = None if before is None else before.mask
            self.label_masks.add(picture.item.mask, picture.size, found.mask, wanted)

    def _recalled(self, picture: Picture, found: Decision) -> PictureRow:
        """Return the row with what was recorded of float; a mask's overlap holds only for the very same mask."""
        mine, known = judgement(found), self._recorded.get(picture.digest)
        if known is None or known["float"] is None:
            return _row(picture, mine, None, None)
        same = known["int8"]["decision"] == mine["decision"]
        overlap = known["overlap"] if same else None
        if found.mask is not None and found.verdict is None and overlap is None:
            return _row(picture, mine, None, None)
        return _row(picture, mine, known["float"], overlap)

    @property
    def noise(self) -> list[OutputNoise]:
        """Noise of every output; empty where the float model was never run."""
        if not self._compared:
            return []
        ratios = [noise.decibels for noise in self._noise]
        names = [output.tensor.name for output in self.manifest.outputs]
        return [
            {"output": name, "sqnr_db": ratio if math.isfinite(ratio) else None}
            for name, ratio in zip(names, ratios, strict=True)
        ]


def judgement(decision: Decision) -> Judgement:
    """Return a decision as it is written down."""
    if decision.mask is not None and decision.verdict is None:
        text = f"{decision.mask.shape}".encode() + decision.mask.tobytes()
        return {"decision": hashlib.sha256(text).hexdigest()[:16], "score": None}
    if decision.lanes:
        return {"decision": ", ".join(f"{line.side} {line.kind}" for line in decision.lanes), "score": None}
    score = None if decision.score is None else round(decision.score, DIGITS)
    name = decision.label if decision.verdict is None else decision.verdict.value
    found: Judgement = {"decision": name or "", "score": score}
    if decision.verdict is Verdict.REJECT and decision.label is not None:
        found["label"] = decision.label
    return found


def _overlap(wanted: Decision, found: Decision) -> Overlap | None:
    if wanted.mask is None or found.mask is None or found.verdict is not None:
        return None
    return {"iou": mean_iou(wanted.mask, found.mask), "pixels": float(np.mean(wanted.mask == found.mask))}


def _row(picture: Picture, int8: Judgement, before: Judgement | None, overlap: Overlap | None) -> PictureRow:
    item = picture.item
    row: PictureRow = {
        "picture": item.name,
        "digest": picture.digest,
        "label": item.label,
        "float": before,
        "int8": int8,
        "overlap": overlap,
    }
    if item.label in (PASS, REJECT) and item.kind is not None:
        row["kind"] = item.kind
    if item.source is not None:
        row["source"] = item.source
    return row
