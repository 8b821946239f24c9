"""The contract between the desk and the device: what a bundle takes, returns, holds, and comes from.

`Manifest.dumps` is deterministic: sorted keys, no time stamps, so that the same build gives the same bytes. The text
carries a digest of itself, so that a hand-edited manifest is noticed; that is a seal against accidents, no signature.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from edgecnn import limits
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError
from edgecnn.fields import Fields, Scalar
from edgecnn.proof import Limits
from edgecnn.tensor import DTYPES, QuantParams, TensorSpec

SCHEMA = 1
FILE_NAME = "manifest.json"
COLORS = ("bgr", "gray", "channels")
RESIZES = ("stretch", "letterbox", "crop", "tile")
MEANINGS = ("logits", "probabilities", "raw")
SMALLEST_CROP = 0.01
"""Below, a frame would be enlarged a hundred times to keep a few of its pixels."""
_SOURCE_COLORS = ("rgb", "bgr", "gray", "channels")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Resize:
    """How a frame of any size is brought to the model's size, always with OpenCV's INTER_LINEAR_EXACT.

    Attributes:
        mode: ``"stretch"`` changes the aspect ratio; ``"letterbox"`` keeps it and pads; ``"crop"`` keeps it, resizes
            the shorter side and cuts out the centre; ``"tile"`` keeps the size and runs the model on overlapping tiles,
            after enlarging frames that are smaller than a tile (aspect ratio kept).
        pad_value: Value of letterbox padding in every channel, 0..255.
        crop_ratio: Share of the resized shorter side that ``"crop"`` keeps, 0.01 .. 1; 0.875 is 224 out of 256.
        overlap: Least overlap of two neighbouring tiles in pixels; at least the size of a defect.
    """

    mode: str = "stretch"
    pad_value: int = 114
    crop_ratio: float = 1.0
    overlap: int = 32

    def __post_init__(self) -> None:
        _require(self.mode in RESIZES, f"'input.resize.mode' must be one of {', '.join(RESIZES)}, got {self.mode!r}")
        _require(0 <= self.pad_value <= 255, f"'input.resize.pad_value' must be in 0 .. 255, got {self.pad_value}")
        in_range = SMALLEST_CROP <= self.crop_ratio <= 1
        _require(in_range, f"'input.resize.crop_ratio' must be in {SMALLEST_CROP:g} .. 1, got {self.crop_ratio:g}")
        _require(self.overlap >= 0, f"'input.resize.overlap' must be 0 or more, got {self.overlap}")


@dataclass(frozen=True)
class InputContract:
    """What the model takes.

    Attributes:
        tensor: uint8, shape (1, H, W, C), NHWC; its grid says what real value an integer stands for.
        color: ``"bgr"`` (C = 3, OpenCV's order), ``"gray"`` (C = 1) or ``"channels"`` (any C, order as trained).
        resize: How frames of another size are brought to H x W.
    """

    tensor: TensorSpec
    color: str
    resize: Resize = field(default_factory=Resize)

    def __post_init__(self) -> None:
        spec = self.tensor
        fits = len(spec.shape) == 4 and spec.shape[0] == 1 and spec.dtype == "uint8" and spec.quant is not None
        _require(fits, f"'input.tensor' must be uint8 on a grid, shape (1, H, W, C), got {spec.dtype} {spec.shape}")
        _require(self.color in COLORS, f"'input.color' must be one of {', '.join(COLORS)}, got {self.color!r}")
        limits.PICTURE.check(spec.shape[1] * spec.shape[2], "manifest: 'input.tensor'", BundleError)
        channels = {"bgr": 3, "gray": 1}.get(self.color, spec.shape[3])
        _require(spec.shape[3] == channels, f"'input.color' {self.color} needs {channels} channel(s), got {spec.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.tensor.shape[1], self.tensor.shape[2]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.tensor.shape[3]


@dataclass(frozen=True)
class OutputContract:
    """One tensor that the model returns.

    Attributes:
        tensor: uint8 on a per-tensor grid, or int64 indices without a grid; batch first.
        layout: One letter per axis, e.g. ``"NHWC"`` or ``"NC"``; letters beyond N, H, W, C say nothing.
        meaning: ``"logits"``, ``"probabilities"`` (softmax or sigmoid was applied) or ``"raw"``.
    """

    tensor: TensorSpec
    layout: str
    meaning: str = "raw"

    def __post_init__(self) -> None:
        name, spec = self.tensor.name, self.tensor
        one_per_axis = len(self.layout) == len(spec.shape) and self.layout.isupper() and self.layout.isascii()
        _require(
            one_per_axis, f"output '{name}': 'layout' must be {len(spec.shape)} capital letters, got {self.layout!r}"
        )
        _require(self.meaning in MEANINGS, f"output '{name}': 'meaning' must be one of {', '.join(MEANINGS)}")


@dataclass(frozen=True)
class EngineEntry:
    """One artefact and the engine that runs it.

    Attributes:
        name: The engine: a file name in `edgecnn.runtime.engines`.
        target: The target profile it was lowered for.
        files: What the engine needs; it is given the path of the first.
        equivalent: Limits of the target where the engine cannot be exact; None where it always must be.
    """

    name: str
    target: str
    files: tuple[str, ...]
    equivalent: Limits | None = None

    def __post_init__(self) -> None:
        _require(bool(_PLAIN_NAME.fullmatch(self.name)), f"'engines': bad engine name {self.name!r}")
        _require(len(self.files) > 0, f"'engines': {self.name} needs at least one file")


@dataclass(frozen=True)
class Provenance:
    """Where the integers come from; enough to build the same bundle again.

    Attributes:
        tool_version: Version of edgecnn that wrote the bundle.
        model: Name of the source model.
        model_sha256: Digest of the source model's file or weights.
        recipe: Name of the calibration recipe.
        calibration_sha256: Digest of the calibration frames in their order.
        calibration_count: Number of calibration frames used.
        seed: Seed of everything random.
        mean: Mean that was folded into the first layer, on the 0..1 scale, one value per channel of the source model.
        std: Standard deviation that was folded in, likewise.
        source_color: Channel order the source model was trained on: rgb, bgr, gray or channels.
        packages: Versions of the packages that took part, by name.
        threshold: Score from which the float model rejects a part, where the bundle's own was fitted to INT8; None
            where it is the same.
    """

    tool_version: str
    model: str
    model_sha256: str
    recipe: str
    calibration_sha256: str
    calibration_count: int
    seed: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    source_color: str = "rgb"
    packages: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None


@dataclass(frozen=True)
class FileEntry:
    """Digest and size in bytes of one file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The contract of one bundle. Checked when made, so what exists is consistent.

    Attributes:
        name: The bundle's name.
        task: How outputs are read: a file name in `edgecnn.vision.tasks`.
        input: What the model takes.
        outputs: What it returns, in the order in which engines return it.
        engines: Artefacts; the first is the bundle's own.
        provenance: Where it comes from.
        labels: Class names by index; empty where the task has none.
        thresholds: Score from which a label rejects a part, by label.
        decoding: What else the task must know to read the outputs, by names that the task's file explains. With
            ``threshold`` this one decides for all labels; the first of them is then that of good parts.
        graph: File of the canonical integer graph.
        golden: File of the golden frames.
        health: File that says what calibration frames look like, see `edgecnn.runtime.health.reference`; None where
            the bundle does not say.
        files: Digest and size of every file but the manifest; filled in when the bundle is written.

    Raises:
        BundleError: If parts contradict each other; the message names the field.
    """

    name: str
    task: str
    input: InputContract
    outputs: tuple[OutputContract, ...]
    engines: tuple[EngineEntry, ...]
    provenance: Provenance
    labels: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    decoding: Mapping[str, Scalar] = field(default_factory=dict)
    graph: str = "graph.npz"
    golden: str = "golden.npz"
    health: str | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(bool(self.name.strip()), "'name' must not be empty")
        _require(bool(_PLAIN_NAME.fullmatch(self.task)), f"'task' must be a plain name, got {self.task!r}")
        _require(len(self.outputs) > 0, "'outputs' must not be empty")
        _require(len(self.engines) > 0, "'engines' must not be empty")
        self._check_outputs()
        self._check_labels()
        self._check_files()

    def _check_outputs(self) -> None:
        names = [output.tensor.name for output in self.outputs]
        _require(len(set(names)) == len(names), f"'outputs' must have different names, got {', '.join(names)}")

    def _check_labels(self) -> None:
        _require(len(set(self.labels)) == len(self.labels), "'labels' must be different from each other")
        unknown = sorted(set(self.thresholds) - set(self.labels))
        _require(not unknown, f"'thresholds' names {unknown}, which 'labels' does not have")
        given = self.decoding.get("threshold", 0.0)
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        _require(is_number, f"'decoding.threshold' must be a number, got {given!r}")

    def _check_files(self) -> None:
        for name in self.files:
            check_file_name(name)
        for name in self.needed_files() if self.files else ():
            _require(name in self.files, f"'files' does not list '{name}', which the bundle needs")

    @property
    def threshold(self) -> float | None:
        """The one score from which a part is rejected; None where there is none, or labels have one each."""
        if "threshold" in self.decoding:
            return float(self.decoding["threshold"])
        return next(iter(self.thresholds.values())) if len(self.thresholds) == 1 else None

    def with_threshold(self, value: float) -> Manifest:
        """Return the contract with another score from which a part is rejected; there must be one for all labels."""
        if "threshold" in self.decoding:
            return replace(self, decoding={**self.decoding, "threshold": value})
        return replace(self, thresholds=dict.fromkeys(self.thresholds, value))

    @property
    def of_float(self) -> Manifest:
        """The contract with the threshold of the float model."""
        before = self.provenance.threshold
        return self if before is None else self.with_threshold(before)

    def threshold_of(self, label: str | None) -> float | None:
        """Return the score from which a decision with this label rejects, None where nothing does."""
        return self.thresholds.get(label or "") if self.threshold is None else self.threshold

    def needed_files(self) -> tuple[str, ...]:
        """Return the names of the files that this manifest speaks of, sorted."""
        named = [self.graph, self.golden, *(name for engine in self.engines for name in engine.files)]
        return tuple(sorted({*named, *([] if self.health is None else [self.health])}))

    def dumps(self) -> str:
        """Return the manifest as JSON text, sealed with a digest of itself; equal manifests give equal text."""
        document = _plain(self)
        return _text(document | {"schema": SCHEMA, "seal": _seal(document | {"schema": SCHEMA})})

    @classmethod
    def loads(cls, text: str) -> Manifest:
        """Read what `dumps` wrote.

        Raises:
            BundleError: If it is no manifest, of another schema version, was edited, or is not consistent.
        """
        with boundary(BundleError, "manifest: not JSON"):
            document = json.loads(text)
        with boundary(BundleError, "manifest: it holds what nothing can be made of"):
            return cls._of(document)

    @classmethod
    def _of(cls, document: Any) -> Manifest:
        fields = Fields(document)
        schema = fields.integer("schema")
        if schema != SCHEMA:
            raise BundleError(
                f"manifest: 'schema' is {schema}, this version of edgecnn reads {SCHEMA}. "
                f"{'Update edgecnn' if schema > SCHEMA else 'Export the bundle again'}."
            )
        manifest = _read_manifest(fields)
        if fields.text("seal") != _seal({key: value for key, value in document.items() if key != "seal"}):
            raise BundleError("manifest: it was edited after the bundle was written. Export the bundle again.")
        fields.done()
        return manifest


def check_file_name(name: str) -> None:
    """Refuse a file name that could reach outside the bundle or means something else on another system.

    Raises:
        BundleError: On an absolute path, ``..``, a backslash, a drive letter, a control character, or the manifest.
    """
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts and name not in ("", ".")
    if not plain or any(char in '\\:*?"<>|' or ord(char) < 32 for char in name) or len(name) > 200:
        raise BundleError(f"bundle: '{name}' is no plain relative path inside the bundle.")
    if name == FILE_NAME:
        raise BundleError(f"bundle: '{FILE_NAME}' cannot be listed among its own files.")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BundleError(f"manifest: {message}.")


def _plain(value: Any) -> Any:
    """Turn dataclasses and tuples into what JSON has."""
    if isinstance(value, TensorSpec):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _text(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BundleError(f"manifest: a value cannot be written as JSON: {error}") from error


def _seal(document: Mapping[str, Any]) -> str:
    with boundary(BundleError, "manifest: a value cannot be written as text"):
        return hashlib.sha256(_text(document).encode()).hexdigest()


def _read_manifest(fields: Fields) -> Manifest:
    files = fields.child("files")
    return Manifest(
        name=fields.text("name"),
        task=fields.text("task"),
        input=_read_input(fields.child("input")),
        outputs=tuple(_read_output(item) for item in fields.children("outputs")),
        engines=tuple(_read_engine(item) for item in fields.children("engines")),
        provenance=_read_provenance(fields.child("provenance")),
        labels=fields.texts("labels"),
        thresholds=fields.floats("thresholds"),
        decoding=fields.scalars("decoding") if "decoding" in fields.names() else {},
        graph=fields.text("graph"),
        golden=fields.text("golden"),
        health=fields.text("health") if "health" in fields.names() and not fields.is_null("health") else None,
        files={name: _read_file(files.child(name)) for name in files.names()},
    )


def _read_input(fields: Fields) -> InputContract:
    contract = InputContract(
        tensor=_read_tensor(fields.child("tensor")),
        color=fields.choice("color", COLORS),
        resize=_read_resize(fields.child("resize")),
    )
    fields.done()
    return contract


def _read_resize(fields: Fields) -> Resize:
    mode, pad_value = fields.choice("mode", RESIZES), fields.integer("pad_value", 0, 255)
    crop_ratio = fields.number("crop_ratio")
    overlap = fields.integer("overlap", 0) if "overlap" in fields.names() else Resize.overlap
    fields.done()
    return Resize(mode, pad_value, crop_ratio, overlap)


def _read_output(fields: Fields) -> OutputContract:
    tensor = _read_tensor(fields.child("tensor"))
    contract = OutputContract(tensor, fields.text("layout"), fields.choice("meaning", MEANINGS))
    fields.done()
    return contract


def _read_tensor(fields: Fields) -> TensorSpec:
    quant = None if fields.is_null("quant") else _read_grid(fields.child("quant"))
    name, shape, dtype = fields.text("name"), fields.integers("shape"), fields.choice("dtype", tuple(DTYPES))
    fields.done()
    limits.TENSOR.check(math.prod(max(size, 1) for size in shape), fields.at("shape"), BundleError)
    try:
        return TensorSpec(name, shape, dtype, quant)
    except ValueError as error:
        raise BundleError(f"manifest: {error}.") from error


def _read_grid(fields: Fields) -> QuantParams:
    axis = None if fields.is_null("axis") else fields.integer("axis", 0)
    scale, zero_point = fields.numbers("scale"), fields.integer("zero_point")
    fields.done()
    try:
        return QuantParams(scale, zero_point, axis)
    except ValueError as error:
        raise BundleError(f"manifest: '{fields.at('scale')}': {error}.") from error


def _read_engine(fields: Fields) -> EngineEntry:
    has_limits = "equivalent" in fields.names() and not fields.is_null("equivalent")
    limits = _read_limits(fields.child("equivalent")) if has_limits else None
    entry = EngineEntry(fields.text("name"), fields.text("target"), fields.texts("files"), limits)
    if "settings" in fields.names():
        fields.scalars("settings")  # older bundles have it; engines know themselves what to do now
    fields.done()
    return entry


def _read_limits(fields: Fields) -> Limits:
    why, steps = fields.text("why"), fields.integer("steps")
    decisions, overlap = fields.number("decisions"), fields.number("overlap")
    fields.done()
    try:
        return Limits(why, decisions, overlap, steps)
    except ValueError as error:
        raise BundleError(f"manifest: 'engines': {error}.") from error


def _read_file(fields: Fields) -> FileEntry:
    digest, size = fields.text("sha256"), fields.integer("size", 0)
    if not _DIGEST.fullmatch(digest):
        fields.fail("sha256", "64 hexadecimal digits", digest)
    fields.done()
    return FileEntry(digest, size)


def _read_provenance(fields: Fields) -> Provenance:
    names = fields.names()
    provenance = Provenance(
        tool_version=fields.text("tool_version"),
        model=fields.text("model"),
        model_sha256=fields.text("model_sha256"),
        recipe=fields.text("recipe"),
        calibration_sha256=fields.text("calibration_sha256"),
        calibration_count=fields.integer("calibration_count", 0),
        seed=fields.integer("seed"),
        mean=fields.numbers("mean"),
        std=fields.numbers("std"),
        source_color=fields.choice("source_color", _SOURCE_COLORS),
        packages=fields.strings("packages"),
        threshold=fields.number("threshold") if "threshold" in names and not fields.is_null("threshold") else None,
    )
    fields.done()
    return provenance
