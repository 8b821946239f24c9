"""``report.html``: one file that is readable offline, with no script and nothing from outside.

Everything that came from a model, a file name or a message is text, and the templates escape all text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgecnn import __version__
from edgecnn.proof import EQUIVALENT, EXACT, FAILED, SKIPPED, worst
from edgecnn.report import charts, decisions, inspection, sensitivity
from edgecnn.report.budget import points_up
from edgecnn.report.document import EdgeTpuRow, Report, check
from edgecnn.report.gaps import remarks
from edgecnn.report.mistakes import MistakePicture

FILE_NAME = "report.html"
LONG_TABLE = 40


def render(report: Report, pictures: Mapping[str, str] | None = None, mistakes: Sequence[MistakePicture] = ()) -> str:
    """Return the report as one HTML page.

    Args:
        report: The document of `edgecnn.report.document`; sections may be absent.
        pictures: Thumbnails of flipped pictures, by name; see `edgecnn.report.decisions.thumbnails`.
        mistakes: What INT8 has wrong, the worst first; see `edgecnn.report.mistakes`.

    Raises:
        BundleError: If it is not a report.
    """
    check(report)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=dict.fromkeys(Report.__annotations__) | report,
            version=__version__,
            remarks=remarks(report),
            verdict=_verdict(report),
            drawings=_drawings(report),
            decided=decisions.shown(report, pictures or {}),
            curves=inspection.roc_curves(report["decisions"]) if "decisions" in report else [],
            mistakes=mistakes,
            hurts=sensitivity.shown(report),
            tpu=_edge_tpu(report),
            long_table=LONG_TABLE,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edgecnn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "size": size, "decibels": decibels, "real": real}
    environment.filters |= {"points": points, "points_up": points_up, "combined": sensitivity.combined}
    return environment


def _verdict(report: Report) -> tuple[str, str]:
    """Return the badge's class and text: the worst word of all engines, and the processor that it holds for."""
    proofs = report.get("engines", [])
    word = worst(item["status"] for item in proofs)
    if word == SKIPPED:
        return "open", "not proven"
    failed = [item["engine"] for item in proofs if item["status"] == FAILED]
    written = {item["engine"] for item in (*proofs, *report.get("artefacts", []))}
    share = "" if len(written) == len(proofs) else f" of {len(written)}"
    where = ", ".join(failed) or f"{len(proofs)}{share} engine{'s' * (len(written) > 1)}"
    tone = {EXACT: "good", EQUIVALENT: "open", FAILED: "bad"}[word]
    return tone, f"{word.upper()} on {where} ({report.get('processor', 'processor unknown')})"


def _drawings(report: Report) -> dict[str, Any]:
    layers = report.get("layers", [])
    accuracy = report.get("accuracy")
    return {
        "macs": charts.shares(layers, "macs"),
        "parameters": charts.shares(layers, "parameters"),
        "ranges": charts.ranges(layers),
        "distances": [[charts.distances(item) for item in proof["outputs"]] for proof in report.get("engines", [])],
        "interval": None if accuracy is None or not accuracy["agreement"] else charts.interval(accuracy["agreement"]),
    }


def _edge_tpu(report: Report) -> dict[str, Any]:
    """Return one cell a node, and the nodes that something is to be said of, those with the same reason together."""
    rows = report.get("edge_tpu") or []
    first = next((index for index, row in enumerate(rows) if not row["maps"]), len(rows))
    remarkable = [row for row in rows if row["reason"] or not row["maps"]]
    groups: dict[tuple[str, str, str, bool], list[str]] = {}
    for row in remarkable:
        groups.setdefault((row["op"], row["reason"], row["suggestion"], row["maps"]), []).append(row["node"])
    return {
        "mapped": sum(row["maps"] for row in rows),
        "cells": [(_cell(row, index > first), _cell_text(row, index > first)) for index, row in enumerate(rows)],
        "groups": groups,
    }


def _cell(row: EdgeTpuRow, behind: bool) -> str:
    if not row["maps"]:
        return "off"
    return "behind" if behind else ("maybe" if row["reason"] else "on")


def _cell_text(row: EdgeTpuRow, behind: bool) -> str:
    why = row["reason"] or ("on the CPU, behind a node that does not map" if behind else "maps")
    return f"{row['op']} {row['node']}: {why}"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share as text, e.g. ``98.50 %``; a dash where it was not measured.

    What is not all of it never reads as 100 %.
    """
    if share is None:
        return "–"
    shown = f"{100 * share:.{digits}f}"
    if float(shown) == 100 and share < 1:
        return f"> {100 - 10**-digits:.{digits}f} %"
    return f"{shown} %"


def points(share: float) -> str:
    """Return a difference of shares in points of per cent, e.g. ``-0.50``."""
    # Adding 0.0 turns -0.0 into 0.
    return f"{round(100 * share, 2) + 0.0:.2f}"


def count(number: float | None) -> str:
    """Return a count with a decimal prefix, e.g. ``1.81 G``."""
    if number is None:
        return "–"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:g}"


def size(number: float) -> str:
    """Return bytes as text with a decimal prefix, e.g. ``3.4 MB``."""
    return f"{number:g} B" if number < 1000 else f"{count(number)}B"


def decibels(number: float | None) -> str:
    """Return decibels as text; a dash where they were not measured."""
    return "–" if number is None else f"{number:.1f} dB"


def real(number: float | None) -> str:
    """Return a real number in four significant digits; a dash where there is none."""
    # Adding 0.0 turns the -0.0 of a grid that begins at zero into 0.
    return "–" if number is None else f"{number + 0.0:.4g}"
