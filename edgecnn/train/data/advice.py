"""What a data set can and cannot be used for: what is too little to learn from, and what should be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgecnn.errors import DataError
from edgecnn.train.data.checks import Checked
from edgecnn.train.data.samples import GOOD, Dataset

FEW_GOOD = 100
"""Good parts below which false rejects cannot be told to a few per cent."""
FEW_DEFECTS = 20
"""Pictures of one kind of defect below which it is hardly learned, and not judged."""
FEW_FRAMES, FEW_VIDEOS = 300, 4
"""Road frames and videos below which other roads are hardly recognised."""
UNEVEN = 20
"""How many times rarer than the most frequent class one may be."""


def advice(dataset: Dataset, checked: Sequence[Checked], alike: int, task: str) -> list[str]:
    """Return what the user should know.

    Args:
        dataset: What can be used.
        checked: The same, as it was seen.
        alike: How many pictures look alike without being the same; see `duplicates`.
        task: What it is for.

    Raises:
        DataError: If nothing can be learned from the data set.
    """
    counts = dataset.counts()
    _check_learnable(dataset, counts, task)
    found = _few_frames(dataset) if task == "lane" else _few_parts(counts, task)
    return [*found, *_unmarked(checked), *_repeated(dataset, checked), *_alike(dataset, alike), *_skipped(dataset)]


def _check_learnable(dataset: Dataset, counts: dict[str, int], task: str) -> None:
    defects = sum(counts.values()) - counts.get(GOOD, 0)
    if len(dataset) < 2:
        raise DataError(f"expected pictures to learn from and to validate on, got {len(dataset)}. Add more.")
    if task != "lane" and not counts[GOOD]:
        raise DataError(f"all {defects} pictures show defects; nothing says what a good part is. Add good ones.")
    if task == "defect" and not defects:
        raise DataError(
            f"all {counts[GOOD]} pictures show good parts. Add defective ones, or use the task 'anomaly', which learns "
            "from good parts alone."
        )


def _few_parts(counts: dict[str, int], task: str) -> list[str]:
    found = []
    if counts[GOOD] < FEW_GOOD:
        found.append(f"Only {counts[GOOD]} pictures of good parts: have {FEW_GOOD} or more.")
    defects = {label: count for label, count in counts.items() if label != GOOD}
    if task == "anomaly" and sum(defects.values()) < FEW_DEFECTS:
        found.append(
            f"{sum(defects.values())} pictures of defective parts to validate on: escapes cannot be told from fewer "
            f"than {FEW_DEFECTS}."
        )
    if task == "defect":
        found += [
            f"Only {count} pictures of '{label}': have {FEW_DEFECTS} or more, or put similar defects into one class."
            for label, count in defects.items()
            if count < FEW_DEFECTS
        ]
        rarest, most = min(counts.items(), key=lambda item: item[1]), max(counts.items(), key=lambda item: item[1])
        if most[1] > UNEVEN * rarest[1]:
            found.append(
                f"Classes are uneven: {most[1]} pictures of '{most[0]}', {rarest[1]} of '{rarest[0]}'. "
                f"Figures will say more of '{most[0]}'; collect '{rarest[0]}'."
            )
    return found


def _few_frames(dataset: Dataset) -> list[str]:
    found = []
    if len(dataset) < FEW_FRAMES:
        found.append(f"Only {len(dataset)} road frames: have {FEW_FRAMES} or more.")
    groups = dataset.groups()
    if 0 < len(groups) < FEW_VIDEOS:
        found.append(f"Frames of only {len(groups)} video(s): have {FEW_VIDEOS} or more, of other roads and light.")
    return found


def _unmarked(checked: Sequence[Checked]) -> list[str]:
    names = [item.sample.image.name for item in checked if item.unmarked]
    if not names:
        return []
    return [
        f"{len(names)} defective pictures have masks that mark nothing ({', '.join(names[:3])}"
        f"{', ...' if len(names) > 3 else ''}): they count as defective, their masks are not used."
    ]


def _repeated(dataset: Dataset, checked: Sequence[Checked]) -> list[str]:
    equal = sum(count - 1 for count in Counter(item.sample.digest for item in checked).values())
    sizes = Counter(sample.cluster for sample in dataset.samples if sample.cluster)
    if not sizes:
        return []
    return [
        f"{sizes.total()} of {len(dataset)} pictures show the same as others, in {len(sizes)} sets of up to "
        f"{max(sizes.values())} ({equal} are exact copies): each set stays together in splits."
    ]


def _alike(dataset: Dataset, alike: int) -> list[str]:
    if not alike or dataset.groups():
        return []
    return [
        f"{alike} pictures look so alike that repetitions among them may not be noticed. Put what shows the same part, "
        "or comes from the same video, into one sub-folder: it then stays together in splits."
    ]


def _skipped(dataset: Dataset) -> list[str]:
    if not dataset.skipped:
        return []
    first = dataset.skipped[0]
    return [f"{len(dataset.skipped)} files cannot be used and are skipped, the first: {first.name}: {first.reason}"]
