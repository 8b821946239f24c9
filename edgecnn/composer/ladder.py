"""The ladder in practice: quantise with a recipe, run the result on the bundle's own engine, and count decisions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgecnn.composer import budget
from edgecnn.composer.budget import Tally
from edgecnn.composer.contract import manifest_of, open_artefact
from edgecnn.composer.evaluate import float_run
from edgecnn.composer.lowering import lower_for
from edgecnn.composer.request import Progress, Rung, Work
from edgecnn.composer.rung import quantise_with
from edgecnn.errors import DataError
from edgecnn.integer_graph import Array
from edgecnn.manifest import Manifest
from edgecnn.recipe import Recipe
from edgecnn.report.document import BudgetSection
from edgecnn.runtime.evaluation.labelled import Labelled
from edgecnn.runtime.evaluation.observe import Observer, Run, read_pictures, run_of
from edgecnn.vision.tiling import tiled


class Ladder:
    """Tries recipes on one model.

    Args:
        work: The folded model; it is left as it is.
        pictures: What to count decisions about, at least one; see `budget.countable`.
        scratch: Folder for artefacts; nothing stays in it.
        progress: Told of every step.
    """

    def __init__(self, work: Work, pictures: Sequence[Labelled], scratch: Path, progress: Progress) -> None:
        self._work, self._pictures, self._scratch, self._progress = work, pictures, scratch, progress
        self._engine = work.profiles[0].engine
        self._float = tiled(float_run(work.original, work.entry), work.preprocess.tiling)
        self._known: dict[Path, Sequence[Array]] = {}

    def climb(self, max_drop: float) -> tuple[Rung, BudgetSection]:
        """Return what `budget.climb` does with the recipes of the work."""
        labelled = self._pictures[0].label is not None
        return budget.climb(self._work.recipes, self._attempt, max_drop, self._engine, labelled)

    def _attempt(self, recipe: Recipe) -> tuple[Rung, Tally]:
        def named(stage: str, steps: int | None) -> None:
            self._progress(f"{recipe.name}: {stage}", steps)

        rung = quantise_with(self._work, recipe, named)
        named("lowering", 1)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            files = lower_for(self._work, self._engine, rung.quantised.graph, Path(folder))
            manifest = manifest_of(self._work, rung, {self._engine: files})
            with open_artefact(manifest, self._engine, files[0]) as loaded:
                return rung, self._count(manifest, tiled(run_of(loaded), self._work.preprocess.tiling), named)

    def _count(self, manifest: Manifest, run: Run, progress: Progress) -> Tally:
        """Run the float model too, but only once a picture: its outputs are few numbers, and stay in memory."""
        observer, skipped = Observer(manifest), list[str]()
        for picture in read_pictures(self._pictures, self._work.preprocess, skipped):
            progress("evaluating", len(self._pictures))
            if picture is None:
                continue
            path = picture.item.path
            if path not in self._known:
                self._known[path] = self._float(picture.frame)
            observer.add(picture, run(picture.frame), self._known[path])
        if not observer.rows:
            raise DataError(f"no picture to evaluate on can be used, the first: {skipped[0]}")
        return budget.tally(observer.rows)
