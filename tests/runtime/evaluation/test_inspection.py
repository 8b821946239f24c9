from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.inspection import inspection, retuned
from edgecnn.runtime.evaluation.section import PictureRow
from edgecnn.runtime.evaluation.statistics import paired_drop
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.runtime.evaluation.rows import part, row

DEFECT = tiny_manifest(tiny_graph(), "defect")


def test_escapes_and_false_rejects_are_counted() -> None:
    rows = [part(True, 0.9, 0.9), part(True, 0.8, 0.4), part(True, 0.2, 0.1), part(False, 0.1, 0.6)]
    found = inspection([*rows, row(None, "PASS", "REJECT")], DEFECT)

    assert found is not None
    assert (found["defective"], found["good"]) == (3, 1)
    assert found["float"] is not None
    assert [found["float"][key] for key in ("threshold", "escapes", "false_rejects")] == [0.5, 1, 0]
    assert [found["int8"][key] for key in ("threshold", "escapes", "false_rejects")] == [0.5, 2, 1]
    rate = found["int8"]["escape_rate"]
    assert rate is not None
    assert rate["low"] < rate["value"] < rate["high"]
    assert rate["value"] == pytest.approx(2 / 3)


def test_nothing_is_inspected_without_labels_or_thresholds(manifest: Manifest) -> None:
    assert inspection([row(None, "PASS", "PASS")], DEFECT) is None
    assert inspection([row("PASS", "PASS", "PASS")], manifest) is None


def test_a_kind_that_is_missing_has_no_rate() -> None:
    found = inspection([part(False, 0.1, 0.2)], DEFECT)
    assert found is not None
    assert found["int8"]["escape_rate"] is None
    assert found["int8"]["false_reject_rate"] is not None


def parts(defective: Sequence[tuple[float, float]], good: Sequence[tuple[float, float]]) -> list[PictureRow]:
    return [part(True, *scores) for scores in defective] + [part(False, *scores) for scores in good]


def test_a_threshold_that_keeps_the_operating_point_is_suggested() -> None:
    # INT8 scores everything 0.2 lower: at 0.5 all defects escape, at 0.4 none does and no good part is rejected.
    rows = parts([(0.6, 0.4)] * 60, [(0.3, 0.1)] * 60)
    found = inspection(rows, DEFECT)

    assert found is not None
    assert found["int8"]["escapes"] == 60
    assert found["suggested"] is not None
    assert found["suggested"]["threshold"] == pytest.approx(0.25)
    assert (found["suggested"]["escapes"], found["suggested"]["false_rejects"]) == (0, 0)
    assert "0.25 in place of 0.5" in found["advice"]
    assert "look at it on others before it is used" in found["advice"]


def test_a_good_threshold_stays() -> None:
    found = inspection(parts([(0.9, 0.8)] * 60, [(0.1, 0.2)] * 60), DEFECT)
    assert found is not None
    assert (found["suggested"], found["advice"][:29]) == (None, "The threshold may stay at 0.5")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            parts([(0.6, 0.4)] * 60, [(0.3, 0.1)] * 49),
            "Too few parts to say .* 60 defective and 49 good ones; at least 50",
        ),
        (parts([(0.4, 0.4)] * 60, [(0.3, 0.1)] * 60), "float itself lets every defective part pass"),
        ([*parts([(0.6, 0.4)] * 60, [(0.3, 0.1)] * 60), row("PASS", None, "PASS")], "not known for all labelled"),
    ],
)
def test_no_threshold_is_suggested_where_nothing_supports_it(rows: list[PictureRow], says: str) -> None:
    found = inspection(rows, DEFECT)
    assert found is not None
    assert found["suggested"] is None
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(found["advice"])


SCORES = st.lists(st.integers(0, 20).map(lambda step: step / 20), min_size=1, max_size=12)


@given(SCORES, SCORES, st.integers(0, 11), st.integers(0, 20))
def test_the_threshold_is_the_best_of_all(good: list[float], defective: list[float], allowed: int, step: int) -> None:
    allowed, present = min(allowed, len(defective) - 1), step / 20
    best = retuned(good, defective, allowed, present)

    def costs(threshold: float) -> tuple[int, int]:
        rejects, escapes = sum(score >= threshold for score in good), sum(score < threshold for score in defective)
        return rejects, escapes

    candidates = [index / 40 for index in range(-1, 44)]
    allowed_costs = [costs(item) for item in candidates if costs(item)[1] <= allowed]
    assert costs(best) == min(allowed_costs)
    assert costs(best)[1] <= allowed
    if costs(present) == min(allowed_costs):
        assert best == present


def test_a_threshold_needs_more_defective_parts_than_may_pass() -> None:
    with pytest.raises(ValueError, match="more than 2 defective"):
        retuned([0.1], [0.9, 0.8], 2, 0.5)


def test_how_much_worse_int8_is_on_the_same_parts() -> None:
    defective = [part(True, 0.9, 0.1)] * 3 + [part(True, 0.1, 0.9)] + [part(True, 0.9, 0.9)] * 6
    rows = [*defective, *[part(False, 0.1, 0.1)] * 5]
    found = inspection(rows, DEFECT)
    drop = paired_drop(3, 1, 10)
    assert found["more_escapes"] == {"value": pytest.approx(0.2), "low": drop.low, "high": drop.high}
    assert found["more_false_rejects"]["value"] == 0.0
    unknown = inspection([rows[0] | {"float": None}, *rows], DEFECT)
    assert unknown["more_escapes"] is None


def test_one_threshold_for_all_defects_is_named() -> None:
    manifest = replace(DEFECT, thresholds={}, decoding={"threshold": 0.25})
    assert inspection([part(True, 0.9, 0.1)], manifest)["int8"]["threshold"] == 0.25
