"""A bundle, checked, loaded and proven, as one call: frame in, result out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgecnn.boundary import boundary
from edgecnn.errors import BundleError, EngineError, OptionError, VerificationError, unknown_name
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import EngineEntry, Manifest
from edgecnn.proof import FAILED, SKIPPED, Limits
from edgecnn.runtime import engines, processor, trial
from edgecnn.runtime.bundle import Bundle, Golden, whole
from edgecnn.runtime.closing import Closing
from edgecnn.runtime.compare import compare
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.lanes.ego import ego
from edgecnn.vision.preprocess import Geometry, Preprocess
from edgecnn.vision.results import Output, Result
from edgecnn.vision.tasks import decoder

if TYPE_CHECKING:
    from edgecnn.runtime.loop.loop import Loop, LoopSettings
    from edgecnn.runtime.sources import Source

Array = npt.NDArray[np.generic]
Image = npt.NDArray[np.uint8]

REFERENCE = "reference"
SELF_TEST_FRAMES = 8
"""Golden frames that `load` repeats; ``edgecnn verify`` repeats all."""
SELF_TESTS = {"on": True, "off": False, "exact": True, "decisions": True}
"""Whether the golden frames are compared. The last two are older words; ``"decisions"`` compared less."""
CLOSE_SECONDS = 2.0
"""Longest that `Model.close` waits for an inference that another thread is in."""


class Model(Closing):
    """A loaded bundle. A context manager.

    Any thread may call it, one inference runs at a time; any thread may close it.

    Attributes:
        manifest: The bundle's contract.
        engine_name: The engine that runs it.
        preprocess: What brings frames to the model's size.
        reference: What the calibration frames looked like; None where the bundle does not say.
        proof: What the self-test found: ``"exact"`` or ``"equivalent"`` (see `edgecnn.proof`), ``"skipped"`` without.
    """

    def __init__(self, bundle: Bundle, entry: EngineEntry, engine: engines.Engine) -> None:
        self.manifest = bundle.manifest
        self.engine_name = entry.name
        self.preprocess = Preprocess.for_input(bundle.manifest.input)
        self.reference: Reference | None = None
        self.proof = SKIPPED
        self._bundle = bundle
        self._engine = engine
        self._decode = decoder(bundle.manifest)
        self._running = threading.Lock()
        self._closed = False

    def __call__(self, frame: Image) -> Result:
        """Run the model on one frame of any size.

        Args:
            frame: uint8, (H, W, 3) BGR or (H, W) grey; (H, W, C) for models with other channels.

        Returns:
            The decision of the bundle's task, and all outputs.

        Raises:
            DataError: If the frame cannot be used.
            EngineError: If the engine fails, or the model was closed.
        """
        return self.infer(self.prepare(frame), frame.shape)

    def prepare(self, frame: Image) -> Image:
        """Bring a frame to what the model sees: a new array, uint8 (1, H, W, C).

        H and W are the model's. Of a bundle that sees pictures in tiles they are those of the whole picture, and a
        frame that is large enough is not copied.

        Raises:
            DataError: If the frame cannot be used.
        """
        if self.preprocess.tiling is not None:
            return self.preprocess(frame)[None]
        tensor = np.empty(self.manifest.input.tensor.shape, np.uint8)
        self.preprocess(frame, out=tensor[0])
        return tensor

    def infer(self, tensor: Image, frame_shape: tuple[int, ...] | None = None) -> Result:
        """Run the model on what `prepare` returned.

        Args:
            tensor: uint8 (1, H, W, C).
            frame_shape: Shape of the frame that it was made from: regions and lanes are in pixels of this frame, or
                without it in pixels of the model's picture.

        Raises:
            EngineError: If the engine fails, or the model was closed.
        """
        arrays = self.run(tensor)
        outputs = tuple(Output(contract, array) for contract, array in zip(self.manifest.outputs, arrays, strict=True))
        decision = self._decode(outputs)
        if frame_shape is not None:
            decision = decision.to_frame(self.preprocess.geometry(frame_shape[0], frame_shape[1]))
            if decision.lanes:
                decision = replace(decision, ego=ego(decision.lanes, (frame_shape[1], frame_shape[0])))
        return Result(decision, outputs)

    def run(self, tensor: Image) -> list[Array]:
        """Run the engine on what `prepare` returned; integers in, integers out.

        Of a picture that is seen in tiles, maps are put together and vectors are one row a tile.

        Raises:
            EngineError: If the tensor does not fit, the engine fails, or the model was closed.
        """
        with self._running:
            if self._closed:
                raise EngineError("the model was closed.")
            tiling = self.preprocess.tiling
            if tiling is None:
                return self._engine.run([tensor])
            return tiling.run(lambda tile: self._engine.run([tile[None]]), tensor[0])

    def watch(
        self,
        source: str | int | Path | Source,
        *,
        every: str | None = None,
        sinks: Sequence[str] = (),
        alarms: Sequence[str] = (),
        settings: LoopSettings | None = None,
    ) -> Loop:
        """Watch a camera, stream, file or folder: an iterator of observations that ends with the source, or never.

        Args:
            source: An address (``"rtsp://cam/1"``, ``"video.mp4"``, ``0``), or an object with open, read and close.
            every: ``"latest"``: the newest frame counts and others are dropped and counted; ``"frame"``: every frame
                counts and the source waits. None for what suits the source: cameras latest, files every frame.
            sinks: Addresses of where verdicts go to, e.g. ``"mqtt://broker/line-3"``.
            alarms: Addresses of sinks that are told while the source or a sink is lost; see `Loop.add_alarm`.
            settings: All else; see `LoopSettings`.

        Raises:
            OptionError: If an address or option is not understood.
            SinkError: If a sink needs something that is not installed.
        """
        from edgecnn.runtime.loop.loop import Loop

        return Loop.of(self, source, every=every, sinks=sinks, alarms=alarms, settings=settings)

    def geometry(self, frame: Image) -> Geometry:
        """Return how the frame lies in the model's picture, to map coordinates back."""
        return self.preprocess.geometry(frame.shape[0], frame.shape[1])

    def close(self) -> None:
        """Release the engine and what was unpacked, after the inference that runs. A second call does nothing."""
        finished = self._running.acquire(timeout=CLOSE_SECONDS)
        self._closed = True
        if finished:
            self._running.release()
            self._engine.close()
        self._bundle.close()


def load(bundle: str | Path, engine: str | None = None, threads: int | None = None, self_test: str = "on") -> Model:
    """Check a bundle, load its engine, warm it up and repeat the proof on a few golden frames.

    Args:
        bundle: The bundle's folder or ``.zip``.
        engine: Another engine than the bundle's own: one that the manifest names, or ``"reference"`` (plain numpy).
        threads: Threads for one inference, None for one per usable processor.
        self_test: ``"on"``: the engine must be EXACT on these frames, or EQUIVALENT where its target says that it
            cannot be, as `edgecnn verify` asks; ``"exact"`` and ``"decisions"``, older words, mean the same. ``"off"``:
            whatever it gives is taken.

    Raises:
        BundleError: If the bundle is damaged, edited, hostile or of another version.
        OptionError: If the bundle has nothing for this engine, or ``self_test`` is none of these.
        DataError: If the bundle does not say what its task needs to read the outputs.
        MissingEngineError: If the engine is not installed; the message says how to get it.
        EngineError: If the engine cannot load or run the model.
        VerificationError: If the proof FAILED.
    """
    if self_test not in SELF_TESTS:
        raise OptionError(f"self_test must be on or off, got '{self_test}'.")
    return whole(Path(bundle), lambda: _load(bundle, engine, threads, self_test))


def _load(bundle: str | Path, engine: str | None, threads: int | None, self_test: str) -> Model:
    opened = Bundle.open(bundle)
    try:
        entry = choose_entry(opened.manifest, engine)
        model = Model(opened, entry, load_entry(opened, entry, threads))
        try:
            if opened.manifest.health is not None:
                model.reference = Reference.load(opened.path_of(opened.manifest.health))
            _warm_up(model, entry, opened.golden(), self_test)
        except BaseException:
            model.close()
            raise
        return model
    except BaseException:
        opened.close()
        raise


def choose_entry(manifest: Manifest, engine: str | None) -> EngineEntry:
    """Return the entry of the engine called ``engine``, the bundle's own for None.

    Raises:
        OptionError: If the bundle has nothing for it.
    """
    if engine is None:
        return manifest.engines[0]
    entries = {entry.name: entry for entry in reversed((*manifest.engines, reference_entry(manifest)))}
    if engine not in entries:
        raise unknown_name("engine of this bundle", engine, entries)
    return entries[engine]


def reference_entry(manifest: Manifest) -> EngineEntry:
    """Return the entry of the reference engine, which every bundle can run on."""
    return EngineEntry(REFERENCE, "any", (manifest.graph,))


def limits_for(entry: EngineEntry, engine: engines.Engine) -> Limits | None:
    """Return what suffices for an engine: None where every integer must be equal, as on every CPU."""
    return None if engine.exact else entry.equivalent


def load_entry(bundle: Bundle, entry: EngineEntry, threads: int | None = None, tried: bool = False) -> engines.Engine:
    """Load one artefact of a bundle with its engine; see `edgecnn.runtime.engines.load`.

    Args:
        bundle: Opened.
        entry: The artefact.
        threads: Threads for one inference.
        tried: Whether it is our own work, or this process is there to try it: else `edgecnn.runtime.trial` comes first.

    Raises:
        BundleError: If the artefact did not survive its trial.
        EngineError: If it cannot be loaded.
    """
    if not tried and entry.name != REFERENCE:
        trial.survive(bundle, entry, threads)
    manifest = bundle.manifest
    outputs = [output.tensor for output in manifest.outputs]
    path, graph = bundle.path_of(entry.files[0]), bundle.path_of(manifest.graph)
    wide = engines.wide_pairs(lambda: IntegerGraph.load(graph))
    return engines.load(entry.name, path, [manifest.input.tensor], outputs, threads, wide)


def run_frames(engine: engines.Engine, frames: Image) -> list[Array]:
    """Run an engine on each of (N, H, W, C) frames and return one array (N, ...) per output."""
    rows: Sequence[list[Array]] = [engine.run([frames[index : index + 1]]) for index in range(len(frames))]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _warm_up(model: Model, entry: EngineEntry, golden: Golden, self_test: str) -> None:
    """Run the first golden frames and, unless ``self_test`` is off, compare.

    Raises:
        VerificationError: If the proof FAILED.
    """
    frames = golden.frames[:SELF_TEST_FRAMES]
    # Outputs without a batch axis (detectors have them) take several rows a frame.
    expected = [output[: len(output) // len(golden.frames) * len(frames)] for output in golden.outputs]
    got = run_frames(model._engine, frames)
    if not SELF_TESTS[self_test]:
        return
    with boundary(BundleError, "the golden outputs cannot be judged"):
        found = compare(model.manifest, expected, got, limits_for(entry, model._engine))
    if found.status == FAILED:
        raise VerificationError(
            f"the proof FAILED: {entry.name} on this processor ({processor.here()}): {found.reason}. "
            f"See: edgecnn verify {model._bundle.folder}"
        )
    model.proof = found.status
