"""The accuracy budget: climb the ladder of recipes until what quantising costs is surely small enough.

A budget holds if the upper end of the drop is not above it: the drop of the share of right decisions, INT8 beside the
float model on the same pictures, with its one-sided 95 % interval. Every step is judged alone, so the chance that a
bundle passes whose true drop is larger is at most 5 % for each step that was tried.

Where pictures have no labels, a decision that INT8 changes counts as a lost one. A change costs one right decision at
most: what is shown then is never less than the true drop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgecnn.composer.request import DEFAULT_RECIPE, Request, Rung
from edgecnn.errors import DataError, EdgecnnError, OptionError
from edgecnn.manifest import OutputContract
from edgecnn.recipe import Recipe, ladder, load_recipe
from edgecnn.report.budget import points, points_up, verdict
from edgecnn.report.document import BudgetSection, BudgetStep, FailedStep
from edgecnn.runtime.evaluation.decisions import is_flipped, who_is_right
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.runtime.evaluation.statistics import FEW_IMAGES, images_needed, paired_drop
from edgecnn.vision.tasks import INSPECTIONS

CONFIDENCE = 0.95
TWO_SIDED = 2 * CONFIDENCE - 1
"""An interval of this confidence exceeds the truth on one side as rarely as one-sided `CONFIDENCE` allows."""


@dataclass(frozen=True)
class Tally:
    """Decisions of both models about the same pictures.

    Attributes:
        images: All pictures.
        same: Those about which both decide the same.
        lost: Those that float has right and INT8 wrong.
        gained: Those that INT8 has right and float wrong.
    """

    images: int
    same: int
    lost: int
    gained: int


def tally(rows: Sequence[PictureRow]) -> Tally:
    """Count what was decided about pictures that all have a label, or all have none."""
    changed = sum(is_flipped(row) for row in rows)
    if rows[0]["label"] is None:
        return Tally(len(rows), len(rows) - changed, lost=changed, gained=0)
    right = [who_is_right(row) for row in rows]
    return Tally(len(rows), len(rows) - changed, right.count("float"), right.count("int8"))


def planned(request: Request) -> list[Recipe]:
    """Return the recipes to try, in this order.

    Raises:
        OptionError: If there is no such recipe, it is no step of the ladder, or the budget cannot be one.
    """
    if request.max_drop is None:
        return [load_recipe(request.recipe or DEFAULT_RECIPE)]
    if request.evaluation is None:
        raise OptionError("an accuracy budget (--max-drop) needs pictures to measure it on: give them with --eval DIR.")
    if not 0 < request.max_drop < 1:
        raise OptionError(
            "--max-drop is in percentage points, more than 0 and less than 100, e.g. 0.5; "
            f"got {100 * request.max_drop:g}."
        )
    names = ladder()
    first = request.recipe or names[0]
    if load_recipe(first).name not in names:
        raise OptionError(f"recipe '{first}' is no step of the ladder that --max-drop climbs: {', '.join(names)}.")
    return [load_recipe(name) for name in names[names.index(first) :]]


def check_decides(task: str, outputs: Sequence[OutputContract]) -> None:
    """Refuse models that make no decision about a picture, before minutes are spent on them.

    Raises:
        OptionError: If the task decides nothing, or about pixels.
    """
    if task in INSPECTIONS or (task == "classify" and outputs[0].tensor.shape[-1] > 1):
        return
    scores = " with a single score" if task == "classify" else ""
    raise OptionError(
        f"an accuracy budget (--max-drop) counts decisions about pictures, and a model for the task '{task}'{scores} "
        "makes none. Give --eval without it: the report says how far INT8 is from float."
    )


def countable(pictures: Sequence[Labelled], max_drop: float) -> list[Labelled]:
    """Return the pictures that count: those with a label, or all where there is no label.

    Raises:
        DataError: If they are so few that no INT8 model could keep the budget for sure.
    """
    found = [item for item in pictures if item.label is not None] or list(pictures)
    enough = max(FEW_IMAGES, images_needed(max_drop, confidence=TWO_SIDED) or 0)
    if len(found) < enough:
        kind = "have a label" if found[0].label is not None else "are there"
        raise DataError(
            f"an accuracy budget of {points(max_drop)} points takes at least {enough} pictures to be kept for sure, "
            f"even if INT8 changes no decision; {len(found)} {kind}. Give more with --eval{_or_allow(len(found))}."
        )
    return found


def _or_allow(images: int) -> str:
    """Name the smallest budget that so many pictures can show, if there is one."""
    smallest = paired_drop(0, 0, images, TWO_SIDED).high
    return "" if images < FEW_IMAGES else f", or allow --max-drop {points_up(smallest)}"


def climb(
    recipes: Sequence[Recipe],
    attempt: Callable[[Recipe], tuple[Rung, Tally]],
    max_drop: float,
    engine: str,
    labelled: bool,
) -> tuple[Rung, BudgetSection]:
    """Try recipes until the budget holds; return the first that keeps it, else the one with the smallest upper end.

    A later recipe that fails is noted and passed over: what was found before is not lost.

    Args:
        recipes: The steps, cheapest first.
        attempt: Quantises with a recipe and counts decisions.
        max_drop: The budget, a share.
        engine: Where the decisions come from, for the report.
        labelled: Whether decisions are compared with labels.

    Raises:
        Exception: What the recipe raises that comes before any result.
    """
    tried: list[BudgetStep] = []
    failed: list[FailedStep] = []
    in_vain: list[str] = []
    best: tuple[float, Rung] | None = None
    for rung, counted in _results(recipes, attempt, failed):
        step = _step(rung.recipe.name, counted, max_drop)
        tried.append(step)
        if rung.tuned_in_vain:
            in_vain.append(rung.recipe.name)
        if best is None or step["high"] < best[0]:
            best = step["high"], rung
        if step["holds"]:
            break
    if best is None:
        raise ValueError("a ladder needs at least one step")
    nearest = min(tried, key=lambda step: step["high"])
    return best[1], {
        "max_drop": max_drop,
        "confidence": CONFIDENCE,
        "labelled": labelled,
        "engine": engine,
        "recipe": nearest["recipe"],
        "holds": nearest["holds"],
        "verdict": verdict(nearest, max_drop, CONFIDENCE, failed, in_vain),
        "steps": tried,
        "failed": failed,
    }


def _results(
    recipes: Sequence[Recipe], attempt: Callable[[Recipe], tuple[Rung, Tally]], failed: list[FailedStep]
) -> Iterator[tuple[Rung, Tally]]:
    """Yield what recipes give. Those that fail after the first result are added to ``failed``."""
    has_result = False
    for recipe in recipes:
        try:
            found = attempt(recipe)
        except Exception as error:  # whatever it is, memory that does not suffice included, the best result is kept
            if not has_result:
                raise
            failed.append({"recipe": recipe.name, "reason": _reason(error)})
        else:
            has_result = True
            yield found


def _reason(error: Exception) -> str:
    """Return an error's message on one line; that of an unforeseen one begins with its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, EdgecnnError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _step(recipe: str, counted: Tally, max_drop: float) -> BudgetStep:
    images = counted.images
    drop = paired_drop(counted.lost, counted.gained, images, TWO_SIDED)
    return {
        "recipe": recipe,
        "images": images,
        "agreement": counted.same / images,
        "lost": counted.lost,
        "gained": counted.gained,
        "drop": drop.value,
        "low": drop.low,
        "high": drop.high,
        "holds": drop.high <= max_drop,
        "images_needed": images_needed(max_drop, counted.lost / images, counted.gained / images, TWO_SIDED),
    }
