from __future__ import annotations

import pytest

from edgecnn.proof import EQUIVALENT, EXACT, FAILED, SKIPPED, Limits, worst


def test_one_word_holds_for_all() -> None:
    assert worst([]) == worst([SKIPPED]) == SKIPPED
    assert worst([EXACT, SKIPPED]) == EXACT
    assert worst([EXACT, EQUIVALENT, EXACT]) == EQUIVALENT
    assert worst([EQUIVALENT, FAILED, SKIPPED]) == FAILED


@pytest.mark.parametrize(
    "wrong",
    [("", 1.0, 0.99, 1), ("why", 0.0, 0.99, 1), ("why", 1.0, 1.01, 1), ("why", 1.0, 0.99, 0)],
)
def test_limits_that_limit_nothing(wrong: tuple[str, float, float, int]) -> None:
    with pytest.raises(ValueError, match="must say why, have shares above 0 and up to 1, and 1 step or more, got"):
        Limits(*wrong)
