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

    ``decision`` is a class, ``PASS``, ``REJECT``, the digest of a mask, or the lines of a lane, e.g. ``left solid``;
    empty where there is none, and where the task decides nothing.
    ``score`` is the probability of the class, or for inspections the score that was compared with the threshold.
    ``label`` is the defect that a rejected part is said to have.
    """

    decision: str
    score: float | None
    label: NotRequired[str]


class Overlap(TypedDict):
    """How alike two masks are: intersection over union (mean over float's classes), and the share of equal pixels."""

    iou: float
    pixels: float


class PictureRow(TypedDict):
    """One picture: its path below the folder, the SHA-256 of its file, the right decision, and those of both models.

    ``kind`` is what the part is called, ``source`` where the picture is from; absent where it is not known. ``iou`` is
    the overlap of INT8's defective pixels with the label mask, absent without one; ``f1`` that of its lane markings.
    """

    picture: str
    digest: str
    label: str | None
    float: Judgement | None
    int8: Judgement
    overlap: Overlap | None
    kind: NotRequired[str]
    source: NotRequired[str]
    iou: NotRequired[Share]
    f1: NotRequired[Share]


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
    why. ``more_escapes`` and ``more_false_rejects`` are INT8's rate minus float's on the same parts (Tango's interval).
    """

    defective: int
    good: int
    float: OperatingPoint | None
    int8: OperatingPoint
    suggested: OperatingPoint | None
    advice: str
    more_escapes: NotRequired[Interval | None]
    more_false_rejects: NotRequired[Interval | None]


class Ranking(TypedDict):
    """How well scores rank defective parts above good ones: area under the ROC curve, average precision."""

    auroc: Interval
    ap: Share


class RankingSection(TypedDict):
    """Both models' ranking of the same parts; ``drop`` of the AUROC is positive where INT8 is worse (DeLong)."""

    defective: int
    good: int
    float: Ranking | None
    int8: Ranking
    drop: Interval | None


class GroupRow(TypedDict):
    """What inspecting the pictures of one kind, or from one source, gives."""

    name: str
    defective: int
    good: int
    float: OperatingPoint | None
    int8: OperatingPoint


class ConfusionRow(TypedDict):
    """How often pictures of one kind were called each of `ConfusionSection.said`; None: not known of all of them."""

    kind: str
    float: list[int] | None
    int8: list[int]


class ConfusionSection(TypedDict):
    """What parts are called, and what they are. A part that passes is called by the first of ``said``.

    The shares are those of defective parts, of kinds that the model knows, that are called by their name.
    """

    said: list[str]
    rows: list[ConfusionRow]
    float: Interval | None
    int8: Interval | None


class PixelFigures(TypedDict):
    """Defective pixels beside label masks, over the pixels of all pictures; None where there is nothing to divide by.

    ``precision`` to ``iou`` are at the threshold, ``best_f1`` is at ``best_threshold``, chosen on these very pictures.
    ``aupro`` is the area under the per-region overlap up to a false positive rate of 0.3, divided by it.
    """

    precision: Share | None
    recall: Share
    f1: Share
    iou: Share
    best_f1: Share
    best_threshold: Share
    auroc: Share | None
    ap: Share
    aupro: Share | None


class PixelSection(TypedDict):
    """Both models' maps beside label masks, at the pictures' own size. None: float was not run.

    ``images`` have a label mask or are good, ``defective`` of them show ``regions`` connected defects.
    """

    images: int
    defective: int
    regions: int
    threshold: Share
    float: PixelFigures | None
    int8: PixelFigures


class Matched(TypedDict):
    """Points of lane markings beside those of label masks; see `edgecnn.runtime.evaluation.markings`."""

    precision: Share
    recall: Share
    f1: Share


class LaneFigures(TypedDict):
    """What one model finds. ``f1`` to ``recall`` ask for markings whatever their side, ``sided_f1`` for their side too.

    ``kinds`` is the share of lines, found where the label has one on this side, that are rightly dashed or solid. The
    others are those of the TuSimple benchmark. None where no label says anything of it.
    """

    f1: Interval
    precision: Share
    recall: Share
    sided_f1: Share
    kinds: Interval | None
    tusimple_accuracy: Share | None
    tusimple_fp: Share | None
    tusimple_fn: Share | None


class LaneSourceRow(TypedDict):
    """The pictures of one source. None: float was not run on all of them."""

    name: str
    images: int
    float: Matched | None
    int8: Matched


class LaneSection(TypedDict):
    """Both models beside label masks of lane markings. None: float was not run.

    ``tolerance`` is in pixels of a picture 640 wide. ``over`` says what the interval of the F1 is over: ``"sources"``
    (other ones may come) or ``"pictures"`` (of the same sources).
    """

    images: int
    tolerance: float
    over: str
    float: LaneFigures | None
    int8: LaneFigures
    sources: list[LaneSourceRow]


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
    ranking: NotRequired[RankingSection | None]
    by_kind: NotRequired[list[GroupRow]]
    by_source: NotRequired[list[GroupRow]]
    confusion: NotRequired[ConfusionSection | None]
    pixels: NotRequired[PixelSection | None]
    lanes: NotRequired[LaneSection | None]
    noise: list[OutputNoise]
    remarks: list[str]
    skipped: list[str]
    pictures: list[PictureRow]
