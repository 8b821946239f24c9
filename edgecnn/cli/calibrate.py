"""``edgecnn calibrate``: learn from the camera itself what its pictures look like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import OptionError

if TYPE_CHECKING:
    from edgecnn.runtime.health.place import Box
    from edgecnn.runtime.health.reference import Reference

EXAMPLES = (
    "edgecnn calibrate tile-rpi --source 0",
    "edgecnn calibrate tile-rpi --source 0 --empty belt.png --fill 0.98",
    "edgecnn calibrate tile-rpi --source line.mp4 --fixed 0,0,640,60 -o tile-line3",
)


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    source: Annotated[str, typer.Option(help="The camera that will be watched, or a video or folder of its pictures.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Another bundle to write; default: BUNDLE itself.")
    ] = None,
    frames: Annotated[int, typer.Option(min=20, help="How many frames to learn from, at most.")] = 300,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between two frames of a camera.")] = 0.2,
    empty: Annotated[
        Path | None, typer.Option(help="Picture of the empty place: only frames with a part in full view count.")
    ] = None,
    fill: Annotated[float, typer.Option(help="Share of the picture that a part covers in full view.")] = 0.8,
    fixed: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="A patch of the scene that never changes, in pixels: it tells whether the camera has moved. Default: "
            "found by itself, where there is one.",
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Learn on site what good pictures look like: sharpness, noise, light and where the camera looks.

    Let everything pass that belongs here, sound and defective parts alike, while the camera works as it should. Faults
    of known strength are put into the frames, and what would be found is said. The model and its integers stay as they
    are; Ctrl-C leaves the bundle as it was.
    """
    from edgecnn.runtime import calibrate
    from edgecnn.runtime.address import Address
    from edgecnn.runtime.bundle import Bundle
    from edgecnn.runtime.sources import module_for
    from edgecnn.vision.preprocess import Preprocess
    from edgecnn.vision.read import read_image

    address = Address.parse(source)
    opened = module_for(address).source(address)
    place = None if empty is None else read_image(empty)
    selection = calibrate.Selection(frames, pause if module_for(address).LIVE else 0.0, place, fill)
    with Bundle.open(bundle) as known:
        preprocess = Preprocess.for_input(known.manifest.input)
        with console.counting("learning", frames) as count:
            reference = calibrate.learn(opened, preprocess, selection, _box(fixed), count)
        calibrate.keep(output or bundle, known, reference)
    if as_json:
        console.emit_json({"bundle": str(output or bundle), "frames": reference.count, "finds": reference.finds})
    else:
        _show(output or bundle, reference)


def _box(text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"--fixed must be four whole numbers, left,top,width,height in pixels; got '{text}'."
        ) from error
    return left, top, width, height


def _show(path: Path, reference: Reference) -> None:
    from edgecnn.runtime.health.faults import FAULTS

    rows = [
        (name, "not found" if least is None else f"from {FAULTS[name].words.format(least)}")
        for name, least in reference.finds.items()
    ]
    console.table("what would be found", ("fault", "strength"), rows)
    if reference.place is not None:
        left, top, width, height = reference.place.box.tolist()
        wide = reference.place.size.tolist()[1]
        console.note(f"fixed patch: {width} x {height} at {left}, {top} of a picture {wide} wide")
    console.note(f"learnt from {reference.count} frames, written to {path}")
