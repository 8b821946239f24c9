"""What a proof may say: three words, and the limits of what cannot be exact. `docs/proof.md` has the rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXACT, EQUIVALENT, FAILED = "exact", "equivalent", "failed"
"""The three words: every integer is equal; within `Limits`; neither. People read them in capitals."""
SKIPPED = "skipped"
"""No word of a proof: what was not run, and so not proven."""


def worst(words: Iterable[str]) -> str:
    """Return the word that holds for all of ``words`` together, `SKIPPED` where nothing was proven."""
    return max(words, key=(SKIPPED, EXACT, EQUIVALENT, FAILED).index, default=SKIPPED)


@dataclass(frozen=True)
class Limits:
    """What an accelerator that cannot be exact must keep to be `EQUIVALENT`, on every output.

    Attributes:
        why: Why it cannot be exact, in one sentence.
        decisions: Smallest share of golden frames that decide alike: the class of scores, the verdict of an inspection.
        overlap: Smallest intersection over union of any class of a mask, over all golden frames.
        steps: Largest difference of outputs that decide nothing by themselves, in steps of their grid.

    Raises:
        ValueError: If a share is not in 0 .. 1, ``steps`` is below 1, or ``why`` says nothing.
    """

    why: str
    decisions: float
    overlap: float
    steps: int

    def __post_init__(self) -> None:
        shares = (self.decisions, self.overlap)
        if not self.why.strip() or not all(0 < share <= 1 for share in shares) or self.steps < 1:
            raise ValueError(
                "limits must say why, have shares above 0 and up to 1, and 1 step or more, got "
                f"why={self.why!r}, decisions={self.decisions}, overlap={self.overlap}, steps={self.steps}"
            )
