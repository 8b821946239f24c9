"""A recorded event as a folder: what happened, what the model saw, and pictures for people.

- ``event.json``: `Event.record`: where it comes from, and one record a moment.
- ``frames.npz``: ``tensors``, uint8 (N, H, W, C): the model's own inputs, without loss, so that a replay gives the same
  integers again. A moment's ``tensor`` is its index here, None where there was no frame; missing if there was none.
  Pictures seen in tiles may change their size within an event: those of each further size are ``tensors1``, ...
- ``frame.jpg``, ``overlay.jpg``: the frame that decided as it came, and with the verdict drawn on it; missing where the
  event is that there is no frame.
- ``clip.webm``: VP8, at most `PREVIEW_WIDTH` wide; missing where OpenCV was built without this codec.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.arrays import write_npz
from edgecnn.runtime.loop.observation import Observation
from edgecnn.runtime.loop.painter import Painter
from edgecnn.runtime.loop.record import Record, as_record, digest, time_text
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.loop.run import Run
from edgecnn.vision.results import Verdict

Image = npt.NDArray[np.uint8]

SCHEMA = 2
EVENT, FRAMES, FRAME, OVERLAY, CLIP = "event.json", "frames.npz", "frame.jpg", "overlay.jpg", "clip.webm"
PREVIEW_WIDTH = 480
RECORD_BYTES = 4096
"""What a moment's record takes in memory, about, without the outlines of regions."""
POINT_BYTES = 128
"""The same of a point of an outline: a list of two numbers."""
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
CLIP_SECONDS = 0.06
"""Least time between two pictures of a clip: 15 a second are enough for people, and compressing is what takes time."""
_SLOWEST, _FASTEST = 1.0, 60.0
# The header of OpenCV's Matroska files made that of WebM, which browsers want to see: another document type, and a
# void element in the place of the letters that are no longer needed. EBML, RFC 8794, sections 11.2.8 and 11.3.2.
_MATROSKA, _WEBM = b"\x42\x82\x88matroska", b"\x42\x82\x84webm\xec\x82\x00\x00"


@dataclass(frozen=True)
class Moment:
    """What is kept of one observation.

    Attributes:
        record: See `moment_of`.
        captured: When the frame was read, on the monotonic clock.
        tensor: uint8 (H, W, C), what the model saw; None without a frame.
        preview: uint8 (h, w, 3) BGR, at most `PREVIEW_WIDTH` wide; None without a frame.
    """

    record: Record
    captured: float
    tensor: Image | None
    preview: Image | None

    @property
    def size(self) -> int:
        """Bytes that it takes, about: its pictures and its record."""
        points = sum(len(region["polygon"]) for region in self.record["regions"])
        return (
            RECORD_BYTES
            + POINT_BYTES * points
            + sum(0 if picture is None else picture.nbytes for picture in (self.tensor, self.preview))
        )


@dataclass(frozen=True)
class Origin:
    """Where an event comes from.

    Attributes:
        run: Which run, of which bundle, and where.
        engine: Name of the engine.
        source: Address of the source, without secrets.
        rules: What decides beside the bundle.
    """

    run: Run
    engine: str
    source: str
    rules: Rules

    def record(self) -> Record:
        """Return it as values for JSON; digests say which bundle and which model it was."""
        manifest = self.run.manifest
        bundle = {
            "name": manifest.name,
            "manifest_sha256": self.run.bundle_sha256,
            "model": manifest.provenance.model,
            "model_sha256": manifest.provenance.model_sha256,
            "tool_version": manifest.provenance.tool_version,
        }
        rules = {name: dataclasses.asdict(getattr(self.rules, name)) for name in ("health", "parts", "lanes")}
        place = {"station": self.run.station, "run": self.run.id}
        return place | {"bundle": bundle, "engine": self.engine, "source": self.source, "rules": rules}


@dataclass(frozen=True)
class Event:
    """Something worth keeping.

    Attributes:
        verdict: REJECT or INVALID.
        trigger: The observation that said so.
        decided: The observation to show: of the frames that led to it, the worst.
        moments: Before and after, in their order.
        suppressed: Events that were not kept since the one before, because there were too many.
    """

    verdict: Verdict
    trigger: Observation
    decided: Observation
    moments: Sequence[Moment]
    suppressed: int

    @property
    def name(self) -> str:
        """The folder's name; names in their order are events in their order."""
        time = time_text(self.trigger.time).replace("-", "").replace(":", "")
        return f"{time}-{self.trigger.number:06d}-{self.verdict.value}"

    def record(self, origin: Origin) -> Record:
        """Return what is written to ``event.json``."""
        indices = iter(range(len(self.moments)))
        records = [
            moment.record | {"tensor": None if moment.tensor is None else next(indices)} for moment in self.moments
        ]
        number = self.trigger.number
        head = {"schema": SCHEMA, "id": origin.run.event_id(number), "verdict": self.verdict.value, "number": number}
        times = {"time": time_text(self.trigger.time), "suppressed": self.suppressed}
        return head | times | origin.record() | {"decided": self.decided.number, "moments": records}

    def write(self, folder: Path, origin: Origin) -> None:
        """Write the files into a folder that exists and is empty.

        Raises:
            OSError: If there is no room, or the folder cannot be written.
        """
        write_clip(folder / CLIP, self.moments)
        tensors = [moment.tensor for moment in self.moments if moment.tensor is not None]
        if tensors:
            empty = origin.rules.empty
            write_npz(folder / FRAMES, _stacked(tensors) | ({} if empty is None else {"empty": empty}))
        if self.decided.image is not None:
            picture = _visible(self.decided.image)
            (folder / FRAME).write_bytes(_jpeg(picture))
            (folder / OVERLAY).write_bytes(_jpeg(Painter(origin.run.manifest, picture.shape[1])(self.decided)))
        (folder / EVENT).write_text(json.dumps(self.record(origin), indent=1, allow_nan=False) + "\n", encoding="ascii")


def moment_of(observation: Observation, run: Run) -> Moment:
    """Return what is kept of an observation, small enough to keep many.

    The record is that of `as_record`, with ``timestamp`` (seconds on the source's clock), ``captured`` (seconds on the
    monotonic clock), ``height``, ``width`` and ``channels`` of the frame (None for grey), ``outputs_sha256``, the
    digest of the model's integers, ``edges``, what was measured on the frame itself, and on some turns ``memory``, what
    the judge remembered before it; None where there was no frame, or the model was not asked.
    """
    image, result = observation.image, observation.result
    height, width = (None, None) if image is None else image.shape[:2]
    extra = {
        "timestamp": observation.timestamp,
        "captured": observation.captured,
        "height": height,
        "width": width,
        "channels": None if image is None or image.ndim < 3 else image.shape[2],
        "outputs_sha256": None if result is None else digest(result),
        "edges": None if observation.edges is None else list(observation.edges),
        "memory": observation.memory,
    }
    tensor = None if observation.tensor is None else observation.tensor[0]
    preview = None if image is None else _preview(image)
    return Moment(as_record(observation, run) | extra, observation.captured, tensor, preview)


def write_clip(path: Path, moments: Iterable[Moment]) -> None:
    """Write previews as WebM; nothing without any, or without the codec.

    Raises:
        OSError: If there is no room.
    """
    shown: list[tuple[float, Image]] = []
    for moment in moments:
        due = not shown or moment.captured - shown[-1][0] >= CLIP_SECONDS
        if moment.preview is not None and due:
            shown.append((moment.captured, moment.preview))
    if not shown:
        return
    length = shown[-1][0] - shown[0][0]
    rate = min(max((len(shown) - 1) / length, _SLOWEST), _FASTEST) if length > 0 else _SLOWEST
    height, width = shown[-1][1].shape[:2]
    # OpenCV writes VP8 into .webm with a complaint on the terminal, and into .mkv without.
    matroska = path.with_suffix(".mkv")
    code = cv2.VideoWriter.fourcc(*"VP80")
    writer = cv2.VideoWriter(str(matroska), cv2.CAP_FFMPEG, code, rate, (width, height))
    try:
        for _, preview in shown if writer.isOpened() else ():
            fits = preview.shape[:2] == (height, width)
            writer.write(preview if fits else cv2.resize(preview, (width, height), interpolation=cv2.INTER_NEAREST))
    finally:
        writer.release()
    if matroska.exists():
        path.write_bytes(matroska.read_bytes().replace(_MATROSKA, _WEBM, 1))
        matroska.unlink()


def _stacked(tensors: Iterable[Image]) -> dict[str, Image]:
    """Return tensors in their order, one array (N, H, W, C) for as many as have the same size one after the other."""
    runs = (np.stack(list(run)) for _, run in groupby(tensors, key=np.shape))
    return {f"tensors{index or ''}": run for index, run in enumerate(runs)}


def _preview(image: Image) -> Image:
    """Return a small copy, BGR; sides are even, as the codec wants them."""
    image = _visible(image)
    height, width = image.shape[:2]
    scale = min(1.0, PREVIEW_WIDTH / width)
    size = (max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2))
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return (cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small).astype(np.uint8, copy=False)


def _visible(image: Image) -> Image:
    """Return what can be shown of a frame: of many channels only the first."""
    return np.ascontiguousarray(image[:, :, 0]) if image.ndim == 3 and image.shape[2] != 3 else image


def _jpeg(image: Image) -> bytes:
    ok, data = cv2.imencode(".jpg", image, _JPEG)
    if not ok:
        raise OSError(f"a picture of shape {image.shape} cannot be written as JPEG")
    return data.tobytes()
