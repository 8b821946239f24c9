"""What is asked of the quantiser. Read from ``calibration/recipes/*.toml``; data, not code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn import settings
from edgecnn.errors import OptionError, unknown_name
from edgecnn.plugins import check_identifier, data_files, discover

OBSERVERS = "edgecnn.quant.observers"
WEIGHT_RANGES = ("minmax", "mse")
ROUNDINGS = ("nearest", "gptq")


@dataclass(frozen=True)
class Recipe:
    """How to choose grids and round weights.

    Attributes:
        name: The file's name, as given to ``--recipe``.
        description: One line for people: what it costs and what it brings.
        activation_observer: Name of a plug-in in `edgecnn.quant.observers`: how an activation's range is chosen.
        weight_range: One of `WEIGHT_RANGES`: how a weight channel's range is chosen.
        rounding: One of `ROUNDINGS`: how weights become integers.
        bias_correction: Whether biases take up the mean error that quantised weights leave.
        equalise: Whether channels are scaled first so that every one uses its grid, where that pays.
        judged: Whether min-max ranges and uncorrected biases are tried too; pictures kept for it choose the best.
        tuning_passes: How often fine-tuning sees every picture. Implies ``judged``.
        percentile: Share of values (in percent, 50 to 100) that the observer ``percentile`` keeps inside the range.
        samples: Largest number of calibration images to read, 0 for all.
        seed: Seed of everything random.
        step: Place on the ladder that an accuracy budget climbs, from 1; 0 for a recipe that is not on it.

    Raises:
        OptionError: On a value that is not allowed.
    """

    name: str
    description: str
    activation_observer: str
    weight_range: str
    bias_correction: bool
    rounding: str = "nearest"
    equalise: bool = False
    judged: bool = False
    tuning_passes: int = 0
    percentile: float = 99.99
    samples: int = 0
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        observers = discover(OBSERVERS)
        if self.activation_observer not in observers:
            raise unknown_name("activation observer", self.activation_observer, observers)
        if self.weight_range not in WEIGHT_RANGES:
            raise unknown_name("weight range", self.weight_range, WEIGHT_RANGES)
        if self.rounding not in ROUNDINGS:
            raise unknown_name("rounding", self.rounding, ROUNDINGS)
        if not 50.0 <= self.percentile <= 100.0:
            raise OptionError(f"percentile must be 50 to 100, got {self.percentile}")
        if self.tuning_passes < 0:
            raise OptionError(f"tuning_passes must be 0 or more, got {self.tuning_passes}")
        if self.samples < 0:
            raise OptionError(f"samples must be 0 (all images) or more, got {self.samples}")


def recipes() -> list[str]:
    """Return the names of all recipes, sorted."""
    return list(data_files("calibration/recipes"))


def ladder() -> list[str]:
    """Return the names of the recipes that an accuracy budget climbs, the cheapest first."""
    steps = {name: read_recipe(path).step for name, path in data_files("calibration/recipes").items()}
    return sorted((name for name, step in steps.items() if step), key=lambda name: steps[name])


def load_recipe(name: str) -> Recipe:
    """Read a recipe by its name.

    Raises:
        OptionError: If there is no such recipe (near names suggested), or its file is wrong.
    """
    check_identifier("recipe", name)
    files = data_files("calibration/recipes")
    if name not in files:
        raise unknown_name("recipe", name, files)
    return read_recipe(files[name])


def read_recipe(path: Path) -> Recipe:
    """Read and check one recipe.

    Raises:
        OptionError: On an unknown or missing key, or a value that is not allowed.
    """
    return settings.read(path, Recipe)
