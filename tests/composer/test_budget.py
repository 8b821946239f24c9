"""The accuracy budget: what is counted, how the ladder is climbed, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.composer import Request, budget, open_model
from edgecnn.composer.budget import TWO_SIDED, Tally, climb, countable, planned, tally
from edgecnn.errors import CalibrationError, DataError, OptionError
from edgecnn.recipe import Recipe, load_recipe
from edgecnn.report.document import BudgetSection
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.runtime.evaluation.statistics import paired_drop
from edgecnn.vision.frames import Frames
from tests.composer import onnx_files

# Counting


def row(before: str, after: str, label: str | None) -> PictureRow:
    judged = [{"decision": name, "score": 0.5} for name in (before, after)]
    return {"picture": "a", "digest": "", "label": label, "float": judged[0], "int8": judged[1], "overlap": None}


def test_with_labels_right_decisions_count() -> None:
    rows = [row("a", "a", "a"), row("a", "b", "a"), row("a", "b", "b"), row("a", "b", "c"), row("b", "b", "a")]
    assert tally(rows) == Tally(images=5, same=2, lost=1, gained=1)


def test_without_labels_every_changed_decision_is_lost() -> None:
    assert tally([row("a", "a", None), row("a", "b", None), row("b", "a", None)]) == Tally(3, 1, 2, 0)


@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 3), min_size=1))
def test_without_labels_the_drop_is_never_shown_smaller_than_it_is(pictures: list[tuple[str, str, str]]) -> None:
    known = tally([row(before, after, label) for before, after, label in pictures])
    unknown = tally([row(before, after, None) for before, after, _ in pictures])
    assert unknown.lost - unknown.gained >= known.lost - known.gained
    assert unknown.same == known.same


def labelled(count: int, unknown: int = 0) -> list[Labelled]:
    return [Labelled(Path("a"), "a", None)] * unknown + [Labelled(Path("a"), "a", "a")] * (count - unknown)


def test_pictures_without_a_label_do_not_count_beside_those_with_one() -> None:
    assert countable(labelled(700, 100), 0.005) == labelled(700, 100)[100:]
    assert len(countable(labelled(700, 700), 0.005)) == 700


@pytest.mark.parametrize(
    ("count", "unknown", "max_drop", "says"),
    [
        (
            400,
            0,
            0.005,
            ["budget of 0.5 points", "at least 539 pictures", "400 have a label", "or allow --max-drop 0.68"],
        ),
        (400, 400, 0.005, ["at least 539", "400 are there"]),
        (700, 690, 0.005, ["at least 539", "10 have a label. Give more with --eval."]),
        (99, 0, 0.2, ["budget of 20 points", "at least 100 pictures", "99 have a label. Give more with --eval."]),
    ],
)
def test_too_few_pictures_are_refused_at_once(count: int, unknown: int, max_drop: float, says: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        countable(labelled(count, unknown), max_drop)
    assert [part for part in says if part not in str(caught.value)] == []


@given(st.integers(100, 5000))
def test_the_budget_that_is_offered_is_one_that_so_many_pictures_can_show(count: int) -> None:
    with pytest.raises(DataError) as caught:
        countable(labelled(count), 1e-4)
    offered = float(str(caught.value).rpartition("--max-drop ")[2].rstrip(".")) / 100
    assert len(countable(labelled(count), offered)) == count
    assert paired_drop(0, 0, count, TWO_SIDED).high <= offered


# Climbing


def recipe(name: str) -> Recipe:
    return replace(load_recipe("fast"), name=name)


@dataclass(frozen=True)
class Made:
    """Stands for what a recipe made."""

    recipe: Recipe
    tuned_in_vain: bool = False


def climbed(tallies: Sequence[Tally], max_drop: float) -> tuple[str, BudgetSection, list[str]]:
    """Climb a ladder whose steps give ``tallies``; return the name that was chosen, the section, and what was tried."""
    tried: list[str] = []

    def attempt(item: Recipe) -> tuple[Made, Tally]:
        tried.append(item.name)
        return Made(item), tallies[len(tried) - 1]

    made, section = climb([recipe(f"r{index}") for index in range(len(tallies))], attempt, max_drop, "engine", True)
    return made.recipe.name, section, tried


def test_the_first_step_that_holds_ends_the_climb() -> None:
    name, section, tried = climbed([Tally(1000, 900, 90, 5), Tally(1000, 998, 1, 1), Tally(1000, 1000, 0, 0)], 0.01)
    assert (name, section["recipe"], section["holds"], tried) == ("r1", "r1", True, ["r0", "r1"])
    first, second = section["steps"]
    assert (first["holds"], first["drop"], first["agreement"]) == (False, 0.085, 0.9)
    assert (second["holds"], second["drop"], second["lost"], second["gained"]) == (True, 0.0, 1, 1)
    assert "The recipe 'r1' keeps the budget of 1 points: drop 0, at most 0." in section["verdict"]


def test_where_none_holds_the_one_with_the_smallest_upper_end_is_taken() -> None:
    name, section, tried = climbed([Tally(1000, 900, 90, 5), Tally(1000, 960, 30, 5), Tally(1000, 950, 40, 5)], 0.01)
    assert (name, section["recipe"], section["holds"], len(tried)) == ("r1", "r1", False, 3)
    assert section["steps"][1]["images_needed"] is None
    assert "No recipe keeps the budget of 1 points. 'r1' comes nearest: drop 2.5, at most 3.58 " in section["verdict"]
    assert "More pictures would not show less" in section["verdict"]


def test_inside_but_not_surely_says_how_many_pictures_would_do_and_climbs_on() -> None:
    _, section, tried = climbed([Tally(500, 498, 2, 0), Tally(500, 497, 2, 1)], 0.01)
    assert len(tried) == 2
    assert section["recipe"] == "r1"
    needed = section["steps"][1]["images_needed"]
    assert f"too few to be sure: if these shares stay, {needed} would do" in section["verdict"]
    assert paired_drop(round(needed * 0.004), round(needed * 0.002), needed, TWO_SIDED).high == pytest.approx(
        0.01, 0.05
    )


def tallies() -> st.SearchStrategy[Tally]:
    counts = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
    return counts.map(lambda item: Tally(1000, 1000 - sum(item), item[0], item[1]))


@given(st.lists(tallies(), min_size=1, max_size=5), st.floats(0.003, 0.2))
def test_what_is_chosen_holds_or_nothing_does(steps: list[Tally], max_drop: float) -> None:
    name, section, tried = climbed(steps, max_drop)
    ends = [paired_drop(step.lost, step.gained, 1000, TWO_SIDED).high for step in steps]
    holding = [index for index, end in enumerate(ends) if end <= max_drop]
    assert len(tried) == (holding[0] + 1 if holding else len(steps))
    assert name == section["recipe"] == f"r{holding[0] if holding else ends.index(min(ends))}"
    assert section["holds"] == bool(holding)
    assert section["holds"] == section["verdict"].startswith("The recipe")


EQUAL = Tally(1000, 970, 30, 0)


def failing(error: BaseException, where: int) -> tuple[str, BudgetSection]:
    """Climb a ladder of three steps, each better than the one before, of which one raises ``error``."""
    recipes = [recipe(f"r{index}") for index in range(3)]

    def attempt(item: Recipe) -> tuple[Made, Tally]:
        if item is recipes[where]:
            raise error
        lost = 30 - 10 * recipes.index(item)
        return Made(item), Tally(1000, 1000 - lost, lost, 0)

    made, section = climb(recipes, attempt, 0.005, "engine", True)
    return made.recipe.name, section


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CalibrationError("no grid\nholds it."), "no grid holds it."),
        (RuntimeError("not enough memory"), "RuntimeError: not enough memory"),
        (MemoryError(), "MemoryError"),
    ],
)
@pytest.mark.parametrize(("where", "best"), [(1, "r2"), (2, "r1")])
def test_a_later_step_that_fails_is_noted_and_the_best_result_is_kept(
    error: Exception, reason: str, where: int, best: str
) -> None:
    name, section = failing(error, where)
    assert (name, section["recipe"], len(section["steps"])) == (best, best, 2)
    assert section["failed"] == [{"recipe": f"r{where}", "reason": reason}]
    assert f" The recipe 'r{where}' failed: {reason.rstrip('.')}. More pictures" in section["verdict"]


def test_fine_tuning_that_brought_nothing_is_said() -> None:
    made = [Made(recipe("default")), Made(recipe("best"), True), Made(recipe("finetune"), True)]
    left = iter(made)
    chosen, section = climb([item.recipe for item in made], lambda item: (next(left), EQUAL), 0.005, "engine", True)
    assert chosen is made[0]
    assert "to judge it: 'best' and 'finetune' gave what came before it. More pictures" in section["verdict"]


def test_the_first_step_that_fails_ends_the_climb() -> None:
    with pytest.raises(CalibrationError, match="no grid"):
        failing(CalibrationError("no grid"), 0)


def test_an_interrupt_stops_a_climb_that_has_a_result() -> None:
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt(), 2)


# What is asked for


def request(model: Path, **changes: object) -> Request:
    source = open_model(str(model))
    return replace(Request(source, source.expects, ("rpi",), Frames([np.zeros((4, 4, 3), np.uint8)])), **changes)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return onnx_files.write(tmp_path / "net.onnx")


def test_what_is_tried(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "ladder", lambda: ["fast", "default"])
    asked = request(small)

    def names(**changes: object) -> list[str]:
        return [item.name for item in planned(replace(asked, **changes))]

    assert names() == ["default"]
    assert names(recipe="fast") == ["fast"]
    assert names(max_drop=0.01, evaluation=tmp_path) == ["fast", "default"]
    assert names(max_drop=0.01, evaluation=tmp_path, recipe="default") == ["default"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluation": None}, "needs pictures to measure it on: give them with --eval DIR"),
        ({"max_drop": 0.0}, "more than 0 and less than 100, e.g. 0.5; got 0."),
        ({"max_drop": 1.0}, "got 100."),
        ({"max_drop": float("nan")}, "got nan."),
        ({"recipe": "fats"}, "unknown recipe 'fats'. Did you mean 'fast'"),
        ({"recipe": "default"}, "recipe 'default' is no step of the ladder that --max-drop climbs: fast."),
    ],
)
def test_budgets_that_cannot_be(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], says: str
) -> None:
    monkeypatch.setattr(budget, "ladder", lambda: ["fast"])
    with pytest.raises(OptionError, match=says):
        planned(replace(request(small, max_drop=0.01, evaluation=tmp_path), **changes))
