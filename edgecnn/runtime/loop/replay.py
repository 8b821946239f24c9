"""A recorded event, judged once more: the same integers, findings, verdicts and states, or it says where not.

The event holds what the model saw and, every quarter of a second, what the judge remembered. From each of these on
everything is repeated; where frames are missing (the recorder was too slow), only what the model said, until the next.
What depends on time and cables (no frame, a verdict that came too late, an engine that failed) is taken as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import read_npz
from edgecnn.boundary import described, read_bytes
from edgecnn.errors import DataError
from edgecnn.runtime.health.settings import HealthSettings
from edgecnn.runtime.loop.event import EVENT, FRAMES, SCHEMA
from edgecnn.runtime.loop.judge import Judge, Seen
from edgecnn.runtime.loop.lanes import LaneSettings
from edgecnn.runtime.loop.parts import PartSettings
from edgecnn.runtime.loop.record import digest, lanes_of, verdict_text
from edgecnn.runtime.loop.rules import Rules
from edgecnn.runtime.model import Model
from edgecnn.vision.results import Finding

Image = npt.NDArray[np.uint8]

GIVEN = frozenset(("no_frame", "stale", "engine", "unreadable", "unusable", "stuck"))
"""Kinds of findings that a replay takes as they were."""


@dataclass(frozen=True)
class Recording:
    """An event as it was read.

    Attributes:
        record: ``event.json``.
        moments: Its moments.
        tensors: What the model saw, uint8 (H, W, C) each.
        rules: What decided beside the bundle.
    """

    record: Mapping[str, Any]
    moments: Sequence[Mapping[str, Any]]
    tensors: Sequence[Image]
    rules: Rules

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """Read an event's folder.

        Raises:
            DataError: If it is none, damaged, of another version, or larger than any event.
        """
        try:
            record = json.loads(read_bytes(folder / EVENT, limits.EVENT, DataError).decode("ascii"))
            tensors, empty = _arrays(folder / FRAMES)
            return cls._of(record, tensors, empty)
        except Exception as error:  # settings that are none and files that are damaged alike
            raise DataError(
                f"{folder}: no recorded event, or a damaged one; expected a folder with {EVENT} and {FRAMES} as the "
                f"recorder writes it ({described(error)})."
            ) from error

    @classmethod
    def _of(cls, record: Mapping[str, Any], tensors: Sequence[Image], empty: Image | None) -> Recording:
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}, this version of edgecnn reads {SCHEMA}")
        told = record["rules"]
        health, parts, lanes = HealthSettings(**told["health"]), PartSettings(**told["parts"]), told["lanes"]
        rules = Rules(health, parts, empty, LaneSettings(**lanes))
        moments = list(record["moments"])
        indices = [moment["tensor"] for moment in moments if moment["tensor"] is not None]
        if indices != list(range(len(tensors))):
            raise ValueError(f"{len(indices)} moments with a frame, {len(tensors)} frames")
        return cls(record, moments, tensors, rules)


@dataclass(frozen=True)
class Repeated:
    """One moment, once more.

    Attributes:
        number: Its number in the run that was recorded.
        verdict: What is said now; empty without one.
        differs: Which of ``outputs``, ``label``, ``score``, ``verdict``, ``state``, ``findings``, ``lanes``, ``ego``
            are not what they were; empty if all are.
        whole: Whether findings, verdict, state and lanes could be compared, not only what the model said.
    """

    number: int
    verdict: str
    differs: tuple[str, ...]
    whole: bool


def replay(model: Model, recording: Recording) -> list[Repeated]:
    """Judge all moments of an event once more.

    Raises:
        DataError: If the bundle takes other frames than the event holds.
        EngineError: If the engine fails.
    """
    expected = (*model.preprocess.size, model.preprocess.channels)
    for height, width, channels in {tensor.shape for tensor in recording.tensors}:
        if (*model.preprocess.size_of(height, width), channels) != (height, width, expected[2]):
            raise DataError(
                f"the event's frames are {(height, width, channels)}, the bundle takes {expected}: it was recorded "
                f"with another bundle, '{recording.record['bundle']['name']}'."
            )
    return list(_Replay(model, recording).moments())


class _Replay:
    def __init__(self, model: Model, recording: Recording) -> None:
        self._model, self._recording = model, recording
        self._judge = Judge(model, recording.rules)
        self._known, self._last = False, -1

    def moments(self) -> list[Repeated]:
        return [self._moment(moment) for moment in self._recording.moments]

    def _moment(self, moment: Mapping[str, Any]) -> Repeated:
        """Judge one moment; what the judge remembers is taken from the record wherever it is there."""
        number = int(moment["number"])
        self._known = self._known and number == self._last + 1
        self._last = number
        if moment["memory"] is not None:
            self._judge.restore(moment["memory"])
            self._known = True
        if not self._known:
            return self._model_alone(moment)
        seen = self._seen(moment)
        concluded = self._judge.conclude(seen)
        now = _said(seen) | {
            "verdict": verdict_text(concluded.verdict),
            "state": verdict_text(concluded.state),
            "findings": [{"kind": finding.kind, "reason": finding.reason} for finding in seen.findings],
            **lanes_of(seen.result),
        }
        return Repeated(number, now["verdict"] or "", _differences(moment, now), True)

    def _seen(self, moment: Mapping[str, Any]) -> Seen:
        given = tuple(Finding(item["kind"], item["reason"]) for item in moment["findings"] if item["kind"] in GIVEN)
        if moment["tensor"] is None or any(finding.kind == "engine" for finding in given):
            return Seen(given)
        shape = (moment["height"], moment["width"], moment["channels"])
        tensor = self._recording.tensors[moment["tensor"]][None]
        sizes = tuple(size for size in shape if size is not None)
        seen = self._judge.look(tensor, sizes, moment["timestamp"], edges=moment["edges"])
        return Seen((*seen.findings, *given), seen.result, seen.full, seen.gone)

    def _model_alone(self, moment: Mapping[str, Any]) -> Repeated:
        """Repeat only what needs no memory."""
        number, asked = int(moment["number"]), moment["outputs_sha256"] is not None
        if not asked:
            return Repeated(number, moment["verdict"] or "", (), False)
        result = self._model.infer(self._recording.tensors[moment["tensor"]][None])
        return Repeated(number, moment["verdict"] or "", _differences(moment, _said(Seen(result=result))), False)


def _said(seen: Seen) -> dict[str, Any]:
    """Return what the model said, as it is recorded."""
    result = seen.result
    if result is None:
        return {"outputs_sha256": None, "label": None, "score": None}
    return {"outputs_sha256": digest(result), "label": result.label, "score": result.score}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key.removesuffix("_sha256") for key, value in now.items() if before[key] != value)


def _arrays(path: Path) -> tuple[list[Image], Image | None]:
    """Read the frames; an event without any has no such file.

    Raises:
        DataError: If they cannot be read.
        ValueError: If they are not uint8 of the right rank.
    """
    if not path.exists():
        return [], None
    arrays = read_npz(path, limits.EVENT_FRAMES, DataError)
    empty = arrays.pop("empty", None)
    sizes = [arrays[f"tensors{index or ''}"] for index in range(len(arrays))]
    for array, rank in (*((array, 4) for array in sizes), *([] if empty is None else [(empty, 3)])):
        if array.dtype != np.uint8 or array.ndim != rank:
            raise ValueError(f"expected uint8 with {rank} axes, got {array.dtype} {array.shape}")
    return [tensor for array in sizes for tensor in array], empty
