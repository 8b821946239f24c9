from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.errors import OptionError
from edgecnn.recipe import ladder, load_recipe, read_recipe, recipes

GOOD = """
name = "mine"
description = "what I need"
activation_observer = "entropy"
weight_range = "mse"
bias_correction = true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_shipped_recipes() -> None:
    assert {"default", "fast"} <= set(recipes())
    fast, default = load_recipe("fast"), load_recipe("default")

    assert fast.rounding == "nearest"
    assert default.rounding == "gptq"
    assert 0 < fast.samples < default.samples


def test_the_ladder_begins_with_the_cheapest() -> None:
    assert ladder()[:2] == ["fast", "default"]


def test_a_good_file_gives_its_values_and_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, GOOD + "percentile = 99"))

    assert (recipe.activation_observer, recipe.weight_range, recipe.samples) == ("entropy", "mse", 0)
    assert recipe.percentile == 99.0
    assert type(recipe.percentile) is float


def test_unknown_recipe_suggests_a_near_name() -> None:
    with pytest.raises(OptionError, match=r"unknown recipe 'defualt'\. Did you mean 'default'\?"):
        load_recipe("defualt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "sample = 3", "unknown key 'sample'. Did you mean 'samples'"),
        (GOOD + "samples = -1", "samples must be 0 (all images) or more, got -1"),
        (GOOD + "samples = 1.5", "samples must be an integer, got 1.5"),
        (GOOD + "percentile = 10.0", "percentile must be 50 to 100, got 10.0"),
        (GOOD.replace("entropy", "entropi"), "unknown activation observer 'entropi'. Did you mean 'entropy'"),
        (GOOD.replace('"mse"', '"max"'), "unknown weight range 'max'"),
        (GOOD.replace("true", "1"), "bias_correction must be true or false, got 1"),
        (GOOD.replace("mine", "yours"), "name must be the file's name 'mine', got 'yours'"),
        (GOOD.replace("weight_range", "#"), "the key 'weight_range' is missing"),
        ("name = ", "expected a TOML file in UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        read_recipe(write(tmp_path, text))

    assert message in str(raised.value)
    assert "mine.toml" in str(raised.value)
