from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.report.budget import points, points_up, verdict
from edgecnn.report.document import BudgetSection, BudgetStep, FailedStep, Report
from edgecnn.report.html import render
from tests.report.documents import full


def step(recipe: str, drop: float, high: float, holds: bool, needed: int | None = None) -> BudgetStep:
    return {
        "recipe": recipe,
        "images": 600,
        "agreement": 0.97,
        "lost": 7,
        "gained": 2,
        "drop": drop,
        "low": -0.001,
        "high": high,
        "holds": holds,
        "images_needed": needed,
    }


def section(*steps: BudgetStep, labelled: bool = True) -> BudgetSection:
    return {
        "max_drop": 0.005,
        "confidence": 0.95,
        "labelled": labelled,
        "engine": "onnxruntime",
        "recipe": steps[-1]["recipe"],
        "holds": steps[-1]["holds"],
        "verdict": verdict(steps[-1], 0.005, 0.95),
        "steps": list(steps),
    }


def page(budget: BudgetSection) -> str:
    report: Report = full() | {"budget": budget}
    return " ".join(render(report).split())


@pytest.mark.parametrize(("share", "text"), [(0.005, "0.5"), (0.05, "5"), (-0.0000001, "0"), (-0.0123, "-1.23")])
def test_points(share: float, text: str) -> None:
    assert points(share) == text


@pytest.mark.parametrize(("share", "text"), [(0.005, "0.5"), (0.00500001, "0.51"), (0.0103, "1.03"), (0.07, "7")])
def test_an_upper_end_is_rounded_up(share: float, text: str) -> None:
    assert points_up(share) == text


@given(st.floats(0, 1))
def test_an_upper_end_is_never_shown_smaller_than_it_is(share: float) -> None:
    assert share - 1e-9 <= float(points_up(share)) / 100 <= share + 1.1e-4


def test_what_holds_says_which_step_and_how_surely() -> None:
    assert verdict(step("best", 0.0008, 0.0042, True), 0.005, 0.95) == (
        "The recipe 'best' keeps the budget of 0.5 points: drop 0.08, at most 0.42 with 95% confidence "
        "(7 lost and 2 gained of 600 pictures)."
    )


def test_what_does_not_hold_says_what_could_help() -> None:
    few = verdict(step("best", 0.0033, 0.0091, False, 4021), 0.005, 0.95)
    assert "if these shares stay, 4021 would do. Give more with --eval, or allow --max-drop 0.91." in few
    much = verdict(step("best", 0.02, 0.0301, False), 0.005, 0.95)
    assert "Calibrate on more of the kind that is lost (--calibrate), or allow --max-drop 3.01." in much


def test_the_step_that_failed_is_named_in_the_verdict_and_on_the_page() -> None:
    failed = [FailedStep(recipe="finetune", reason="no <memory>.")]
    kept = verdict(step("default", 0.001, 0.0042, True), 0.005, 0.95, failed)
    assert kept.endswith("of 600 pictures). The recipe 'finetune' failed: no <memory>.")
    text = page(section(step("default", 0.02, 0.031, False)) | {"failed": failed})
    assert '<td>finetune</td><td colspan="6">no &lt;memory&gt;.</td><td><span class="badge small bad">failed<' in text


def test_the_page_shows_every_step() -> None:
    text = page(section(step("fast", 0.02, 0.031, False), step("default", 0.001, 0.00495, True)))
    assert 'Accuracy budget <span class="badge small good">kept</span>' in text
    assert "<td>fast</td>" in text
    assert "<td>default (this bundle)</td>" in text
    assert "-0.10 to 3.1<" in text
    assert "-0.10 to 0.5<" in text
    assert text.count('<span class="badge small bad">no</span>') == 1
    assert text.count('<span class="badge small good">yes</span>') == 1
    assert "not above 0.50 points: with 95 % confidence" in text
    assert "no labels" not in text


def test_the_page_says_that_a_budget_is_not_kept_and_what_counted() -> None:
    text = page(section(step("<b>", 0.02, 0.031, False), labelled=False))
    assert 'Accuracy budget <span class="badge small bad">not kept</span>' in text
    assert "every decision that INT8 changes counts as lost" in text
    assert "<td>&lt;b&gt; (this bundle)</td>" in text


def test_without_a_budget_there_is_nothing_of_it_on_the_page() -> None:
    assert "Accuracy budget" not in render(full())
