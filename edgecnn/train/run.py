"""A whole training: read the data, train, write the trained file and what there is to tell of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from edgecnn import plugins
from edgecnn.errors import ModelError, OptionError
from edgecnn.models.trained import check_network, save_trained
from edgecnn.train import device as devices
from edgecnn.train import record
from edgecnn.train.checkpoint import Store
from edgecnn.train.job import Job, Plan
from edgecnn.train.trainer import Progress, Stop, Watch, train

if TYPE_CHECKING:
    from edgecnn.train.data import Dataset

JOBS = "edgecnn.train.jobs"
SUFFIX = ".safetensors"
FOLDER_SUFFIX = ".train"
RESUMES = ("auto", "resume", "fresh")
Checking = Callable[[int, int], None]
"""Called with how many pictures of the data were looked at, and how many there are."""


@dataclass(frozen=True)
class Request:
    """What to train.

    Attributes:
        task: A file in ``edgecnn/train/jobs``.
        data: Folder of labelled pictures.
        output: The trained file, ``.safetensors``. Checkpoint, curves and ``training.json`` go into a folder beside it.
        plan: How.
        validation: Folder of pictures to validate on; None holds a share of ``data`` out.
        good: Folders that hold sound parts, where their names do not say it.
        device: One of `devices.DEVICES`.
        resume: ``"auto"`` goes on with a checkpoint that is there, ``"resume"`` asks for one, ``"fresh"`` begins anew.
    """

    task: str
    data: Path
    output: Path
    plan: Plan = field(default_factory=Plan)
    validation: Path | None = None
    good: tuple[str, ...] = ()
    device: str = "auto"
    resume: str = "auto"

    def __post_init__(self) -> None:
        if self.output.suffix.lower() != SUFFIX:
            raise OptionError(f"the output must end in {SUFFIX}, got '{self.output}'.")
        if self.resume not in RESUMES:
            raise OptionError(f"resume must be one of {', '.join(RESUMES)}, got '{self.resume}'.")

    @property
    def folder(self) -> Path:
        """Where checkpoint, curves and ``training.json`` go."""
        return self.output.with_suffix(FOLDER_SUFFIX)


@dataclass(frozen=True)
class Result:
    """What came of a training.

    Attributes:
        output: The trained file.
        folder: Checkpoint, curves and ``training.json``.
        document: What ``training.json`` holds.
    """

    output: Path
    folder: Path
    document: record.Document


def run(
    request: Request,
    watch: Watch = lambda progress: None,
    stop: Stop = lambda: False,
    checking: Checking = lambda done, count: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Result:
    """Train, or go on with a training that was interrupted, and write its files.

    Args:
        request: What to train.
        watch: Told of every step and validation.
        stop: Asked before every step; if it says True, a checkpoint is written and KeyboardInterrupt raised.
        checking: Told of the pictures that are looked at before.
        warn: Told what is odd about the data.

    Raises:
        OptionError: If an option is not allowed, the checkpoint is of another training, or the output exists.
        DataError: If the data cannot be used.
        ModelError: If training diverges, or a file cannot be read or written.
        KeyboardInterrupt: After ``stop``.
    """
    module = plugins.load(JOBS, request.task)
    device = devices.choose(request.device)
    _check_output(request)
    dataset = _read(request, request.data, checking, warn)
    held_out = None if request.validation is None else _read(request, request.validation, checking, warn)
    training, validation = _parts(dataset, held_out, request.plan)
    with devices.repeatable(request.plan.threads):
        job = cast("Job", module.job(training, validation, request.plan))
        check_network(request.output, job.family, job.arguments)
        store = Store(request.folder, _identity(request, job, dataset, held_out))
        state = train(job, request.plan, store, device, watch, stop)
        watch(Progress("finishing", state.done, state.steps))
        with torch.no_grad():
            card, frames = job.finish()
    save_trained(request.output, job.network, job.family, job.arguments, card, frames)
    data = {"training": record.facts(request.data, dataset)}
    if held_out is not None and request.validation is not None:
        data["validation"] = record.facts(request.validation, held_out)
    content = record.document(request.task, request.plan, job, state, card, data, str(device))
    record.write(request.folder, content, state)
    return Result(request.output, request.folder, content)


def _check_output(request: Request) -> None:
    """Refuse an output that is taken before minutes of work are spent, and clear up for a fresh start."""
    output, folder = request.output, request.folder
    if not output.parent.is_dir():
        raise ModelError(f"{output}: the folder {output.parent} does not exist. Make it first.")
    exists = Store(folder, {}).exists
    if request.resume == "fresh":
        _remove(folder)
    elif request.resume == "resume" and not exists:
        raise OptionError(f"there is no checkpoint in {folder} to go on with. Leave --resume out to begin.")
    elif not exists and output.exists():
        raise OptionError(f"{output} exists already. Give another --output, or --fresh to replace it.")


def _remove(folder: Path) -> None:
    """Remove what an earlier training left, and nothing else."""
    for name in (Store(folder, {}).path.name, record.FILE_NAME, record.CURVES, record.CONFUSION):
        (folder / name).unlink(missing_ok=True)


def _read(request: Request, folder: Path, checking: Checking, warn: Callable[[str], None]) -> Dataset:
    from edgecnn.train import data

    dataset = data.read(folder, request.task, request.good, checking)
    for text in dataset.warnings:
        warn(text)
    return dataset


def _parts(dataset: Dataset, held_out: Dataset | None, plan: Plan) -> tuple[Dataset, Dataset]:
    """Return what to learn from and what to validate on."""
    from edgecnn.train.data import split, without_copies

    if held_out is None:
        return split(dataset, plan.share, plan.seed)
    return without_copies(dataset, held_out), held_out


def _identity(request: Request, job: Job, dataset: Dataset, held_out: Dataset | None) -> dict[str, Any]:
    """Return what a checkpoint must agree in to be gone on with; on a machine with other threads it may."""
    plan = request.plan
    return {
        "task": request.task,
        "data": _digest(dataset, request.data),
        "validation data": None
        if held_out is None or request.validation is None
        else _digest(held_out, request.validation),
        "steps": plan.steps,
        "time": plan.seconds,
        "seed": plan.seed,
        "size": None if plan.size is None else list(plan.size),
        "batch": plan.batch,
        "learning rate": plan.rate,
        "share of validation data": plan.share,
        "share of false rejects": plan.false_rejects,
        "average": plan.average,
        "turns": plan.turns,
        "backbone": None if plan.backbone is None else _file_digest(plan.backbone),
        "network": f"{job.family} {sorted(job.arguments.items())}",
    }


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _digest(dataset: Dataset, folder: Path) -> str:
    """Return a digest of which files there are, how large they are and what they are labelled: quick, also for many."""
    found = hashlib.sha256()
    for sample in dataset.samples:
        files = [path for path in (sample.image, sample.mask) if path is not None]
        named = [(os.path.relpath(path, folder), path.stat().st_size) for path in files]
        found.update(repr((named, sample.label, sample.lanes, sample.group, sample.trainable)).encode())
    return found.hexdigest()[:12]
