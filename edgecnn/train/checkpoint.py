"""Where a training stands, in a file: enough to go on as if nothing had happened."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgecnn.errors import ModelError, OptionError
from edgecnn.train.job import Confusion, Validation

FILE_NAME = "checkpoint.pt"
SCHEMA = 1
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """One validation.

    Attributes:
        step: Steps done.
        loss: Mean loss since the validation before.
        rate: Learning rate of the last step.
        validation: What was found.
    """

    step: int
    loss: float
    rate: float
    validation: Validation


@dataclass
class State:
    """Where a training stands, after a whole step and the validation that is due behind it.

    Attributes:
        steps: Optimiser steps planned.
        every: Steps between two validations.
        done: Steps done.
        seconds: Time that the training has taken so far.
        losses: The loss of every step.
        rows: Every validation.
        network: State dict of the network, on any device.
        optimiser: State of the optimiser.
        average: State dict of the moving average, None without.
        best: State dict of the weights with the highest score, None before the first validation.
    """

    steps: int
    every: int
    done: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    network: Weights = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    average: Weights | None = None
    best: Weights | None = None

    @property
    def best_row(self) -> Row | None:
        """The validation that `best` belongs to: the highest score, of equal ones the last."""
        return max(self.rows, key=lambda row: (row.validation.score, row.step), default=None)

    @property
    def rows_since_progress(self) -> int:
        """Validations since the score was last higher than ever before."""
        scores = [row.validation.score for row in self.rows]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


class Store:
    """The checkpoint of one training in a folder.

    Args:
        folder: The folder; made when something is saved.
        identity: What the training is, by name, as JSON has it: another one must not go on from here.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / FILE_NAME
        self._identity = dict(identity)

    @property
    def exists(self) -> bool:
        """Whether there is a checkpoint, of whatever training."""
        return self.path.is_file()

    def save(self, state: State) -> None:
        """Write ``state``, in one piece.

        Raises:
            ModelError: If the file cannot be written; the one before is kept then.
        """
        content = {item: getattr(state, item) for item in state.__dataclass_fields__}
        content["losses"] = torch.tensor(state.losses, dtype=torch.float64)
        content["rows"] = [asdict(row) for row in state.rows]
        buffer = io.BytesIO()
        torch.save({"schema": SCHEMA, "identity": self._identity, "state": content}, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, buffer.getvalue())

    def load(self) -> State:
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            ModelError: If the file is damaged, or of another version.
            OptionError: If it belongs to another training; the message says what differs.
        """
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            schema, identity = content["schema"], dict(content["identity"])
            state = _state(content["state"]) if schema == SCHEMA else None
        except Exception as error:  # what torch.load raises depends on where the damage is
            raise ModelError(f"{self.path}: not a whole checkpoint. Begin anew with --fresh.") from error
        if state is None:
            raise ModelError(
                f"{self.path}: its schema is {schema}, this version of edgecnn reads {SCHEMA}. Begin anew with --fresh."
            )
        self._check(identity)
        return state

    def _check(self, identity: Mapping[str, Any]) -> None:
        names = sorted(self._identity.keys() | identity.keys())
        other = [name for name in names if self._identity.get(name) != identity.get(name)]
        if other:
            listed = ", ".join(f"{name} {identity.get(name)} instead of {self._identity.get(name)}" for name in other)
            raise OptionError(
                f"{self.path} is the checkpoint of another training: {listed}. Give the same options to go on with "
                "it, another --output, or --fresh to begin anew."
            )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one piece: who reads it meanwhile sees the old one or the new one.

    Raises:
        ModelError: If it cannot be written; the old one is kept then.
    """
    scratch = None
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            os.fsync(stream.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)


def _state(content: Mapping[str, Any]) -> State:
    values = {name: content[name] for name in State.__dataclass_fields__}
    values["losses"] = [float(loss) for loss in values["losses"]]
    values["rows"] = [_row(row) for row in values["rows"]]
    return State(**values)


def _row(content: Mapping[str, Any]) -> Row:
    found = content["validation"]
    table = found["confusion"]
    confusion = None if table is None else Confusion(tuple(table["labels"]), tuple(map(tuple, table["counts"])))
    validation = Validation(float(found["score"]), dict(found["figures"]), confusion)
    return Row(int(content["step"]), float(content["loss"]), float(content["rate"]), validation)
