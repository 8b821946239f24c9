from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

from edgecnn.runtime.loop.observation import Part
from edgecnn.runtime.loop.record import alarm, as_record, as_summary, digest, time_text
from edgecnn.vision.results import Decision, Region, Result, Verdict
from tests.runtime.sinks.observations import (
    BLACK,
    INVALID,
    MANIFEST,
    PASS,
    REJECT,
    RUN,
    figures,
    judged,
    observed,
    result,
    turned,
)


def test_record_holds_everything_but_pictures() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    observation = judged(7, REJECT, result=result(), name="a.png", dropped=3, image=image, tensor=image[None])
    assert as_record(observation, RUN) == {
        "id": "20300317T174640.125Z-0123abcd-0000000007",
        "station": "line 3",
        "run": "20300317T174640.125Z-0123abcd",
        "bundle": MANIFEST.name,
        "bundle_sha256": hashlib.sha256(MANIFEST.dumps().encode()).hexdigest(),
        "time": "2030-03-17T17:46:47.125Z",
        "number": 7,
        "name": "a.png",
        "verdict": "REJECT",
        "state": "REJECT",
        "changed": False,
        "part": {"number": 7, "verdict": "REJECT", "frames": 3, "rejected": 2, "invalid": 0, "score": 0.75},
        "findings": [],
        "label": "scratch",
        "score": 0.75,
        "threshold": MANIFEST.threshold_of("scratch"),
        "scores": {"scratch": 0.75, "good": 0.25},
        "regions": [],
        "lanes": [],
        "ego": None,
        "age_ms": 12.5,
        "dropped": 3,
    }


def test_record_without_a_result_has_the_same_keys() -> None:
    record = as_record(observed(1, INVALID, state=None, findings=(BLACK,)), RUN)
    assert record.keys() == as_record(judged(1, result=result()), RUN).keys()
    assert (record["label"], record["score"], record["scores"], record["part"]) == (None, None, {}, None)
    assert record["findings"] == [{"kind": "black", "reason": BLACK.reason}]
    assert (record["verdict"], record["state"]) == ("INVALID", None)


def test_numbers_of_numpy_and_nan_become_json() -> None:
    decision = Decision("x", np.float32(0.5), {"x": np.float32(0.5), "y": math.nan})
    record = json.loads(json.dumps(as_record(observed(result=Result(decision, ())), RUN), allow_nan=False))
    assert record["score"] == 0.5
    assert record["scores"] == {"x": 0.5, "y": None}


def test_regions_are_rounded_to_a_tenth_of_a_pixel() -> None:
    polygon = np.array([[1.04, 2.0], [30.123456, 2.0], [30.0, 9.96]])
    decision = Decision("dent", 0.75, {}, Verdict.REJECT, regions=(Region("dent", 0.5, polygon, 100.26),))
    (region,) = json.loads(json.dumps(as_record(observed(result=Result(decision, ())), RUN)))["regions"]
    assert region == {
        "label": "dent",
        "score": 0.5,
        "box": [1.0, 2.0, 30.1, 10.0],
        "polygon": [[1.0, 2.0], [30.1, 2.0], [30.0, 10.0]],
        "area": 100.3,
    }


def test_summary_has_means_in_milliseconds() -> None:
    summary = json.loads(json.dumps(as_summary(figures()), allow_nan=False))
    assert summary["age_ms"] == 3000.75
    assert summary["inference_ms"] is None
    assert summary["verdicts"] == {"PASS": 270, "REJECT": 8, "INVALID": 2}
    assert [sink["delivered"] for sink in summary["sinks"]] == [5, 7]


@pytest.mark.parametrize(
    ("state", "changed", "part", "parts", "expected"),
    [
        (REJECT, True, None, False, REJECT),
        (REJECT, False, None, False, None),
        (INVALID, True, None, False, INVALID),
        (PASS, True, None, False, None),
        (None, True, None, False, None),
        (REJECT, True, None, True, None),
        (INVALID, True, None, True, INVALID),
        (REJECT, False, REJECT, True, REJECT),
        (PASS, False, PASS, True, None),
        (PASS, False, INVALID, True, INVALID),
        (INVALID, True, PASS, True, INVALID),
        (INVALID, True, REJECT, True, REJECT),
    ],
)
def test_alarm(
    state: Verdict | None, changed: bool, part: Verdict | None, parts: bool, expected: Verdict | None
) -> None:
    whole = None if part is None else Part(1, part, 1, 0, 0, None)
    assert alarm(observed(verdict=state, changed=changed, part=whole), parts) is expected


def test_digest_tells_integers_apart() -> None:
    assert digest(result(logits=(1, 2, 3, 4))) == digest(result(score=0.1, logits=(1, 2, 3, 4)))
    assert digest(result(logits=(1, 2, 3, 4))) != digest(result(logits=(1, 2, 3, 5)))


def test_time_is_utc_with_milliseconds() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000Z"
    assert as_record(turned(1, REJECT), RUN)["time"] == "2030-03-17T17:46:41.125Z"
