"""Labelled pictures, as paths and facts; pixels are loaded when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.vision.frames import Skipped

__all__ = ["GOOD", "Dataset", "Line", "Sample", "Skipped"]

GOOD = "good"
"""What sound parts are called in `Dataset.labels`, whatever their folder is called."""

Line = tuple[tuple[float, float], ...]
"""The middle of a lane line: (x, y) in pixels of the upright picture, from one end to the other."""


@dataclass(frozen=True)
class Sample:
    """One picture and what is known of it.

    Attributes:
        image: The picture's file.
        label: `GOOD` or the name of a defect class; None for lanes.
        mask: The file that says where the defects or the lane lines are, None where nobody drew one.
        lanes: All lines of the picture from left to right as they were labelled, None where a mask or nothing says it.
        group: The video, part or batch that it comes from; empty where the layout does not say. Never parted.
        size: Height and width of the upright picture in pixels, (0, 0) where nobody has looked yet.
        trainable: Whether it may be learned from; if not, it serves validation and tests alone.
        cluster: Shared by pictures that are (nearly) the same, empty for all others. Never parted.
        digest: Of the picture's shape and pixels: equal for equal pictures, whatever their files.
    """

    image: Path
    label: str | None
    mask: Path | None = None
    lanes: tuple[Line, ...] | None = None
    group: str = ""
    size: tuple[int, int] = (0, 0)
    trainable: bool = True
    cluster: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Dataset:
    """What was read from a folder, or a part of it.

    Attributes:
        samples: In a fixed order.
        labels: `GOOD`, then the defect classes in order of their names; empty for lanes.
        layout: Which layout the folder has, a name in `edgecnn.train.data.layouts`.
        warnings: What the user should know, a sentence or two each.
        skipped: Files that could not be used, and why.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    layout: str
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def counts(self) -> dict[str, int]:
        """Return how many samples each label has, zeros included, in the order of `labels`."""
        found = Counter(sample.label for sample in self.samples)
        return {label: found[label] for label in self.labels}

    def groups(self) -> dict[str, int]:
        """Return how many samples each group has, by name; those without a group are not counted."""
        return dict(sorted(Counter(sample.group for sample in self.samples if sample.group).items()))

    def describe(self) -> str:
        """Return the layout and what was found, in one sentence for people."""
        counts = ", ".join(f"{count} {label}" for label, count in self.counts().items())
        masks, groups = sum(sample.mask is not None for sample in self.samples), len(self.groups())
        facts = [counts, f"with masks: {masks}" if masks else "", f"videos or parts: {groups}" if groups else ""]
        return f"{len(self)} pictures, read as {self.layout}: {'; '.join(fact for fact in facts if fact)}."

    def with_samples(self, samples: Iterable[Sample]) -> Dataset:
        """Return the same data set with these samples alone."""
        return replace(self, samples=tuple(samples))
