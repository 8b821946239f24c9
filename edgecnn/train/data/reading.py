"""From a folder to a data set: find out its layout, check every file, say what is odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from edgecnn import plugins
from edgecnn.errors import DataError, OptionError, unknown_name
from edgecnn.train.data.advice import advice
from edgecnn.train.data.checks import Progress, check
from edgecnn.train.data.duplicates import clusters
from edgecnn.train.data.layouts._found import folders
from edgecnn.train.data.samples import GOOD, Dataset, Sample, Skipped

TASKS = ("defect", "anomaly", "lane")
LAYOUTS = "edgecnn.train.data.layouts"
SKIPPED_SHARE = 0.1
"""Share of the files that may be unusable before something must be wrong with all of them."""
_NAMED = 10


def read(folder: Path, task: str, good: Sequence[str] = (), progress: Progress | None = None) -> Dataset:
    """Read the labelled pictures in a folder.

    Which layout it has is found out; all files are opened once and checked. For ``anomaly`` good parts alone are
    trainable.

    Args:
        folder: The folder.
        task: ``"defect"``, ``"anomaly"`` or ``"lane"``.
        good: Folders that hold sound parts; empty to recognise names such as ``good``, ``ok``, ``free``.
        progress: Called with how many pictures are checked, and of how many.

    Raises:
        OptionError: If there is no such task, or ``good`` names what is not there.
        DataError: If no layout fits or several do, if too many files cannot be used, or if what is left cannot be
            learned from.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if good and task == "lane":
        raise OptionError(f"good={good[0]} names folders of sound parts, which the task 'lane' does not have.")
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of pictures to learn from.")
    name, layout = find_layout(folder, task)
    found = layout.find(folder, task, good)
    checked, skipped = check(found.samples, task, folder, progress)
    skipped = [*found.skipped, *skipped]
    _check_skipped(folder, len(checked), skipped)
    names, alike = clusters([item.thumbnail for item in checked], [item.sample.digest for item in checked])
    samples = [replace(item.sample, cluster=name) for item, name in zip(checked, names, strict=True)]
    if task == "anomaly":
        samples = [replace(sample, trainable=sample.trainable and sample.label == GOOD) for sample in samples]
    dataset = Dataset(tuple(samples), _labels(samples, task), name, tuple(found.warnings), tuple(skipped))
    return replace(dataset, warnings=(*dataset.warnings, *advice(dataset, checked, alike, task)))


def find_layout(folder: Path, task: str) -> tuple[str, ModuleType]:
    """Return the name and the module of the one layout that fits a folder.

    Raises:
        DataError: If none does or several do; the message says what is there and what each layout looks like.
    """
    modules = {name: plugins.load(LAYOUTS, name) for name in plugins.discover(LAYOUTS)}
    serving = {name: module for name, module in modules.items() if task in module.TASKS}
    fitting = _fitting(folder, serving)
    if len(fitting) == 1:
        return fitting[0], serving[fitting[0]]
    shown = fitting or list(serving)
    what = f"could be {' or '.join(fitting)}" if fitting else f"fits no layout for the task '{task}'"
    hint = "" if fitting else _deeper(folder, serving)
    looks = "\n\n".join(f"{name}:\n" + _indented(serving[name].LOOKS) for name in shown)
    raise DataError(f"{folder}: this {what}. {_contents(folder)}{hint} Layouts:\n\n{looks}")


def _fitting(folder: Path, modules: dict[str, ModuleType]) -> list[str]:
    return [name for name, module in modules.items() if module.fits(folder)]


def _contents(folder: Path) -> str:
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir() if not path.name.startswith(".")
    )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"In it: {', '.join(names[:_NAMED]) or 'nothing'}{more}."


def _deeper(folder: Path, modules: dict[str, ModuleType]) -> str:
    """Say which sub-folders would fit."""
    for below in folders(folder):
        if fitting := _fitting(below, modules):
            return f" Its folder '{below.name}' looks like {fitting[0]}: did you mean that one?"
    return ""


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _check_skipped(folder: Path, used: int, skipped: Sequence[Skipped]) -> None:
    """Refuse a folder of which too much is unusable.

    Raises:
        DataError: With the first reasons.
    """
    count = used + len(skipped)
    if used and len(skipped) <= max(1, SKIPPED_SHARE * count):
        return
    named = "\n".join(f"  - {item.name}: {item.reason}" for item in skipped[:_NAMED])
    more = f"\n  and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    raise DataError(
        f"{folder}: {len(skipped)} of {count} files cannot be used; up to {SKIPPED_SHARE:.0%} are skipped. "
        f"Repair or remove them:\n{named}{more}"
    )


def _labels(samples: Sequence[Sample], task: str) -> tuple[str, ...]:
    if task == "lane":
        return ()
    return (GOOD, *sorted({sample.label for sample in samples if sample.label} - {GOOD}))
