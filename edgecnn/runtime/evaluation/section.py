"""What an evaluation finds, as the JSON values that ``report.json`` holds in its section ``decisions``.

Shares lie in 0..1. What was not measured is None.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

Share = float


class Interval(TypedDict):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


class Judgement(TypedDict):
    """What a model decided about a picture.

    ``decision`` is a class, ``PASS``, ``REJECT``, or the digest of a mask; empty where the task decides nothing.
    ``score`` is the probability of the class, or for inspections the score that was compared with the threshold.
    """

    decision: str
    score: float | None


class Overlap(TypedDict):
    """How alike two masks are: intersection over union (mean over float's classes), and the share of equal pixels."""

    iou: float
    pixels: float


class PictureRow(TypedDict):
    """One picture: its path below the folder, the SHA-256 of its file, the right decision, and those of both models."""

    picture: str
    digest: str
    label: str | None
    float: Judgement | None
    int8: Judgement
    overlap: Overlap | None


class Accuracies(TypedDict):
    """Shares of right decisions with their Wilson intervals."""

    images: int
    float: Interval | None
    int8: Interval


class Paired(TypedDict):
    """Both models on the same labelled pictures.

    ``lost``: float was right and INT8 is wrong; ``gained``: the reverse. ``drop`` is positive where INT8 is worse
    (Tango's interval), ``p`` that of McNemar's exact test.
    """

    images: int
    lost: int
    gained: int
    drop: Interval
    p: Share


class OperatingPoint(TypedDict):
    """What a threshold lets through and throws away.

    ``escapes`` are defective parts that passed, ``false_rejects`` good parts that were rejected; their rates are None
    where there was no part of the kind. ``threshold`` is None where several labels have one.
    """

    threshold: Share | None
    escapes: int
    false_rejects: int
    escape_rate: Interval | None
    false_reject_rate: Interval | None


class InspectionSection(TypedDict):
    """The operating point of both models, and the threshold that would keep float's.

    ``suggested`` is None where the threshold may stay as it is, or nothing can be said; ``advice`` says which, and
    why.
    """

    defective: int
    good: int
    float: OperatingPoint | None
    int8: OperatingPoint
    suggested: OperatingPoint | None
    advice: str


class MaskSection(TypedDict):
    """Masks of both models: means over the pictures, the lowest, and below what a picture counts as flipped."""

    iou: Share
    lowest: Share
    pixels: Share
    limit: Share


class ClassOverlap(TypedDict):
    """Intersection over union of one class with the label masks, over the pixels of all pictures."""

    label: str
    int8: Share
    float: Share | None


class LabelMaskSection(TypedDict):
    """Masks of both models beside label masks: means over the classes that occur there. None: float was not run."""

    images: int
    int8: Share
    float: Share | None
    classes: list[ClassOverlap]


class OutputNoise(TypedDict):
    """Signal-to-quantisation-noise ratio of one output; None where nothing differs or the signal is constant."""

    output: str
    sqnr_db: float | None


class DecisionsSection(TypedDict):
    """An evaluation.

    ``source`` says where float's decisions come from: ``"model"`` (it was run), ``"bundle"`` (recorded at the export)
    or ``"none"``. ``compared`` pictures have one, ``labelled`` pictures a label.
    """

    engine: str
    task: str
    source: str
    images: int
    labelled: int
    compared: int
    verdict: str
    agreement: Interval | None
    accuracy: Accuracies | None
    paired: Paired | None
    inspection: InspectionSection | None
    masks: MaskSection | None
    label_masks: NotRequired[LabelMaskSection | None]
    noise: list[OutputNoise]
    remarks: list[str]
    skipped: list[str]
    pictures: list[PictureRow]
