"""The pictures to evaluate on, and what the right decision about each of them is."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn import limits
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import DataError, OptionError
from edgecnn.fields import Scalar
from edgecnn.manifest import Manifest
from edgecnn.vision.frames import list_images
from edgecnn.vision.results import Verdict
from edgecnn.vision.tasks import INSPECTIONS

LABEL_FILES = ("labels.csv", "val.csv")
MASKS = "masks"
MVTEC_MASKS = "ground_truth"
"""Where the data sets of MVTec AD keep label masks: ``ground_truth/crack/000_mask.png`` for ``test/crack/000.png``."""
MVTEC_GOOD = "good"
_ROOTS = (("images", MASKS), ("test", MVTEC_MASKS))
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
        kind: What its folder or the table calls it, e.g. the kind of a defect; None where nothing does.
        source: Where it is from, the table's column ``source``; None where it does not say.
    """

    path: Path
    name: str
    label: str | None
    mask: Path | None = None
    kind: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """What pictures may be labelled with, and what a right decision is then.

    Attributes:
        labels: Class names of the model, by index.
        rejecting: The labels of defective parts; not empty for inspections, where decisions are PASS and REJECT.
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
        return vocabulary(manifest.task, manifest.labels, manifest.thresholds, good, manifest.decoding)

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
    task: str | None,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    good: Sequence[str] = (),
    decoding: Mapping[str, Scalar] | None = None,
) -> Vocabulary:
    """Return the vocabulary of a model; for its arguments see `Manifest`.

    Raises:
        OptionError: If ``good`` is given for a model that inspects nothing.
    """
    if task not in INSPECTIONS:
        rejecting: Sequence[str] = ()
    elif "threshold" in (decoding or {}):
        # One threshold decides for all defects, and the first of several labels is that of good parts.
        rejecting = labels[1:] or labels or (task,)
    else:
        rejecting = tuple(thresholds)
    return Vocabulary(tuple(labels), frozenset(rejecting), tuple(good))


def rejecting_labels(manifest: Manifest) -> frozenset[str]:
    """Return the labels of defective parts; empty for models that inspect nothing."""
    return Vocabulary.of(manifest).rejecting


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
           ``masks`` (`MASKS`) beside ``folder``, else that of MVTec AD (`MVTEC_MASKS`), if there is one.
        6. Where ``folder`` holds ``images`` and ``masks``, or ``test`` and ``ground_truth``, the pictures are in the
           first of them. In ``test`` the folder ``good`` holds the sound parts.

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
    folder = next((folder / root for root, masks in _ROOTS if _holds(folder, root, masks)), folder)
    if words.rejecting and not words.good and _holds(folder.parent, MVTEC_MASKS, f"{folder.name}/{MVTEC_GOOD}"):
        words = replace(words, good=(MVTEC_GOOD,))
    paths = list_images(folder)
    below = {path: path.relative_to(folder) for path in paths}
    _check_good(words, {name.parts[0] for name in below.values() if len(name.parts) > 1}, f"folder below {folder}")
    return [_from_folder(path, folder, name, words) for path, name in below.items()]


def _holds(folder: Path, *names: str) -> bool:
    return all((folder / name).is_dir() for name in names)


def _from_folder(path: Path, folder: Path, name: Path, words: Vocabulary) -> Labelled:
    kind = name.parts[0] if len(name.parts) > 1 else None
    label = None if kind is None else words.right(kind)
    return Labelled(path, name.as_posix(), label, _mask(folder, name), kind)


def _mask(folder: Path, name: Path) -> Path | None:
    places = (MASKS, name.with_suffix(".png")), (MVTEC_MASKS, name.with_name(f"{name.stem}_mask.png"))
    masks = [folder.parent / root / below for root, below in places if folder.name != root]
    return next((mask for mask in masks if mask.is_file()), None)


def without_label(pictures: Sequence[Labelled], words: Vocabulary) -> str | None:
    """Return a sentence about the pictures whose right decision is not known.

    None if there are none, and where neither the model nor a table knows any label: then none was meant.
    """
    # A label mask is all that says what is right, but for PASS and REJECT.
    unknown = [item for item in pictures if item.label is None and (item.mask is None or words.rejecting)]
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
            _kind(row["label"] or "", words) if labelled else None,
            row.get("source") or None,
        )
        for row, path in inside
    ]


def _kind(text: str, words: Vocabulary) -> str | None:
    """Return what the table calls a picture: the name of its class where it gives an index."""
    if text.isdecimal() and text not in words.labels and int(text) < len(words.labels):
        return words.labels[int(text)]
    return text or None


def _rows(table: Path) -> list[dict[str, str | None]]:
    text = read_bytes(table, limits.TABLE, DataError)
    with boundary(DataError, f"{table}: expected a table of labels in UTF-8, comma-separated"):
        return list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))


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
