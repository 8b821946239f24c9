"""The pictures to evaluate on, and what the right decision about each of them is."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import DataError, OptionError
from edgecnn.manifest import Manifest
from edgecnn.vision.frames import list_images
from edgecnn.vision.results import Verdict

LABEL_FILES = ("labels.csv", "val.csv")
MASKS = "masks"
PASS, REJECT = Verdict.PASS.value, Verdict.REJECT.value


@dataclass(frozen=True)
class Labelled:
    """A picture and the decision that is right about it.

    Attributes:
        path: The file.
        name: Its path below the folder, with ``/``.
        label: A class (its index as text where the model has no names), ``PASS`` or ``REJECT`` for inspections; None
            where it is not known.
        mask: The file with its label mask, None where there is none; see `edgecnn.runtime.evaluation.masks`.
    """

    path: Path
    name: str
    label: str | None
    mask: Path | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What pictures may be labelled with, and what a right decision is then.

    Attributes:
        labels: Class names of the model, by index.
        rejecting: The labels that have a threshold; not empty for inspections, where decisions are PASS and REJECT.
        good: What the user calls sound parts; everything that is called otherwise is defective then. Never guessed.
    """

    labels: tuple[str, ...] = ()
    rejecting: frozenset[str] = frozenset()
    good: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.good and not self.rejecting:
            raise OptionError(
                "names of sound parts (--good) are for inspection models, whose decisions are PASS and REJECT; "
                "this model's labels name its classes."
            )

    @classmethod
    def of(cls, manifest: Manifest, good: Sequence[str] = ()) -> Vocabulary:
        """Return that of a bundle."""
        return vocabulary(manifest.task, manifest.labels, tuple(manifest.thresholds), good)

    def right(self, name: str) -> str | None:
        """Return the right decision about a picture that is called ``name``, None if the name says nothing."""
        if self.good:
            return PASS if name in self.good else REJECT
        if name not in self.labels:
            return None
        if self.rejecting:
            return REJECT if name in self.rejecting else PASS
        return name


def vocabulary(
    task: str | None, labels: Sequence[str], thresholds: Sequence[str], good: Sequence[str] = ()
) -> Vocabulary:
    """Return the vocabulary of a model; ``thresholds`` are the labels that have one.

    Raises:
        OptionError: If ``good`` is given for a model that inspects nothing.
    """
    return Vocabulary(tuple(labels), frozenset(thresholds if task == "defect" else ()), tuple(good))


def find_labelled(folder: Path, words: Vocabulary | None = None) -> list[Labelled]:
    """Find the pictures to evaluate on, and the right decisions about them.

    Rules:
        1. A table (`LABEL_FILES`) in the folder or beside it with columns ``image`` and ``label`` says both: a name out
           of the model's labels, an index, or with ``good`` any text. A table with a column ``mask`` in place of
           ``label`` names the pictures alone.
        2. Else the name of the sub-folder directly below ``folder`` is the label, if it is one of the model's labels.
        3. For inspections with ``good`` given, pictures in sub-folders of these names are sound, those in all other
           sub-folders are defective.
        4. Else a picture has no label; agreement with the float model is measured all the same.
        5. Its label mask is the file in the table's column ``mask``, else the PNG of the same path below the folder
           ``masks`` (`MASKS`) beside ``folder``, if there is one.

    Raises:
        DataError: If there is no picture, or the table cannot be read or names other files or labels.
        OptionError: If one of the names in ``good`` does not occur.
    """
    words = words or Vocabulary()
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of pictures to evaluate on.")
    for table in [place / name for place in (folder, folder.parent) for name in LABEL_FILES]:
        if table.is_file():
            return _from_table(table, folder, words)
    paths = list_images(folder)
    below = {path: path.relative_to(folder) for path in paths}
    _check_good(words, {name.parts[0] for name in below.values() if len(name.parts) > 1}, f"folder below {folder}")
    return [
        Labelled(
            path, name.as_posix(), words.right(name.parts[0]) if len(name.parts) > 1 else None, _mask(folder, name)
        )
        for path, name in below.items()
    ]


def _mask(folder: Path, name: Path) -> Path | None:
    mask = folder.parent / MASKS / name.with_suffix(".png")
    return mask if folder.name != MASKS and mask.is_file() else None


def without_label(pictures: Sequence[Labelled], words: Vocabulary) -> str | None:
    """Return a sentence about the pictures whose right decision is not known.

    None if there are none, and where neither the model nor a table knows any label: then none was meant.
    """
    unknown = [item for item in pictures if item.label is None]
    if not unknown or (len(unknown) == len(pictures) and not words.labels):
        return None
    folders = sorted({item.name.partition("/")[0] for item in unknown if "/" in item.name})
    shown = f" (folders {', '.join(folders[:5])}{', ...' if len(folders) > 5 else ''})" if folders else ""
    text = f"{len(unknown)} of {len(pictures)} pictures have no label{shown}"
    if words.rejecting and not words.good and folders:
        text += ": say which folders hold sound parts with --good NAME, all others are defective then"
    return f"{text}."


def _check_good(words: Vocabulary, found: set[str], where: str) -> None:
    absent = [name for name in words.good if name not in found]
    if absent:
        there = ", ".join(sorted(found)[:12]) or "none"
        raise OptionError(f"--good {absent[0]}: there is no such {where}. There: {there}.")


def _from_table(table: Path, folder: Path, words: Vocabulary) -> list[Labelled]:
    rows = _rows(table)
    columns = set(rows[0]) if rows else set()
    if "image" not in columns or not columns & {"label", "mask"}:
        raise DataError(
            f"{table}: expected the columns 'image' and 'label', got {list(rows[0]) if rows else 'no row'}."
        )
    inside = [(row, table.parent / (row["image"] or "")) for row in rows]
    inside = [(row, path) for row, path in inside if folder in path.parents]
    if not inside:
        raise DataError(f"{table}: it names no picture below {folder}.")
    labelled = "label" in columns
    _check_good(words, {row["label"] or "" for row, _ in inside} if labelled else set(), f"label in {table}")
    return [
        Labelled(
            path,
            path.relative_to(folder).as_posix(),
            _label(row["label"] or "", words, table) if labelled else None,
            table.parent / name if (name := row.get("mask")) else None,
        )
        for row, path in inside
    ]


def _rows(table: Path) -> list[dict[str, str | None]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: expected a table of labels in UTF-8, comma-separated: {error}.") from error


def _label(text: str, words: Vocabulary, table: Path) -> str:
    """Return the right decision about a picture that the table labels with a name or an index."""
    right = words.right(text)
    if right is not None:
        return right
    try:
        index = int(text)
    except ValueError as error:
        raise DataError(f"{table}: '{text}' is neither a class index nor one of the model's labels.") from error
    if not words.labels:
        return str(index)
    if not 0 <= index < len(words.labels):
        raise DataError(
            f"{table}: class {index} is none of the model's {len(words.labels)} (0 .. {len(words.labels) - 1})."
        )
    return words.right(words.labels[index]) or words.labels[index]
