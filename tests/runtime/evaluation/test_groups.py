from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.manifest import Manifest
from edgecnn.runtime.evaluation.groups import by_group, confusion
from edgecnn.runtime.evaluation.section import PictureRow
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.runtime.evaluation.rows import part


@pytest.fixture(scope="module")
def inspects() -> Manifest:
    """Labels good, scratch, dent, stain; one threshold."""
    return replace(tiny_manifest(tiny_graph(), "defect"), thresholds={}, decoding={"threshold": 0.5})


def named(kind: str, before: float, after: float, called: tuple[str, str] = ("", ""), source: str = "") -> PictureRow:
    row = part(kind not in ("good", "free"), before, after) | {"kind": kind}
    for which, name in zip(("float", "int8"), called, strict=True):
        if name:
            row[which] |= {"label": name}
    return row | {"source": source} if source else row


def test_every_kind_is_counted_by_itself() -> None:
    rows = [named("dent", 0.9, 0.9), named("dent", 0.9, 0.1), named("free", 0.1, 0.9), named("scratch", 0.9, 0.9)]
    dent, free, scratch = by_group([*rows, part(True, 0, 0)], "kind", 0.5)
    assert (dent["name"], dent["defective"], dent["good"]) == ("dent", 2, 0)
    assert (dent["float"]["escapes"], dent["int8"]["escapes"]) == (0, 1)
    assert dent["int8"]["escape_rate"]["value"] == 0.5
    assert (dent["int8"]["false_reject_rate"], dent["int8"]["threshold"]) == (None, 0.5)
    assert (free["name"], free["good"]) == ("free", 1)
    assert (free["int8"]["false_rejects"], free["float"]["false_rejects"]) == (1, 0)
    assert (scratch["name"], scratch["int8"]["escapes"]) == ("scratch", 0)


def test_sources_hold_both_kinds_and_one_is_no_group() -> None:
    rows = [
        named("dent", 0.9, 0.9, source="b"),
        named("good", 0.1, 0.1, source="a"),
        named("dent", 0.9, 0.1, source="a"),
    ]
    first, second = by_group(rows, "source")
    assert (first["name"], first["defective"], first["good"], first["int8"]["escapes"]) == ("a", 1, 1, 1)
    assert (second["name"], second["int8"]["escapes"]) == ("b", 0)
    assert by_group(rows[1:], "source") == []
    assert by_group([row | {"float": None} for row in rows], "source")[0]["float"] is None


def test_what_parts_are_called(inspects: Manifest) -> None:
    rows = [
        named("dent", 0.9, 0.9, ("dent", "stain")),
        named("dent", 0.9, 0.9, ("dent", "dent")),
        named("stain", 0.9, 0.1, ("stain", "")),
        named("fray", 0.9, 0.9, ("stain", "stain")),
        named("free", 0.1, 0.9, ("", "scratch")),
    ]
    found = confusion([*rows, part(True, 0.9, 0.9)], inspects)
    assert found["said"] == ["good", "scratch", "dent", "stain"]
    assert {row["kind"]: row["int8"] for row in found["rows"]} == {
        "dent": [0, 0, 1, 1],
        "fray": [0, 0, 0, 1],
        "free": [0, 1, 0, 0],
        "stain": [1, 0, 0, 0],
    }
    assert found["rows"][2]["float"] == [1, 0, 0, 0]
    # Frays are no kind of the model, and free parts no defects: 3 are left.
    assert (found["float"]["value"], found["int8"]["value"]) == (1.0, pytest.approx(1 / 3))


def test_float_that_is_not_known_is_said_so(inspects: Manifest) -> None:
    found = confusion([named("dent", 0.9, 0.9, ("", "dent")) | {"float": None}], inspects)
    assert (found["float"], found["rows"][0]["float"], found["int8"]["value"]) == (None, None, 1.0)


def test_models_that_tell_no_kinds_confuse_none(inspects: Manifest) -> None:
    rows = [named("scratch", 0.9, 0.9, ("scratch", "scratch"))]
    one = replace(inspects, thresholds={"scratch": 0.5}, decoding={})
    assert confusion(rows, one) is None
    assert confusion([named("fray", 0.9, 0.9)], inspects) is None
