"""Every error edgecnn raises on purpose, in one tree.

::

    EdgecnnError
    ├── ModelError            a model could not be read, or is not what was expected
    │   └── UnsupportedError  nodes that cannot be lowered; carries all of them
    ├── DataError             images, arrays or labels that cannot be used
    ├── CalibrationError      calibration asked for too little, or found something that no grid can hold
    ├── OptionError           a value on the command line or in a call that is not one of the allowed ones
    ├── BundleError           a bundle that is damaged, hostile, of another version, or cannot be written
    ├── VerificationError     the proof in a bundle does not hold on this machine
    ├── EngineError           an engine that failed to load or run a model
    │   └── MissingEngineError  an engine, or a package it needs, that is not installed
    ├── SourceError           a camera, stream or file gives no frames
    │   └── MissingSourceError  a package that a source needs is not installed, or does not work
    └── SinkError             a place that verdicts go to cannot be reached or takes nothing

A message says what was expected, what came, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class EdgecnnError(Exception):
    """Base class of every error that edgecnn raises on purpose."""


class ModelError(EdgecnnError):
    """A model could not be read, or is not what was expected."""


@dataclass(frozen=True)
class Refusal:
    """Why one node cannot be lowered.

    Attributes:
        op: Operator type as the model's format spells it, e.g. ``"LSTM"``.
        node: The node's name in the model.
        reason: What is wrong, in one sentence.
        suggestion: What to do instead, in one sentence.
    """

    op: str
    node: str
    reason: str
    suggestion: str

    def __str__(self) -> str:
        return f"{self.op} '{self.node}': {self.reason} {self.suggestion}"


class UnsupportedError(ModelError):
    """Nodes that cannot be lowered. ``refusals`` holds all of them, not only the first."""

    def __init__(self, refusals: Sequence[Refusal], target: str | None = None) -> None:
        self.refusals = tuple(refusals)
        where = f" for target '{target}'" if target else ""
        lines = "\n".join(f"  - {refusal}" for refusal in self.refusals)
        super().__init__(f"{len(self.refusals)} node(s) cannot be lowered{where}:\n{lines}")


class DataError(EdgecnnError):
    """Images, arrays or labels that cannot be used."""


class CalibrationError(EdgecnnError):
    """Calibration was given too little, or met values that no grid can hold."""


class OptionError(EdgecnnError):
    """A value that is not one of the allowed ones."""


class BundleError(EdgecnnError):
    """A bundle is damaged, hostile, of another version, or cannot be written."""


class VerificationError(EdgecnnError):
    """The proof in a bundle does not hold on this machine."""


class EngineError(EdgecnnError):
    """An engine failed to load or to run a model."""


class MissingEngineError(EngineError):
    """An engine, or a package it needs, is not installed; the message says how to get it."""


class SourceError(EdgecnnError):
    """A camera, stream or file could not be opened, or gives no frames."""


class MissingSourceError(SourceError):
    """A package that a source needs is not installed, or does not work; the message says how to get it."""


class SinkError(EdgecnnError):
    """A place that verdicts are sent to cannot be reached, or does not take them.

    Attributes:
        lost: How many that were taken before are lost as well.
    """

    def __init__(self, message: str, lost: int = 0) -> None:
        super().__init__(message)
        self.lost = lost


def unknown_name(kind: str, name: str, known: Iterable[str]) -> OptionError:
    """Build the error for a name that does not exist, with near names suggested.

    Args:
        kind: What was named, e.g. ``"target"``.
        name: What came.
        known: The names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return OptionError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}.")
