"""What is asked of a build, and what its stages hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecnn.composer.source import Expectation, Source
from edgecnn.integer_graph import Array
from edgecnn.passes.float_difference import FloatModel
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.pipeline import Report as PassReport
from edgecnn.profile import TargetProfile
from edgecnn.recipe import Recipe
from edgecnn.vision.frames import Frames
from edgecnn.vision.preprocess import Preprocess

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: The imported model; `build` changes its graph.
        expects: What the model expects, options of the user included.
        targets: Names of targets; the first is the bundle's own engine.
        calibration: Frames of any size.
        recipe: Name of a recipe.
        evaluation: Folder of pictures to compare INT8 with float on, None for none.
        overwrite: Whether an existing bundle is replaced.
    """

    source: Source
    expects: Expectation
    targets: tuple[str, ...]
    calibration: Frames
    recipe: str = "default"
    evaluation: Path | None = None
    overwrite: bool = False


@dataclass
class Work:
    """What the stages hand on to each other.

    Attributes:
        request: What to build.
        profiles: The targets' profiles.
        recipe: The recipe.
        preprocess: Brings frames to the model's size.
        original: The float model as it was imported, ready to run.
        passes: What the passes did.
        folding_difference: Largest relative difference of the float outputs before and after the passes.
        entry: The pass that made the frame the input.
        golden: The first calibration frames at the model's size.
        notes: What the user should know.
    """

    request: Request
    profiles: list[TargetProfile]
    recipe: Recipe
    preprocess: Preprocess
    original: FloatModel
    passes: PassReport
    folding_difference: float
    entry: FrameInput
    golden: list[Frame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def restored(self, outputs: list[Array]) -> list[Array]:
        """Bring outputs of rank 4, which leave the graph as NHWC, back to the model's NCHW."""
        return [array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for array in outputs]
