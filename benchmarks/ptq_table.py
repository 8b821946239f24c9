"""The table of ``ptq.py``: plain text for a terminal, Markdown for a document."""

from __future__ import annotations

import math
from typing import Any

Row = dict[str, Any]
HALVES = ("even", "odd", "all")
FIGURES = {"top1": "top-1, %", "agreement": "agreement, %", "sqnr_db": "SQNR, dB"}
NOTE = (
    "even: the half of the pictures that recipes may be tuned on (even rows of val.csv); odd: the other half.\n"
    "agreement: same top-1 as the float model. s, GB: the whole process. run by: the figures are the first engine's."
)


def plain(rows: list[Row]) -> str:
    """Return the table for a terminal."""
    groups = "".join(f"{title:^18}" for title in FIGURES.values())
    halves = "".join(f"{half:>6}" for half in HALVES) * len(FIGURES)
    lines = [f"{'':34}{groups}", f"{'quantiser':19}{'setting':15}{halves}{'s':>7}{'GB':>6}  run by"]
    for row in rows:
        cells = "".join(f"{_figure(row, half, name):>6}" for name in FIGURES for half in HALVES)
        cost = f"{row['seconds']:7.0f}{row['memory']:6.2f}" if "seconds" in row else " " * 13
        lines.append(f"{row['title']:19}{row['setting']:15}{cells}{cost}  {run_by(row)}")
    return "\n".join([*lines, NOTE])


def markdown(rows: list[Row]) -> str:
    """Return the table as Markdown: the half that nothing was tuned on, then all pictures."""
    titles = ("quantiser", "setting", *FIGURES.values(), "time", "peak memory", "run by")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_markdown_cells(row))} |" for row in rows)])


def _markdown_cells(row: Row) -> list[str]:
    setting = f"`{row['setting']}`: {row['says']}" if row["setting"] else row["says"]
    figures = [" / ".join(filter(None, (_figure(row, half, name) for half in ("odd", "all")))) for name in FIGURES]
    cost = [f"{row['seconds']:.0f} s", f"{row['memory']:.2f} GB"] if "seconds" in row else ["", ""]
    return [row["title"], setting, *figures, *cost, run_by(row)]


def brief(row: Row) -> str:
    """Return a row in a few words, for progress."""
    return f"{_figure(row, 'all', 'sqnr_db')} dB, {row.get('seconds', 0):.0f} s, {run_by(row)}"


def _first(row: Row) -> dict[str, Any] | None:
    """Return the figures of the first engine that ran the model."""
    return next((item for item in row.get("engines", {}).values() if isinstance(item, dict)), None)


def _figure(row: Row, half: str, name: str) -> str:
    """Return one figure as text; nothing where there is none, or where the float model is compared with itself."""
    found = _first(row)
    if found is None or (math.isinf(found[half]["sqnr_db"]) and name != "top1"):
        return ""
    return f"{found[half][name] * (1 if name == 'sqnr_db' else 100):.1f}"


def run_by(row: Row) -> str:
    """Return the engines, the first as it is, others as equal to it or with their own dB; or what failed."""
    if "failure" in row:
        return str(row["failure"])
    first, parts = _first(row), []
    for name, item in row["engines"].items():
        if isinstance(item, str):
            parts.append(f"{name} {item}")
        elif item is first:
            parts.append(name)
        else:
            parts.append(f"= {name}" if item == first else f"{name} {item['all']['sqnr_db']:.1f} dB")
    return ", ".join(parts)
