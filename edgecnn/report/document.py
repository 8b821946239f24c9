"""``report.json``: what was done to a model and how good the result is, as plain JSON values.

Sections may be absent: what was not measured is not there. Shares lie in 0..1. The document holds no time stamps, so
that the same export gives the same bytes.
"""

from __future__ import annotations

import json
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, NotRequired, Required, TypedDict

from edgecnn import limits
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import BundleError
from edgecnn.report.layer_rows import SensitivitySection, TensorSection
from edgecnn.runtime.evaluation.section import DecisionsSection, Interval

SCHEMA = 1
FILE_NAME = "report.json"
Share = float


class InputSection(TypedDict):
    """What a picture is: ``shape`` [H, W, C], colour order of the source model, resize mode, mean and std on 0..1."""

    shape: list[int]
    color: str
    resize: str
    mean: list[float]
    std: list[float]


class ModelSection(TypedDict):
    """The source model; ``digest`` is a sha256, ``macs`` are for one picture."""

    name: str
    source: str
    digest: str
    task: str
    parameters: int
    macs: int
    input: InputSection


class Fold(TypedDict):
    """A batch norm, the layer that it was folded into, and how."""

    batch_norm: str
    into: str
    kind: str


class Unfolded(TypedDict):
    """A batch norm that was not folded, and why."""

    batch_norm: str
    reason: str


class FoldSection(TypedDict):
    """All batch norms, and the largest relative difference of the float outputs before and after."""

    folded: list[Fold]
    unfolded: list[Unfolded]
    float_difference: float | None


class FrameSection(TypedDict):
    """How the camera frame became the tensor.

    ``border_effect`` is the largest difference of the float outputs that padding with an integer makes, relative.
    """

    zero_point: int
    exact: bool
    border_effect: float
    fallback: str | None


class CalibrationSection(TypedDict):
    """What the grids were chosen on; ``skipped`` names pictures that could not be used.

    ``tuned`` says whether weights and biases were fine-tuned after that. ``pairs`` is the signal-to-noise ratio of the
    weights in dB with the limit on their pairs, and without it; see `edgecnn.quant.pair_cost`.
    """

    recipe: str
    observer: str
    biases_corrected: bool
    tuned: NotRequired[bool]
    pairs: NotRequired[list[float]]
    images: int
    skipped: list[str]
    digest: str
    seconds: NotRequired[float]


class LayerRow(TypedDict):
    """One layer; scale, zero point and range are None where the output is not quantised."""

    name: str
    op: str
    output: str
    shape: list[int]
    parameters: int
    macs: int
    scale: float | None
    zero_point: int | None
    low: float | None
    high: float | None
    receptive_field: NotRequired[list[int] | None]


class TopOne(TypedDict):
    """Share of right answers before and after quantisation."""

    float: Share
    int8: Share


class EngineAccuracy(TypedDict):
    """The same numbers by engine; None where not measured."""

    engine: str
    agreement: float | None
    sqnr_db: float | None
    top1: float | None


class AccuracySection(TypedDict):
    """INT8 against float on ``images`` pictures that were not used for calibration; None where nothing is decided."""

    images: int
    agreement: Interval | None
    sqnr_db: float | None
    top1: TopOne | None
    per_engine: list[EngineAccuracy]


class BudgetStep(TypedDict):
    """What one recipe cost on ``images`` pictures.

    ``drop`` is that of the share of right decisions, positive where INT8 is worse; it lies above ``low``, and below
    ``high``, each with the budget's confidence. ``lost``: float is right and INT8 wrong; ``gained``: the reverse.
    ``images_needed`` would show that the budget holds if these shares stayed; None where none would do.
    """

    recipe: str
    images: int
    agreement: Share
    lost: int
    gained: int
    drop: Share
    low: Share
    high: Share
    holds: bool
    images_needed: int | None


class FailedStep(TypedDict):
    """A recipe that ended with an error, and which; it has no result."""

    recipe: str
    reason: str


class BudgetSection(TypedDict):
    """The recipes that were tried, cheapest first, until one kept the accuracy budget ``max_drop``.

    ``recipe`` is the bundle's: the one that holds, else the one with the smallest ``high``. Where nothing is
    ``labelled``, every decision that INT8 changes counts as lost.
    """

    max_drop: Share
    confidence: Share
    labelled: bool
    engine: str
    recipe: str
    holds: bool
    verdict: str
    steps: list[BudgetStep]
    failed: NotRequired[list[FailedStep]]


class FidelityOutput(TypedDict):
    """One output of INT8 beside float: its range in float, and what of it is lost, empty if nothing is."""

    output: str
    sqnr_db: float | None
    low: float
    high: float
    collapsed: str


class ChangedVerdicts(TypedDict):
    """Verdicts of INT8 beside those of float, which ``rejected`` so many pictures.

    ``escapes`` counts those of them that INT8 lets pass, ``false_rejects`` what INT8 alone rejects. ``threshold`` is
    INT8's, None where several labels have one.
    """

    rejected: int
    escapes: int
    false_rejects: int
    threshold: Share | None


class FidelitySection(TypedDict):
    """INT8 beside float on ``frames`` calibration frames that no weight was rounded on.

    ``agreement`` is the share of equal decisions, of masks that of equal pixels; None where nothing is decided.
    ``verdicts`` is None where parts are not inspected.
    """

    frames: int
    agreement: Share | None
    verdicts: ChangedVerdicts | None
    outputs: list[FidelityOutput]


class OutputProof(TypedDict):
    """One output of one engine beside the golden one, over all golden frames.

    ``equal`` is a share; ``histogram`` counts elements by distance in LSB: 0, 1, 2, more.
    """

    name: str
    equal: Share
    max_lsb: int
    histogram: list[int]
    sqnr_db: float | None


class JudgementRow(TypedDict):
    """What an output, or the verdict, means; see `edgecnn.runtime.compare.Judgement`."""

    of: str
    by: str
    value: float


class EngineProof(TypedDict):
    """One engine against the golden outputs: the word it gets, and why it is not exact.

    ``max_lsb`` is the largest of all outputs. It is None, and there are no outputs, where the engine did not run.
    """

    engine: str
    version: str
    status: Literal["exact", "equivalent", "failed"]
    reason: str
    max_lsb: int | None
    outputs: list[OutputProof]
    judgements: list[JudgementRow]


class Artefact(TypedDict):
    """A model file of the bundle."""

    file: str
    engine: str
    target: str
    bytes: int


class EdgeTpuRow(TypedDict):
    """Whether one node maps on the Edge TPU; reason and suggestion are empty where it does."""

    node: str
    op: str
    maps: bool
    reason: str
    suggestion: str


class Report(TypedDict, total=False):
    """The whole document. Only ``schema`` must be there."""

    schema: Required[Literal[1]]
    model: ModelSection
    targets: list[str]
    folds: FoldSection
    frame: FrameSection
    calibration: CalibrationSection
    layers: list[LayerRow]
    fidelity: FidelitySection
    accuracy: AccuracySection
    decisions: DecisionsSection
    budget: BudgetSection
    engines: list[EngineProof]
    processor: str
    artefacts: list[Artefact]
    edge_tpu: list[EdgeTpuRow]
    sensitivity: SensitivitySection
    tensors: TensorSection
    notes: list[str]


def check(document: Any) -> Report:
    """Return ``document`` as a report after looking at every value in it.

    Args:
        document: What came out of a JSON file, or a plain dict.

    Raises:
        BundleError: If a field is missing, unknown, or of another type; or a number is not finite. The message names
            the field.
    """
    _check(document, Report, "")
    report: Report = document
    return report


def dumps(report: Report) -> str:
    """Return a checked report as JSON text; equal reports give equal text.

    Raises:
        BundleError: If it is not a report; see `check`.
    """
    return json.dumps(check(report), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Report:
    """Read and check a ``report.json``.

    Raises:
        BundleError: If it cannot be read or is not a report.
    """
    content = read_bytes(path, limits.REPORT, BundleError)
    with boundary(BundleError, f"{path}: expected a report in JSON"):
        return check(json.loads(content))


def _check(value: Any, hint: Any, where: str) -> None:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if typing.is_typeddict(hint):
        _check_fields(value, hint, where)
    elif kind is Literal:
        _expect(value in inner, where, f"be {' or '.join(map(str, inner))}", value)
    elif kind is types.UnionType:
        _check_optional(value, inner, where)
    elif kind is list:
        _expect(isinstance(value, list), where, "be a list", value)
        for index, item in enumerate(value):
            _check(item, inner[0], f"{where}[{index}]")
    elif kind is dict:
        _expect(isinstance(value, dict), where, "be an object", value)
        for key, item in value.items():
            _check(item, inner[1], f"{where}.{key}")
    else:
        _check_plain(value, hint, where)


def _check_optional(value: Any, choices: tuple[Any, ...], where: str) -> None:
    for choice in choices:
        if choice is not type(None) and value is not None:
            _check(value, choice, where)


def _check_fields(value: Any, hint: Any, where: str) -> None:
    _expect(isinstance(value, dict), where or "the report", "be an object", value)
    hints = typing.get_type_hints(hint)
    for name in sorted(set(value) - set(hints)):
        raise BundleError(f"report: unknown field '{_at(where, name)}'; known: {', '.join(hints)}.")
    for name in sorted(_required(hint) - set(value)):
        raise BundleError(f"report: the field '{_at(where, name)}' is missing.")
    for name, item in value.items():
        _check(item, hints[name], _at(where, name))


def _required(hint: Any) -> set[str]:
    """Names of the fields that must be there; Python 3.11 does not see through postponed annotations by itself."""
    hints = typing.get_type_hints(hint, include_extras=True)
    marks = {name: typing.get_origin(item) for name, item in hints.items()}
    return {name for name, mark in marks.items() if mark is Required or (hint.__total__ and mark is not NotRequired)}


def _check_plain(value: Any, hint: type, where: str) -> None:
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(number and math.isfinite(value), where, "be a finite number", value)
    else:
        names = {str: "text", int: "an integer", bool: "true or false"}
        _expect(type(value) is hint, where, f"be {names[hint]}", value)


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _expect(condition: bool, where: str, expected: str, value: Any) -> None:
    if not condition:
        shown = repr(value)
        raise BundleError(f"report: '{where}' must {expected}, got {shown if len(shown) < 60 else shown[:57] + '...'}.")
