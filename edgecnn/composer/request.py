"""What is asked of a build, and what its stages hand on to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgecnn.composer.calibration import Calibration, Frame
from edgecnn.composer.source import Expectation, Source
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FloatRun
from edgecnn.passes.pipeline import Report as PassReport
from edgecnn.profile import TargetProfile
from edgecnn.quant.pipeline import Quantised
from edgecnn.recipe import Recipe
from edgecnn.runtime.health.reference import Reference
from edgecnn.vision.frames import Frames, Skipped
from edgecnn.vision.preprocess import Preprocess

Progress = Callable[[str, int | None], None]
"""Called with the name of the stage, once a step, and the number of steps where it is known."""
DEFAULT_RECIPE = "default"


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: The imported model; `build` changes its graph.
        expects: What the model expects, options of the user included.
        targets: Names of targets; the first is the bundle's own engine.
        calibration: Frames of any size.
        recipe: Name of a recipe, None for `DEFAULT_RECIPE`. With a budget: the step of the ladder to begin at, None for
            the first.
        evaluation: Folder of pictures to compare INT8 with float on, None for none.
        overwrite: Whether an existing bundle is replaced.
        max_drop: The accuracy budget: how much smaller the share of right decisions may become, between 0 and 1; None
            for no budget. See `edgecnn.composer.budget`.
        good: For inspections: the folders of pictures to evaluate on that hold sound parts; all others hold defective
            ones.
        drawn: Whether the calibration frames are drawn, or from another place: then they do not say what pictures of
            the camera look like.
    """

    source: Source
    expects: Expectation
    targets: tuple[str, ...]
    calibration: Frames
    recipe: str | None = None
    evaluation: Path | None = None
    overwrite: bool = False
    max_drop: float | None = None
    good: tuple[str, ...] = ()
    drawn: bool = False


@dataclass
class Work:
    """What the stages hand on to each other.

    Attributes:
        request: What to build.
        profiles: The targets' profiles.
        recipes: What to try, in this order: one recipe, or with a budget the steps of the ladder.
        preprocess: Brings frames to the model's size.
        calibration: The calibration frames.
        original: The float model as it was imported, ready to run; its outputs come in the layouts of the bundle.
        passes: What the passes did.
        folding_difference: Largest relative difference of the float outputs before and after the passes.
        entry: The pass that made the frame the input.
        meanings: What each output's values can be taken for, by its name; see `edgecnn.passes.reach`.
        notes: What the user should know.
    """

    request: Request
    profiles: list[TargetProfile]
    recipes: list[Recipe]
    preprocess: Preprocess
    calibration: Calibration
    original: FloatRun
    passes: PassReport
    folding_difference: float
    entry: FrameInput
    meanings: Mapping[str, str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rung:
    """What one recipe made of the model.

    Attributes:
        recipe: The recipe.
        model: The float graph as the recipe left it: what was quantised.
        quantised: The quantiser's result.
        digest: SHA-256 of the calibration frames that it read.
        skipped: The calibration frames that could not be used.
        health: What the calibration frames look like, None where no frame was read.
        golden: Calibration frames that are unlike each other, at the model's size; see `edgecnn.composer.golden`.
    """

    recipe: Recipe
    model: ir.Model
    quantised: Quantised
    digest: str
    skipped: tuple[Skipped, ...]
    health: Reference | None
    golden: tuple[Frame, ...]

    @property
    def tuned_in_vain(self) -> bool:
        """Whether the recipe has fine-tuned, but its result is the one without it."""
        return self.recipe.tuning_passes > 0 and not self.quantised.tuned and not self.quantised.obstacle
