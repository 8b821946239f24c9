"""The file that training writes: weights, the network they are for, what it expects and means, calibration frames.

A ``.safetensors`` file. Its metadata has one entry, ``edgecnn``: JSON with the family, the family's arguments and the
card. Calibration frames are PNG files in tensors called ``calibration/0000`` and so on; every other tensor is a weight.
Nothing else is needed to export the model.

A family is a file of this package that also defines:

- ``ARGUMENTS``: least and most of every argument, by name;
- ``network(**arguments)``: the network with random weights.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor, nn

from edgecnn import limits, plugins
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError, ModelError, OptionError
from edgecnn.fields import Fields
from edgecnn.models.checkpoint import load_tensors, weights_of, write_tensors
from edgecnn.models.model_card import COLORS, RESIZES, TASKS, ModelCard

Frame = npt.NDArray[np.uint8]

SCHEMA = 1
KEY = "edgecnn"
FRAMES = "calibration/"
LARGEST_SIDE = 4096
MOST_FRAMES = 4096
MOST_PIXELS = 1 << 30
"""Of all calibration frames together, above which a file is taken for hostile."""
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_COLOR = {1: 0, 3: 2}
"""PNG's colour type by the number of channels (PNG specification, 11.2.2)."""


@dataclass(frozen=True)
class Trained:
    """What a trained file holds.

    Attributes:
        module: The network with its weights, evaluating.
        family: File of this package that built it.
        arguments: What the family's ``network`` was given.
        card: What the network expects, and what its output means.
        frames: Calibration frames, uint8 (H, W, C) at the model's size; colour is BGR.
    """

    module: nn.Module
    family: str
    arguments: Mapping[str, int]
    card: ModelCard
    frames: tuple[Frame, ...]


def save_trained(
    path: Path,
    module: nn.Module,
    family: str,
    arguments: Mapping[str, int],
    card: ModelCard,
    frames: Sequence[Frame],
) -> None:
    """Write a trained file, in one piece; the same contents give the same bytes.

    Args:
        path: Where to, ``.safetensors``.
        module: The network, as ``network(**arguments)`` of the family builds it.
        family: File of this package.
        arguments: Within the family's ``ARGUMENTS``.
        card: What the network expects.
        frames: Calibration frames, uint8 (H, W, C) at the card's size; colour is BGR.

    Raises:
        ModelError: If the file cannot be written, or `read_trained` would refuse it.
    """
    check_network(path, family, arguments)
    document = {"schema": SCHEMA, "family": family, "arguments": dict(arguments), "card": _card_document(card)}
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    tensors = weights_of(module)
    _check_count(path, len(frames), card)
    for index, frame in enumerate(frames):
        tensors[f"{FRAMES}{index:04}"] = torch.frombuffer(bytearray(_encode(path, frame, card)), dtype=torch.uint8)
    write_tensors(path, tensors, {KEY: text})


def is_trained(path: Path) -> bool:
    """Tell whether a file says of itself that it is a trained file; a damaged or other file is none."""
    if path.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as archive:
            return KEY in (archive.metadata() or {})
    except Exception:
        return False


def read_trained(path: Path) -> Trained:
    """Read what `save_trained` wrote. No code of the file is run, and no size in it is trusted.

    Raises:
        ModelError: If the file is damaged, of another version, or not consistent.
    """
    if path.is_file():
        limits.TRAINED.check(path.stat().st_size, path, ModelError)
    text, tensors = _read(path)
    with boundary(ModelError, f"{path}: damaged", "Copy or train it again."):
        family, arguments, card = _described(path, text)
        module = _build(path, family, arguments, card)
        stored = {key: tensors.pop(key) for key in sorted(tensors) if key.startswith(FRAMES)}
        load_tensors(module, tensors, path, "Copy or train the file again.")
        return Trained(module.eval(), family, arguments, card, _decode_all(path, stored, card))


def _described(path: Path, text: str) -> tuple[str, dict[str, int], ModelCard]:
    """Return what the metadata says: the family, its arguments and the card."""
    try:
        fields = Fields(_document(path, text))
        _check_schema(path, fields.integer("schema"))
        family, arguments = fields.text("family"), _arguments(fields.child("arguments"))
        card = _read_card(fields.child("card"))
        fields.done()
    except BundleError as error:
        _refuse(path, str(error).removeprefix("manifest: "), error)
    return family, arguments, card


def check_network(path: Path, family: str, arguments: Mapping[str, int]) -> None:
    """Refuse a network that a trained file cannot hold; ``path`` is what messages name.

    Raises:
        ModelError: If there is no such family, or it does not take these arguments.
    """
    limits: Mapping[str, tuple[int, int]] = _family(path, family).ARGUMENTS
    if set(arguments) != set(limits):
        raise ModelError(f"{path}: the network takes {sorted(limits)}, got {sorted(arguments)}.")
    for name, (least, most) in limits.items():
        if not least <= arguments[name] <= most:
            raise ModelError(f"{path}: the network's '{name}' must be in {least} .. {most}, got {arguments[name]}.")


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    with (
        boundary(ModelError, f"{path}: not a whole safetensors file", "Copy or train it again."),
        safe_open(path, framework="pt") as archive,
    ):
        text = (archive.metadata() or {}).get(KEY, "")
        keys = archive.keys()
        return text, {key: archive.get_tensor(key) for key in keys}


def _document(path: Path, text: str) -> object:
    if not text:
        raise ModelError(f"{path}: weights alone, not the file that 'edgecnn train' writes: its metadata is missing.")
    limits.METADATA.check(len(text), path, ModelError)
    with boundary(ModelError, f"{path}: its metadata is not JSON"):
        return json.loads(text, parse_constant=lambda word: _refuse(path, f"'{word}' is no number of JSON."))


def _check_schema(path: Path, schema: int) -> None:
    if schema != SCHEMA:
        advice = "Update edgecnn" if schema > SCHEMA else "Train again"
        raise ModelError(f"{path}: its 'schema' is {schema}, this version of edgecnn reads {SCHEMA}. {advice}.")


def _arguments(fields: Fields) -> dict[str, int]:
    return {name: fields.integer(name) for name in fields.names()}


def _build(path: Path, family: str, arguments: Mapping[str, int], card: ModelCard) -> nn.Module:
    check_network(path, family, arguments)
    for name, side in zip(("height", "width"), card.input_shape[1:], strict=True):
        if arguments.get(name, side) != side:
            _refuse(path, f"the card's {name} is {side}, the network's {arguments[name]}.")
    return cast("nn.Module", _family(path, family).network(**arguments))


def _family(path: Path, name: str) -> ModuleType:
    try:
        module = plugins.load(__package__, name)
    except OptionError as error:
        raise ModelError(f"{path}: unknown network family '{name}'. Update edgecnn.") from error
    if not hasattr(module, "ARGUMENTS"):
        raise ModelError(f"{path}: '{name}' is no network family that can be trained.")
    return module


def _card_document(card: ModelCard) -> dict[str, Any]:
    document = {item.name: getattr(card, item.name) for item in dataclasses.fields(card) if item.name != "weights"}
    return document | {"thresholds": dict(card.thresholds), "decoding": dict(card.decoding)}


def _read_card(fields: Fields) -> ModelCard:
    channels, height, width = (*fields.integers("input_shape"), 0, 0, 0)[:3]
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        fields.fail("input_shape", f"channels, and two sides of 1 .. {LARGEST_SIDE}", (channels, height, width))
    card = ModelCard(
        name=fields.text("name"),
        task=fields.choice("task", TASKS),
        input_shape=(channels, height, width),
        color=fields.choice("color", COLORS),
        mean=fields.numbers("mean"),
        std=fields.numbers("std"),
        resize=fields.choice("resize", RESIZES),
        crop_ratio=fields.number("crop_ratio"),
        labels=None if fields.is_null("labels") else fields.texts("labels"),
        thresholds=fields.floats("thresholds"),
        decoding=fields.scalars("decoding"),
    )
    fields.done()
    return card


def _check_count(path: Path, count: int, card: ModelCard) -> None:
    _, height, width = card.input_shape
    if not 0 < count <= MOST_FRAMES or count * height * width > MOST_PIXELS:
        raise ModelError(f"{path}: expected 1 .. {MOST_FRAMES} calibration frames, got {count} of {width}x{height}.")


def _encode(path: Path, frame: Frame, card: ModelCard) -> bytes:
    channels, height, width = card.input_shape
    if frame.shape != (height, width, channels) or frame.dtype != np.uint8:
        raise ModelError(
            f"{path}: calibration frames must be uint8 {(height, width, channels)}, got {frame.dtype} {frame.shape}."
        )
    return bytes(cv2.imencode(".png", frame)[1])


def _decode_all(path: Path, stored: Mapping[str, Tensor], card: ModelCard) -> tuple[Frame, ...]:
    _check_count(path, len(stored), card)
    return tuple(_decode(path, key, value, card) for key, value in stored.items())


def _decode(path: Path, key: str, value: Tensor, card: ModelCard) -> Frame:
    """Decode one frame, after its header was compared with what the card says."""
    channels, height, width = card.input_shape
    data = value.numpy().tobytes() if value.dtype == torch.uint8 else b""
    header = struct.pack(">IIBB", width, height, 8, _PNG_COLOR[channels])
    if not data.startswith(_PNG + header):
        _refuse(path, f"'{key}' must be a PNG of {width}x{height}, {channels} channel(s) of 8 bits.")
    with boundary(ModelError, f"{path}: '{key}' cannot be decoded"):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        _refuse(path, f"'{key}' is a damaged PNG.")
    return picture.astype(np.uint8, copy=False).reshape(height, width, channels)


def _refuse(path: Path, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ModelError(f"{path}: {reason} Copy or train the file again.") from cause
