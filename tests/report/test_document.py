from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import BundleError
from edgecnn.report.document import check, dumps, read
from tests.report.documents import full


def test_a_full_report_and_an_empty_one_pass() -> None:
    assert check(full()) == full()
    assert check({"schema": 1}) == {"schema": 1}


def test_a_report_survives_the_disk_and_is_deterministic(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(dumps(full()), encoding="utf-8")
    backwards: Any = dict(reversed(full().items()))

    assert read(path) == full()
    assert dumps(backwards) == dumps(full())


def edited(*path: str | int, value: object) -> Any:
    document: Any = json.loads(dumps(full()))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "'the report' must be an object"),
        ({}, "the field 'schema' is missing"),
        (edited("schema", value=2), "'schema' must be 1, got 2"),
        (edited("surprise", value=1), "unknown field 'surprise'"),
        (edited("accuracy", "images", value=4.5), "'accuracy.images' must be an integer, got 4.5"),
        (edited("accuracy", "images", value=True), "'accuracy.images' must be an integer"),
        (edited("accuracy", "top1", value={"float": 0.5}), "the field 'accuracy.top1.int8' is missing"),
        (
            edited("accuracy", "agreement", "low", value=float("nan")),
            "'accuracy.agreement.low' must be a finite number",
        ),
        (edited("engines", 0, "status", value="pass"), "'engines[0].status' must be exact or equivalent or failed"),
        (
            edited("engines", 0, "outputs", 1, "histogram", value=["all"]),
            "'engines[0].outputs[1].histogram[0]' must be an integer",
        ),
        (edited("layers", 1, "shape", value=[1, "8"]), "'layers[1].shape[1]' must be an integer"),
        (edited("layers", value={}), "'layers' must be a list"),
        (edited("notes", value=[None]), "'notes[0]' must be text"),
    ],
)
def test_what_is_no_report_is_refused_by_field(document: Any, message: str) -> None:
    with pytest.raises(BundleError) as error:
        check(document)
    assert message in str(error.value)


def test_optional_fields_may_be_absent_or_null() -> None:
    document = full()
    del document["calibration"]["seconds"]
    document["accuracy"]["top1"] = None
    document["accuracy"]["sqnr_db"] = None
    document["layers"][0]["receptive_field"] = [3, 3]

    assert check(document) == document


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null"])
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BundleError):
        read(path)
    with pytest.raises(BundleError, match=r"absent\.json"):
        read(tmp_path / "absent.json")
