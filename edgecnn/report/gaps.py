"""What a report must say beside its numbers: what was not measured, and what the numbers do not carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgecnn.proof import EQUIVALENT, FAILED
from edgecnn.report.document import Report
from edgecnn.runtime.evaluation.statistics import FEW_IMAGES

MISSING, WARNING, FAILURE = "missing", "warning", "failure"


@dataclass(frozen=True)
class Remark:
    """One sentence, and its kind: ``"missing"`` (not measured), ``"warning"`` or ``"failure"``."""

    kind: str
    text: str


def remarks(report: Report) -> list[Remark]:
    """Return everything that a reader must know before the numbers, failures first."""
    parts: tuple[Callable[[Report], Iterator[Remark]], ...] = (
        _proof,
        _accuracy,
        _calibration,
        _folds,
        _frame,
        _edge_tpu,
    )
    found = [remark for part in parts for remark in part(report)]
    return sorted(found, key=lambda remark: (FAILURE, WARNING, MISSING).index(remark.kind))


def _proof(report: Report) -> Iterator[Remark]:
    engines = report.get("engines", [])
    for engine in engines:
        if engine["status"] == FAILED:
            yield Remark(FAILURE, f"The proof FAILED on {engine['engine']}: {engine['reason'].rstrip('.')}.")
        elif engine["status"] == EQUIVALENT:
            yield Remark(WARNING, f"{engine['engine']} is EQUIVALENT, not EXACT: {engine['reason']}")
    ran = {engine["engine"] for engine in engines}
    if not ran:
        yield Remark(MISSING, "No engine has run the bundle: nothing here is proven. Run: edgecnn verify BUNDLE")
        return
    for item in report.get("artefacts", []):
        if item["engine"] not in ran:
            yield Remark(MISSING, f"{item['file']} was written but not run: {item['engine']} is not installed here.")


def _accuracy(report: Report) -> Iterator[Remark]:
    if "accuracy" not in report:
        if "decisions" in report:
            return
        yield Remark(
            MISSING,
            "How often INT8 decides as the float model does was not measured: no pictures were given with --eval.",
        )
        return
    accuracy = report["accuracy"]
    share = accuracy["agreement"]
    if share is None:
        yield Remark(MISSING, "The model's task decides nothing: how often INT8 decides as float does has no meaning.")
    elif accuracy["images"] < FEW_IMAGES:
        yield Remark(
            WARNING,
            f"Only {accuracy['images']} picture(s) were evaluated: the true agreement may be anywhere between "
            f"{share['low']:.1%} and {share['high']:.1%}. Give at least {FEW_IMAGES} with --eval.",
        )
    if accuracy["top1"] is None:
        yield Remark(MISSING, "Top-1 was not measured: the pictures have no labels.")
    if accuracy["sqnr_db"] is None:
        yield Remark(MISSING, "The signal-to-noise ratio of the outputs was not measured.")
    measured = {item["engine"] for item in accuracy["per_engine"]}
    for name in sorted({item["engine"] for item in report.get("artefacts", [])} - measured):
        yield Remark(MISSING, f"Accuracy on {name} was not measured.")


def _calibration(report: Report) -> Iterator[Remark]:
    if "calibration" not in report:
        yield Remark(MISSING, "Nothing is recorded of the calibration.")
        return
    skipped = report["calibration"]["skipped"]
    if skipped:
        shown = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        yield Remark(WARNING, f"{len(skipped)} calibration picture(s) could not be used: {shown}")


def _folds(report: Report) -> Iterator[Remark]:
    if "folds" not in report:
        return
    if report["folds"]["folded"] and report["folds"]["float_difference"] is None:
        yield Remark(MISSING, "The float outputs before and after folding were not compared.")
    if report["folds"]["unfolded"]:
        yield Remark(
            WARNING, f"{len(report['folds']['unfolded'])} batch norm(s) were not folded; the reasons are below."
        )


def _frame(report: Report) -> Iterator[Remark]:
    frame = report.get("frame")
    if frame is not None and frame["fallback"]:
        yield Remark(WARNING, f"The normalisation could not be folded into a first convolution: {frame['fallback']}")


def _edge_tpu(report: Report) -> Iterator[Remark]:
    rows = report.get("edge_tpu")
    if rows is None:
        if "coral" in report.get("targets", []):
            yield Remark(MISSING, "What maps on the Edge TPU was not judged.")
        return
    yield Remark(MISSING, "Edge TPU mapping is judged by published rules; only edgetpu_compiler has the last word.")
