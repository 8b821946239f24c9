"""Parting a data set so that nothing leaks: what belongs together stays together, and labels are spread evenly.

Pictures belong together that share a group (a video, a part) or a cluster (the same picture again). Such families go
as one, the largest first, each to where it brings the shares of all labels nearest to what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError, OptionError, unknown_name
from edgecnn.train.data.families import joined, joined_by
from edgecnn.train.data.samples import Dataset, Sample

Pair = tuple[Dataset, Dataset]


def split(dataset: Dataset, share: float, seed: int) -> Pair:
    """Part a data set into one to learn from and one to validate on.

    What is not trainable validates, unless its family is learned from: then it is left out. A label that two families
    have is in both parts.

    Args:
        dataset: The whole.
        share: Share of the pictures to validate on, above 0 and below 1.
        seed: Decides which. Where a few large families make up the data set, their sizes decide more.

    Returns:
        Training and validation; warnings of the split are added to both.

    Raises:
        OptionError: If ``share`` is out of range.
        DataError: If there are fewer than two families to learn from.
    """
    if not 0 < share < 1:
        raise OptionError(f"the share to validate on must be above 0 and below 1, got {share}.")
    families = _families(dataset.samples)
    learned = [family for family in families if any(dataset.samples[index].trainable for index in family)]
    counts = _counts(dataset, learned, trainable=True)
    _check_enough(dataset, len(learned), 2)
    parts = _assigned(counts, np.array([1 - share, share]), seed)
    _give_every_label(counts, parts)
    validation = {index for family, part in zip(learned, parts, strict=True) if part for index in family}
    kept = {index for family in learned for index in family}
    return _parted(dataset, validation | (set(range(len(dataset))) - kept))


def split_folds(dataset: Dataset, k: int, seed: int) -> list[Pair]:
    """Part a data set ``k`` times so that every picture is tested exactly once; (training, test) each.

    Raises:
        OptionError: If ``k`` is below 2.
        DataError: If there are fewer than ``k`` families of pictures.
    """
    if k < 2:
        raise OptionError(f"cross-validation needs 2 folds or more, got {k}.")
    families = _families(dataset.samples)
    _check_enough(dataset, len(families), k)
    folds = _assigned(_counts(dataset, families, trainable=False), np.full(k, 1 / k), seed)
    return [
        _parted(dataset, {index for family, at in zip(families, folds, strict=True) if at == fold for index in family})
        for fold in range(k)
    ]


def split_groups(dataset: Dataset, held_out: Iterable[str]) -> Pair:
    """Hold out the groups of these names; (training, test).

    A picture that is the same as one held out is not learned from.

    Raises:
        OptionError: If there is no such group.
        DataError: If nothing is held out, or nothing is left.
    """
    names, known = set(held_out), dataset.groups()
    for name in sorted(names - set(known)):
        raise unknown_name("group", name, known)
    test = {index for index, sample in enumerate(dataset.samples) if sample.group in names}
    clusters = {dataset.samples[index].cluster for index in test} - {""}
    kin = {index for index, sample in enumerate(dataset.samples) if sample.cluster in clusters} - test
    training, held = _parted(dataset, test, left_out=kin)
    if not training.samples or not held.samples:
        raise DataError(f"holding out {len(names)} of {len(known)} groups leaves one side empty. Name some, not all.")
    return training, held


def without_copies(dataset: Dataset, held_out: Dataset) -> Dataset:
    """Return a data set without the pictures that are in another one too, which is held out, and say how many.

    For two folders that were read one by one. Equal pixels count; what is nearly the same is not noticed.

    Raises:
        DataError: If nothing is left.
    """
    known = {sample.digest for sample in held_out.samples} - {""}
    kept = [sample for sample in dataset.samples if sample.digest not in known]
    left_out = len(dataset) - len(kept)
    if not kept:
        raise DataError(f"all {left_out} pictures to learn from are held out too. Name two different folders.")
    warning = f"{left_out} pictures to learn from are held out too: they are left out."
    return replace(dataset.with_samples(kept), warnings=(*dataset.warnings, *([warning] if left_out else [])))


def _families(samples: Sequence[Sample]) -> list[list[int]]:
    """Return the indices of the samples that belong together, in order of each family's first."""
    groups = joined_by((index, sample.group) for index, sample in enumerate(samples))
    same = joined_by((index, sample.cluster) for index, sample in enumerate(samples))
    return joined(len(samples), [*groups, *same])


def _counts(dataset: Dataset, families: Sequence[Sequence[int]], trainable: bool) -> npt.NDArray[np.float64]:
    """Return how many samples of each label a family has, (families, labels + 1); the last column counts all."""
    column = {label: at for at, label in enumerate(dataset.labels)}
    counts = np.zeros((len(families), len(column) + 1))
    for row, family in enumerate(families):
        for sample in (dataset.samples[index] for index in family):
            if sample.trainable or not trainable:
                counts[row, -1] += 1
                if sample.label in column:
                    counts[row, column[sample.label]] += 1
    return counts


def _assigned(counts: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.int64]:
    """Return the part that each family goes to, so that every label comes near ``shares``.

    Greedy: the sum over parts and labels of ``(share got - share wanted)**2 / share wanted`` grows least.
    """
    part = counts / np.maximum(counts.sum(0), 1)
    order = np.random.default_rng([5, seed]).permutation(len(counts))
    order = order[np.argsort(-counts[order, -1], kind="stable")]
    got = np.zeros((len(shares), counts.shape[1]))
    parts = np.zeros(len(counts), np.int64)
    for family in order:
        more = part[family] * (2 * (got - shares[:, None]) + part[family]) / shares[:, None]
        parts[family] = more.sum(1).argmin()
        got[parts[family]] += part[family]
    return parts


def _give_every_label(counts: npt.NDArray[np.float64], parts: npt.NDArray[np.int64]) -> None:
    """Move the smallest family of a label that one of the two parts lacks, where there are two families of it."""
    for column in reversed(range(counts.shape[1])):
        having = np.flatnonzero(counts[:, column])
        if len(having) > 1 and len(set(parts[having])) == 1:
            smallest = having[counts[having, -1].argmin()]
            parts[smallest] = 1 - parts[smallest]


def _parted(dataset: Dataset, test: set[int], left_out: set[int] | None = None) -> Pair:
    left_out = left_out or set()
    training = dataset.with_samples(
        sample
        for index, sample in enumerate(dataset.samples)
        if sample.trainable and index not in test and index not in left_out
    )
    held = dataset.with_samples(dataset.samples[index] for index in sorted(test))
    warnings = (*dataset.warnings, *_lacking(dataset, training, held))
    return replace(training, warnings=warnings), replace(held, warnings=warnings)


def _lacking(dataset: Dataset, training: Dataset, held: Dataset) -> list[str]:
    """Say which labels are missing in a part that could have them."""
    learnable = {sample.label for sample in dataset.samples if sample.trainable}
    return [
        f"No '{label}' is left to {purpose}: all {count} of them belong together or are too few."
        for label, count in dataset.counts().items()
        for part, purpose, wanted in (
            (training, "learn from", label in learnable),
            (held, "validate on", True),
        )
        if count and wanted and not part.counts()[label]
    ]


def _check_enough(dataset: Dataset, families: int, needed: int) -> None:
    if families >= needed:
        return
    groups = len(dataset.groups())
    why = f", which come from {groups} video(s) or part(s)" if groups else ""
    raise DataError(
        f"{len(dataset)} picture(s){why} cannot be split into {needed}: pictures that belong together (one video, one "
        f"part, the same picture again) stay together, and {families} such set(s) can be learned from. "
        "Add pictures from elsewhere."
    )
