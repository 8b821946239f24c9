"""A bundle, checked, loaded and proven, as one call: frame in, result out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from edgecnn.errors import VerificationError, unknown_name
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import EngineEntry, Manifest
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.compare import Acceptance, agreement
from edgecnn.runtime.processor import suspicion
from edgecnn.vision.preprocess import Geometry, Preprocess
from edgecnn.vision.results import Output, Result
from edgecnn.vision.tasks import decoder

Array = npt.NDArray[np.generic]
Image = npt.NDArray[np.uint8]

REFERENCE = "reference"
SELF_TEST_FRAMES = 8
"""Golden frames that `load` repeats; ``edgecnn verify`` repeats all."""


class Model:
    """A loaded bundle. Not for several threads at a time. A context manager.

    Attributes:
        manifest: The bundle's contract.
        engine_name: The engine that runs it.
        preprocess: What brings frames to the model's size.
    """

    def __init__(self, bundle: Bundle, entry: EngineEntry, engine: engines.Engine) -> None:
        self.manifest = bundle.manifest
        self.engine_name = entry.name
        self.preprocess = Preprocess.for_input(bundle.manifest.input)
        self._bundle = bundle
        self._engine = engine
        self._decode = decoder(bundle.manifest.task)
        self._tensor = np.empty(bundle.manifest.input.tensor.shape, np.uint8)

    def __call__(self, frame: Image) -> Result:
        """Run the model on one frame of any size.

        Args:
            frame: uint8, (H, W, 3) BGR or (H, W) grey; (H, W, C) for models with other channels.

        Returns:
            The decision of the bundle's task, and all outputs.

        Raises:
            DataError: If the frame cannot be used.
            EngineError: If the engine fails.
        """
        self.preprocess(frame, out=self._tensor[0])
        arrays = self.run(self._tensor)
        outputs = tuple(Output(contract, array) for contract, array in zip(self.manifest.outputs, arrays, strict=True))
        return Result(self._decode(outputs, self.manifest), outputs)

    def run(self, tensor: Image) -> list[Array]:
        """Run the engine on a tensor (1, H, W, C) at the model's size; integers in, integers out.

        Raises:
            EngineError: If the tensor does not fit, or the engine fails.
        """
        return self._engine.run([tensor])

    def geometry(self, frame: Image) -> Geometry:
        """Return how the frame lies in the model's picture, to map coordinates back."""
        return self.preprocess.geometry(frame.shape[0], frame.shape[1])

    def close(self) -> None:
        """Release the engine and what was unpacked. A second call does nothing."""
        self._engine.close()
        self._bundle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(bundle: str | Path, engine: str | None = None, threads: int | None = None) -> Model:
    """Check a bundle, load its engine, warm it up and repeat the proof on a few golden frames.

    Args:
        bundle: The bundle's folder or ``.zip``.
        engine: Another engine than the bundle's own: one that the manifest names, or ``"reference"`` (plain numpy).
        threads: Threads for one inference, None for one per usable processor.

    Raises:
        BundleError: If the bundle is damaged, edited, hostile or of another version.
        OptionError: If the bundle has nothing for this engine.
        MissingEngineError: If the engine is not installed; the message says how to get it.
        EngineError: If the engine cannot load or run the model.
        VerificationError: If the engine does not decide as it should on the golden frames.
    """
    opened = Bundle.open(bundle)
    try:
        entry = choose_entry(opened.manifest, engine)
        model = Model(opened, entry, load_entry(opened, entry, threads))
        try:
            _self_test(model, opened.golden())
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


def load_entry(bundle: Bundle, entry: EngineEntry, threads: int | None = None) -> engines.Engine:
    """Load one artefact of a bundle with its engine; see `edgecnn.runtime.engines.load`."""
    manifest = bundle.manifest
    outputs = [output.tensor for output in manifest.outputs]
    path = bundle.path_of(entry.files[0])
    return engines.load(entry.name, path, [manifest.input.tensor], outputs, threads, entry.settings)


def run_frames(engine: engines.Engine, frames: Image) -> list[Array]:
    """Run an engine on each of (N, H, W, C) frames and return one array (N, ...) per output."""
    rows: Sequence[list[Array]] = [engine.run([frames[index : index + 1]]) for index in range(len(frames))]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _self_test(model: Model, golden: Golden) -> None:
    """Run the first golden frames; the engine is warm afterwards.

    Raises:
        VerificationError: If too many decisions are not the expected ones.
    """
    frames = golden.frames[:SELF_TEST_FRAMES]
    # Outputs without a batch axis (detectors have them) take several rows a frame.
    expected = [output[: len(output) // len(golden.frames) * len(frames)] for output in golden.outputs]
    found = agreement(model.manifest, expected, run_frames(model._engine, frames), Acceptance())
    if not found.passed:
        graph = IntegerGraph.load(model._bundle.path_of(model.manifest.graph))
        cause = suspicion(model.engine_name, graph) or f"See: edgecnn verify {model._bundle.folder}"
        raise VerificationError(
            f"the self-test failed: {model.engine_name} agrees with the golden outputs in {found.share:.1%} "
            f"({found.kind}). {cause[0].upper()}{cause[1:]}"
        )
