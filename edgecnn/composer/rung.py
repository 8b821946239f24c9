"""One recipe applied to the model: a rung of the ladder, or all that there is."""

from __future__ import annotations

from edgecnn.composer.decision_range import needed_ranges
from edgecnn.composer.request import Progress, Rung, Work
from edgecnn.errors import CalibrationError
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import Recipe


def quantise_with(work: Work, recipe: Recipe, progress: Progress) -> Rung:
    """Quantise a copy of the float graph: a recipe may rewrite it, and the next one shall begin where this one did.

    Args:
        work: The folded model.
        recipe: The recipe.
        progress: Told of every step.

    Raises:
        CalibrationError: If nothing was left to calibrate on, or no grid can hold what was seen.
        DataError: If not one calibration frame could be read.
    """
    calibration = work.calibration
    steps = {"calibrating": calibration.count(recipe.samples)}
    model, frames = work.request.source.model.clone(), calibration.walk(recipe.samples)
    needed = needed_ranges(work.request.expects, work.meanings)
    try:
        quantised = quantise(model, frames, recipe, lambda stage: progress(stage, steps.get(stage)), needed)
    except CalibrationError as error:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in calibration.skipped[:3])
        raise CalibrationError(f"{error} ({reasons})" if reasons else str(error)) from error
    health, golden = calibration.gatherer.reference(), tuple(calibration.golden.frames)
    return Rung(recipe, model, quantised, calibration.digest, tuple(calibration.skipped), health, golden)
