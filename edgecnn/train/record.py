"""``training.json`` and the pictures beside it: what a training was, and how it went."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn import __version__
from edgecnn.train import curves
from edgecnn.train.checkpoint import Row, State, write_whole
from edgecnn.train.job import Confusion, Job, Plan

if TYPE_CHECKING:
    from edgecnn.models.model_card import ModelCard
    from edgecnn.train.data import Dataset

SCHEMA = 1
FILE_NAME, CURVES, CONFUSION = "training.json", "curves.svg", "confusion.svg"
PACKAGES = ("numpy", "opencv-python-headless", "torch")
Document = dict[str, Any]


def document(
    task: str, plan: Plan, job: Job, state: State, card: ModelCard, data: Mapping[str, Document], device: str
) -> Document:
    """Return what ``training.json`` holds.

    Args:
        task: The task.
        plan: What was asked for.
        job: What was trained.
        state: How it went.
        card: The card of the trained file.
        data: What is known of each data set, as `facts` says it, by what it was used for.
        device: Where it was trained.
    """
    best = state.best_row
    return {
        "schema": SCHEMA,
        "task": task,
        "plan": _plain_plan(plan),
        "network": {"family": job.family, "arguments": dict(job.arguments)},
        "steps": {"planned": state.steps, "done": state.done, "every": state.every},
        "seconds": round(state.seconds, 1),
        "device": device,
        "data": dict(data),
        "best": None if best is None else _row(best),
        "history": [_row(row) for row in state.rows],
        "labels": list(card.labels or ()),
        "thresholds": dict(card.thresholds),
        "decoding": dict(card.decoding),
        "versions": {"edgecnn": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def facts(folder: Path, dataset: Dataset) -> Document:
    """Return what is to be remembered of a data set."""
    return {
        "folder": str(folder),
        "layout": dataset.layout,
        "pictures": len(dataset.samples),
        "labels": dataset.counts(),
        "groups": len(dataset.groups()),
        "warnings": list(dataset.warnings),
        "skipped": [{"name": item.name, "reason": item.reason} for item in dataset.skipped],
    }


def write(folder: Path, content: Document, state: State) -> None:
    """Write ``training.json``, the curves, and the confusion table of the best weights where there is one.

    Raises:
        ModelError: If a file cannot be written.
    """
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    write_whole(folder / FILE_NAME, (text + "\n").encode())
    write_whole(folder / CURVES, curves.curves(state).encode())
    best = state.best_row
    if best is not None and best.validation.confusion is not None:
        write_whole(folder / CONFUSION, curves.confusion(best.validation.confusion).encode())


def _row(row: Row) -> Document:
    found = row.validation
    table = None if found.confusion is None else _table(found.confusion)
    # JSON has no word for a figure that is not there, e.g. an AUROC without a defect.
    figures = {name: value if math.isfinite(value) else None for name, value in found.figures.items()}
    return {
        "step": row.step,
        "loss": row.loss,
        "rate": row.rate,
        "score": found.score,
        "figures": figures,
        "confusion": table,
    }


def _table(confusion: Confusion) -> Document:
    return {"labels": list(confusion.labels), "counts": [list(row) for row in confusion.counts]}


def _plain_plan(plan: Plan) -> Document:
    return asdict(plan) | {"backbone": None if plan.backbone is None else str(plan.backbone)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
