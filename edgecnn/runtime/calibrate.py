"""Learn on site what pictures of this camera look like, and keep it in the bundle: the model stays as it is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.arrays import write_npz
from edgecnn.errors import DataError
from edgecnn.runtime.bundle import Bundle, write_bundle
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.place import Box
from edgecnn.runtime.health.reference import ENOUGH, FILE, Reference
from edgecnn.runtime.loop.parts import PartSettings, Presence
from edgecnn.runtime.sources import NoFrame, Source
from edgecnn.vision.preprocess import Preprocess

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are learnt from.

    Attributes:
        frames: How many, at most.
        pause: Seconds between two of them; the frames between are read and dropped. For a source that is live.
        empty: The empty place, uint8 (H, W, 3) or (H, W): then only frames with a part in full view are taken.
        fill: Share of the picture that a part covers when it is in full view.
    """

    frames: int = 300
    pause: float = 0.0
    empty: Image | None = None
    fill: float = PartSettings.fill


def learn(
    source: Source,
    preprocess: Preprocess,
    selection: Selection,
    fixed: Box | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Reference:
    """Learn from the frames of a source.

    Args:
        source: Where they come from; opened and closed here.
        preprocess: What brings them to the model's size.
        selection: Which of them count.
        fixed: Left, top, width and height of a fixed patch of the scene, in pixels; None to look for one.
        progress: Told how many frames there are.

    Raises:
        SourceError: If the source cannot be read.
        DataError: If it gave too few frames, or the fixed patch is none.
    """
    gatherer, count = Gatherer(preprocess, fixed), 0
    for frame, tensor in _views(source, preprocess, selection):
        gatherer.add(tensor, frame.shape, frame)
        count += 1
        progress(count)
        if count == selection.frames:
            break
    reference = gatherer.reference()
    if reference is None or count < ENOUGH:
        kind = "frames" if selection.empty is None else "frames with a part in full view"
        raise DataError(f"the source gave {count} {kind}, at least {ENOUGH} are needed and 100 are better.")
    return reference


def _views(source: Source, preprocess: Preprocess, selection: Selection) -> Iterator[tuple[Image, Image]]:
    """Yield frames that count, each with what the model sees of it, until the source ends."""
    settings = PartSettings(fill=selection.fill, clear=min(PartSettings.clear, selection.fill / 2))
    presence = None if selection.empty is None else Presence(preprocess(selection.empty), settings)
    with closing(source):
        source.open()
        while (found := source.read()) is not None:
            if isinstance(found, NoFrame):
                continue
            tensor = preprocess(found.image)
            if presence is None or presence.is_full(presence.share(tensor[None])):
                yield found.image, tensor
                _wait(source, selection.pause)


def _wait(source: Source, seconds: float) -> None:
    """Let a live source go on: its frames are read, so that the next one is not from a buffer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and source.read() is not None:
        pass


def keep(path: Path, bundle: Bundle, reference: Reference) -> None:
    """Write a bundle again with what was learnt; all else in it stays.

    Args:
        path: Where: over the bundle itself, or elsewhere.
        bundle: The bundle, open.
        reference: What was learnt.

    Raises:
        BundleError: If it cannot be written; what was there is still there then.
    """
    manifest = replace(bundle.manifest, health=FILE, files={})
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as scratch:
        learnt = Path(scratch) / FILE
        write_npz(learnt, reference.arrays())
        files = {name: bundle.path_of(name) for name in bundle.manifest.files if name != bundle.manifest.health}
        write_bundle(path, manifest, files | {FILE: learnt}, overwrite=True)
