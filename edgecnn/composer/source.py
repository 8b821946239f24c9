"""What MODEL on a command line stands for: a built-in, a trained file, ONNX, a saved torch export, or a state dict."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.errors import ModelError, OptionError, unknown_name
from edgecnn.fields import Scalar
from edgecnn.manifest import Resize
from edgecnn.vision.frames import Frames

if TYPE_CHECKING:
    from edgecnn.models.model_card import ModelCard

BUILT_IN = "defect"
OWN_FRAMES = 128
STATE_DICTS = (".pt", ".pth", ".th", ".safetensors")
SUFFIXES = (".onnx", ".pt2", *STATE_DICTS)


@dataclass(frozen=True)
class Expectation:
    """What a model expects of its input and what its output means.

    Attributes:
        mean: On the 0..1 scale in the model's channel order; one value for all channels or one each.
        std: Likewise, positive.
        color: The model's channel order: ``rgb``, ``bgr`` or ``gray``.
        resize: How frames of another size are brought to the model's size.
        task: Name of a task in `edgecnn.vision.tasks`, None to tell it from the outputs' shapes.
        labels: Class names by index.
        thresholds: Score from which a label rejects a part, by label.
        decoding: What else the task must know to read the outputs; see the task's file.
        told: Whether somebody has said mean and std, or they are taken for granted.
        threshold_told: Whether the user has given the threshold, which then stays as it is.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    color: str = "rgb"
    resize: Resize = field(default_factory=Resize)
    task: str | None = None
    labels: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    decoding: dict[str, Scalar] = field(default_factory=dict)
    told: bool = False
    threshold_told: bool = False

    def with_threshold(self, value: float) -> Expectation:
        """Return it with another score from which a part is rejected.

        Raises:
            OptionError: If it is not between 0 and 1, or there is no single threshold to replace.
        """
        if not 0 < value < 1:
            raise OptionError(f"a threshold must be a score between 0 and 1, got {value:g}.")
        if "threshold" in self.decoding:
            return replace(self, decoding={**self.decoding, "threshold": value}, threshold_told=True)
        if len(self.thresholds) == 1:
            return replace(self, thresholds=dict.fromkeys(self.thresholds, value), threshold_told=True)
        named = f"one for each of {', '.join(self.thresholds)}" if self.thresholds else "none: it rejects nothing"
        raise OptionError(f"only the one threshold of an inspection can be set; this model has {named}.")


@dataclass(frozen=True)
class Source:
    """An imported model.

    Attributes:
        name: Short name, used for the bundle.
        digest: SHA-256 of the file, or of a built-in model's weights.
        model: The float graph as imported.
        expects: What it expects, as far as its card says.
        card: Name of the built-in, None for a user's model.
        frames: Calibration frames that a trained file carries, uint8 (H, W, C) at the model's size; empty for others.
    """

    name: str
    digest: str
    model: ir.Model
    expects: Expectation
    card: str | None = None
    frames: tuple[npt.NDArray[np.uint8], ...] = ()


def open_model(model: str | None, input_shape: Sequence[int] | None = None, arch: str | None = None) -> Source:
    """Import a model.

    Args:
        model: A built-in's name, or a path that ends in one of `SUFFIXES`; None is the built-in defect model. What
            ``edgecnn train`` wrote needs nothing beside it.
        input_shape: Shape of the input, (1, C, H, W); needed where the file does not say it.
        arch: ``file.py:factory`` that builds the network, for a state dict.

    Raises:
        ModelError: If the model cannot be read or does not fit.
        OptionError: If there is neither a built-in nor a file of that name.
    """
    wanted = model or BUILT_IN
    path = Path(wanted)
    if path.suffix.lower() not in SUFFIXES and not path.exists():
        return _built_in(wanted, input_shape)
    if not path.is_file():
        reason = f"expected a file ({', '.join(SUFFIXES)}), got a folder" if path.is_dir() else "no such file"
        raise ModelError(f"{path}: {reason}.")
    if _is_trained(path):
        return _trained(path, input_shape, arch)
    graph = _read(path, input_shape, arch)
    expects = _from_metadata(graph, _expected(graph, path, arch))
    return Source(path.stem, _file_digest(path), graph, expects)


def _read(path: Path, input_shape: Sequence[int] | None, arch: str | None) -> ir.Model:
    from edgecnn.graph import import_exported, import_onnx

    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return import_onnx(path, input_shape)
    if suffix == ".pt2":
        return import_exported(path, input_shape)
    if suffix in STATE_DICTS:
        return _state_dict(path, input_shape, arch)
    raise ModelError(f"{path}: expected a model that ends in {', '.join(SUFFIXES)}, got '{path.suffix or path.name}'.")


def _expected(graph: ir.Model, path: Path, arch: str | None) -> Expectation:
    """Return what can be told without the user: the card of a built-in network, and that one channel is grey."""
    from edgecnn import models

    if arch is not None and ".py" not in arch and path.suffix.lower() in STATE_DICTS:
        return _from_card(models.card(arch))
    shape = graph.graph.inputs[0].shape
    is_gray = shape is not None and len(shape) == 4 and 1 in (shape[1], shape[3])
    return Expectation(color="gray" if is_gray else "rgb")


def _state_dict(path: Path, input_shape: Sequence[int] | None, arch: str | None) -> ir.Model:
    from edgecnn import models
    from edgecnn.graph import import_torch
    from edgecnn.models.arch import load_arch
    from edgecnn.models.checkpoint import load_checkpoint

    if arch is None:
        raise OptionError(
            f"{path} holds weights without a network: say which one with --arch file.py:factory, "
            f"or --arch NAME for a built-in ({', '.join(models.names())})."
        )
    if ".py" in arch:
        module = load_arch(arch)
    else:
        card = models.card(arch)
        module, input_shape = models.build(arch), input_shape or (1, *card.input_shape)
    if input_shape is None:
        raise OptionError("a state dict does not say how large its input is: give --input-shape, e.g. 1,3,224,224.")
    load_checkpoint(module, path)
    return import_torch(module, input_shape, path.stem)


def _is_trained(path: Path) -> bool:
    if path.suffix.lower() != ".safetensors":
        return False
    from edgecnn.models.trained import is_trained

    return is_trained(path)


def _trained(path: Path, input_shape: Sequence[int] | None, arch: str | None) -> Source:
    from edgecnn.graph import import_torch
    from edgecnn.models.trained import read_trained

    if arch is not None:
        raise OptionError(f"{path} says itself which network it holds: leave --arch out.")
    found = read_trained(path)
    graph = import_torch(found.module, input_shape or (1, *found.card.input_shape), path.stem)
    return Source(path.stem, _file_digest(path), graph, _from_card(found.card), frames=found.frames)


def _built_in(name: str, input_shape: Sequence[int] | None) -> Source:
    import torch

    from edgecnn import models
    from edgecnn.graph import import_torch

    if name not in models.names():
        near = unknown_name("built-in model", name, models.names())
        raise OptionError(f"{near} There is no file of that name either ({', '.join(SUFFIXES)}).")
    card = models.card(name)
    # A built-in without shipped weights is random: the same random weights every time.
    torch.manual_seed(0)
    module = models.build(name)
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    graph = import_torch(module, input_shape or (1, *card.input_shape), name)
    return Source(name, digest.hexdigest(), graph, _from_card(card), name)


def own_frames(source: Source) -> Frames | None:
    """Return the calibration frames that a trained file or a built-in model carries, None for all other models."""
    from edgecnn.vision.synthetic import roads, surfaces

    if source.frames:
        return Frames(source.frames)
    drawn = {BUILT_IN: surfaces.calibration_frames, "lane": roads.calibration_frames}.get(source.card or "")
    return None if drawn is None else Frames(list(drawn(OWN_FRAMES)))


def _from_card(card: ModelCard) -> Expectation:
    labels = card.labels or ()
    resize = Resize(card.resize, crop_ratio=card.crop_ratio)
    return Expectation(
        card.mean,
        card.std,
        card.color,
        resize,
        card.task,
        labels,
        dict(card.thresholds),
        dict(card.decoding),
        told=True,
    )


def _from_metadata(model: ir.Model, expects: Expectation) -> Expectation:
    """Take the labels from the metadata that exporters write under ``labels`` or ``names``."""
    texts = [model.metadata_props.get(key) for key in ("labels", "names")]
    return next((replace(expects, labels=_names(text)) for text in texts if text), expects)


def _names(text: str) -> tuple[str, ...]:
    """Read class names: a list or mapping (JSON, or Python as Ultralytics writes it), else separated text."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found, key=lambda key: (len(str(key)), str(key)))]
    if not isinstance(found, (list, tuple)):
        separator = next((mark for mark in "\n," if mark in text), None)
        found = [part.strip() for part in text.strip().split(separator)]
    return tuple(str(name) for name in found)


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
