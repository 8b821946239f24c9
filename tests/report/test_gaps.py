from __future__ import annotations

from edgecnn.report.gaps import Remark, remarks
from tests.report.documents import full, proof


def test_nothing_to_say_of_a_complete_report() -> None:
    assert remarks(full()) == []


def test_an_empty_report_says_what_was_not_measured() -> None:
    texts = [remark.text for remark in remarks({"schema": 1})]

    assert [remark.kind for remark in remarks({"schema": 1})] == ["missing"] * 3
    assert any("No engine has run the bundle" in text for text in texts)
    assert any("no pictures were given with --eval" in text for text in texts)


def test_few_images_are_a_warning_with_the_interval() -> None:
    report = full()
    report["accuracy"] |= {"images": 12, "agreement": {"value": 1.0, "low": 0.7575, "high": 1.0}}

    assert remarks(report) == [
        Remark(
            "warning",
            "Only 12 picture(s) were evaluated: the true agreement may be anywhere between 75.8% and 100.0%. "
            "Give at least 100 with --eval.",
        )
    ]
    report["accuracy"]["images"] = 100
    assert remarks(report) == []


def test_an_engine_that_did_not_run_is_named() -> None:
    report = full()
    report["artefacts"].append({"file": "model.tflite", "engine": "litert", "target": "coral", "bytes": 1})

    assert {remark.text for remark in remarks(report)} == {
        "model.tflite was written but not run: litert is not installed here.",
        "Accuracy on litert was not measured.",
    }


def test_a_failed_proof_comes_first() -> None:
    report = full()
    report["engines"].append(proof("openvino", "failed"))
    report["calibration"]["skipped"] = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    report["folds"]["unfolded"] = [{"batch_norm": "bn2", "reason": "another reader"}]
    found = remarks(report)

    assert [remark.kind for remark in found] == ["failure", "warning", "warning"]
    assert found[0].text == "The proof FAILED on openvino: output 'map' differs in 100 of 1000 integers, by up to 2."
    assert "4 calibration picture(s) could not be used: a.jpg, b.jpg, c.jpg, ..." in found[1].text


def test_what_is_not_exact_is_said() -> None:
    report = full()
    report["engines"].append(proof("litert", "equivalent") | {"reason": "It rounds otherwise."})
    (found,) = remarks(report)

    assert (found.kind, found.text) == ("warning", "litert is EQUIVALENT, not EXACT: It rounds otherwise.")


def test_missing_numbers_are_named_one_by_one() -> None:
    report = full()
    report["accuracy"] |= {"top1": None, "sqnr_db": None}
    report["folds"]["float_difference"] = None
    report["targets"] = ["coral"]

    assert [remark.text.split()[0] for remark in remarks(report)] == ["Top-1", "The", "The", "What"]


def test_an_edge_tpu_pre_flight_never_has_the_last_word() -> None:
    report = full()
    report["edge_tpu"] = [{"node": "conv1", "op": "Conv", "maps": True, "reason": "", "suggestion": ""}]

    assert "only edgetpu_compiler has the last word" in remarks(report)[0].text


def test_a_fall_back_for_the_frame_is_a_warning() -> None:
    report = full()
    report["frame"]["fallback"] = "the first layer is a MaxPool."

    assert remarks(report)[0].text.endswith("the first layer is a MaxPool.")
