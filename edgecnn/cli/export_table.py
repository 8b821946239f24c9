"""What ``edgecnn export`` shows of its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.cli import console

if TYPE_CHECKING:
    from edgecnn.report.document import BudgetSection, EngineProof, FidelitySection, Report


def show(folder: Path, report: Report) -> None:
    """Print the bundle's files, the proof, and what INT8 costs."""
    rows = [
        (item["file"], item["target"], item["engine"], f"{item['bytes'] / 1e6:.2f} MB") for item in report["artefacts"]
    ]
    console.say(f"{folder}")
    console.table("", ("file", "target", "engine", ">size"), rows)
    columns = ("engine", ">equal", ">largest LSB", "proof")
    console.table(f"proof on {report['processor']}", columns, [_proof_row(item) for item in report["engines"]])
    if "fidelity" in report:
        _show_fidelity(report["fidelity"])
    if "budget" in report:
        _show_budget(report["budget"])
    if "accuracy" in report:
        _show_accuracy(report)
    for text in report["notes"]:
        console.note(f"note: {text}")
    console.say(f"Report: {folder / 'report.html'}")


def _proof_row(proof: EngineProof) -> tuple[str, ...]:
    word = f"{proof['status'].upper()}{proof['reason'] and ': '}{proof['reason']}"
    equal = min((item["equal"] for item in proof["outputs"]), default=None)
    return proof["engine"], "-" if equal is None else console.share(equal), str(proof["max_lsb"] or 0), word


def _show_fidelity(found: FidelitySection) -> None:
    rows = [
        (
            item["output"],
            "-" if item["sqnr_db"] is None else f"{item['sqnr_db']:.1f} dB",
            f"{item['low']:.4g} .. {item['high']:.4g}",
            "COLLAPSED" if item["collapsed"] else "",
        )
        for item in found["outputs"]
    ]
    console.table("INT8 beside float", ("output", ">signal to noise", "float range", ""), rows)
    same = "" if found["agreement"] is None else f"; {found['agreement']:.1%} of the decisions are float's"
    console.say(f"on {found['frames']} held-out calibration picture(s){same}")
    verdicts = found["verdicts"]
    if verdicts is not None:
        at = "" if verdicts["threshold"] is None else f" at the threshold {verdicts['threshold']:.4g}"
        console.say(
            f"float rejects {verdicts['rejected']} of them; INT8{at} lets {verdicts['escapes']} of these pass and "
            f"rejects {verdicts['false_rejects']} that float passes"
        )


def _show_budget(budget: BudgetSection) -> None:
    from edgecnn.report.budget import points, points_up

    rows: list[tuple[object, ...]] = [
        (
            step["recipe"],
            f"{step['agreement']:.2%}",
            step["lost"],
            step["gained"],
            points(step["drop"]),
            points_up(step["high"]),
            "yes" if step["holds"] else "no",
        )
        for step in budget["steps"]
    ]
    rows += [(step["recipe"], "-", "-", "-", "-", "-", "failed") for step in budget.get("failed", ())]
    kind = "" if budget["labelled"] else "; no labels, so every changed decision counts as lost"
    title = f"accuracy budget of {points(budget['max_drop'])} points, on {budget['engine']}{kind}"
    console.table(title, ("step", ">as float", ">lost", ">gained", ">drop", ">at most", "holds"), rows)
    if budget["holds"]:
        console.say(budget["verdict"])


def _show_accuracy(report: Report) -> None:
    found = report["accuracy"]
    share, top1 = found["agreement"], found["top1"]
    same = (
        ""
        if share is None
        else f", agreement with float {share['value']:.2%} ({share['low']:.1%} to {share['high']:.1%})"
    )
    right = "" if top1 is None else f", top-1 {top1['float']:.2%} float, {top1['int8']:.2%} INT8"
    noise = "" if found["sqnr_db"] is None else f", SQNR {found['sqnr_db']:.1f} dB"
    console.say(f"{found['images']} pictures{same}{noise}{right}")
    if "decisions" in report:
        console.say(report["decisions"]["verdict"])
