"""An accuracy budget in words: what came of the climb, and what could help where nothing holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecnn.report.document import BudgetStep, FailedStep


def verdict(
    step: BudgetStep,
    max_drop: float,
    confidence: float,
    failed: Sequence[FailedStep] = (),
    in_vain: Sequence[str] = (),
) -> str:
    """Return what the best step of a climb says about the budget.

    Args:
        step: The step that holds, else the nearest one.
        max_drop: The budget, a share.
        confidence: That of the interval's upper end.
        failed: The steps that ended with an error.
        in_vain: Recipes whose fine-tuning was not taken.
    """
    measured = (
        f"drop {points(step['drop'])}, at most {points_up(step['high'])} with {confidence:.0%} confidence "
        f"({step['lost']} lost and {step['gained']} gained of {step['images']} pictures)"
    )
    limit = points(max_drop)
    aside = "".join(f" The recipe '{item['recipe']}' failed: {item['reason'].rstrip('.')}." for item in failed)
    if in_vain:
        names = " and ".join(f"'{name}'" for name in in_vain)
        aside += f" Fine-tuning brought nothing on the pictures kept to judge it: {names} gave what came before it."
    if step["holds"]:
        return f"The recipe '{step['recipe']}' keeps the budget of {limit} points: {measured}.{aside}"
    return (
        f"No recipe keeps the budget of {limit} points. '{step['recipe']}' comes nearest: {measured}.{aside} "
        f"{_advice(step)}"
    )


def _advice(step: BudgetStep) -> str:
    wider = f"or allow --max-drop {points_up(step['high'])}"
    if step["images_needed"] is not None:
        return (
            f"The pictures are too few to be sure: if these shares stay, {step['images_needed']} would do. "
            f"Give more with --eval, {wider}."
        )
    return f"More pictures would not show less. Calibrate on more of the kind that is lost (--calibrate), {wider}."


def points(share: float) -> str:
    """Return a share in percentage points, with no more digits than it needs."""
    # Adding 0.0 turns -0.0 into 0.
    return f"{round(100 * share, 2) + 0.0:g}"


def points_up(share: float) -> str:
    """Return an upper end in percentage points: rounded up, so that what is above a limit never reads as equal."""
    return points(math.ceil(round(share * 10_000, 6)) / 10_000)
