"""``edgecnn replay``: judge a recorded event once more."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgecnn.runtime.loop.replay import Recording, Repeated

EXAMPLES = (
    "edgecnn replay events/20261122T235313.193Z-000176-REJECT tile-rpi",
    "edgecnn replay events/20261122T235313.193Z-000176-REJECT tile-v2 --engine reference --json",
)


def command(
    clip: Annotated[Path, typer.Argument(help="An event's folder, as --sink recorder:DIR writes it.")],
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    engine: Annotated[str | None, typer.Option(help="Another engine than the bundle's own.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Judge a recorded event once more, from what the model saw: it must say the same, bit for bit.

    Exit code 0 if every moment is as it was, 1 if one is not: another bundle, engine or version decides otherwise.
    """
    from edgecnn.runtime.loop.replay import Recording, replay
    from edgecnn.runtime.model import load

    recording = Recording.read(clip)
    with load(bundle, engine) as model:
        found = replay(model, recording)
        same_bundle = recording.record["bundle"]["model_sha256"] == model.manifest.provenance.model_sha256
    if as_json:
        console.emit_json({"moments": [dataclasses.asdict(item) for item in found], "same": _same(found)})
    else:
        _show(recording, found, same_bundle)
    if not _same(found):
        changed = sum(bool(item.differs) for item in found)
        raise VerificationError(f"{changed} of {len(found)} moments are not what they were.")


def _same(found: Sequence[Repeated]) -> bool:
    return not any(item.differs for item in found)


def _show(recording: Recording, found: Sequence[Repeated], same_bundle: bool) -> None:
    rows = []
    for moment, item in zip(recording.moments, found, strict=True):
        before, score = moment["verdict"] or "-", moment["score"]
        compared = "all" if item.whole else "the model alone"
        shown = "-" if score is None else f"{score:.3f}"
        rows.append((str(item.number), moment["time"], before, item.verdict or "-", shown, compared, _verdict(item)))
    columns = (">turn", "time", "was", "is", ">score", "compared", "")
    console.table(f"{recording.record['verdict']} from {recording.record['source']}", columns, rows)
    if not same_bundle:
        console.note(f"recorded with another model: {recording.record['bundle']['name']}")
    whole = sum(item.whole for item in found)
    console.note(f"{len(found)} moments, {whole} compared whole, {len(found) - whole} only in what the model said")


def _verdict(item: Repeated) -> str:
    return f"differs: {', '.join(item.differs)}" if item.differs else "same"
