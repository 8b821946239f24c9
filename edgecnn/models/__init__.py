"""Built-in networks in torch: one family a file, found by its name.

A family file has ``CARDS``, a `ModelCard` by model name, and ``build(name)``, which returns the network with random
weights. What has no ``CARDS`` here reads weights and users' files.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

from edgecnn import plugins
from edgecnn.errors import unknown_name

if TYPE_CHECKING:
    from torch import nn

    from edgecnn.models.model_card import ModelCard


def names() -> list[str]:
    """Return the names of the built-in models, sorted."""
    return sorted(_families())


def card(name: str) -> ModelCard:
    """Return what the built-in model called ``name`` expects.

    Raises:
        OptionError: If there is no such model; near names are suggested.
    """
    return cast("ModelCard", plugins.load(__name__, _family(name)).CARDS[name])


def build(name: str, pretrained: bool = True) -> nn.Module:
    """Build a built-in model in evaluation mode.

    Args:
        name: One of `names`.
        pretrained: Load the weights that ship with the package, where the card names some. Everything else has
            random weights; seed torch before for the same ones again.

    Raises:
        OptionError: If there is no such model; near names are suggested.
        ModelError: If the shipped weights are missing or damaged.
    """
    from edgecnn.models.checkpoint import load_checkpoint

    family = plugins.load(__name__, _family(name))
    module = cast("nn.Module", family.build(name))
    weights = family.CARDS[name].weights_path
    if pretrained and weights is not None:
        load_checkpoint(module, weights)
    return module.eval()


def _family(name: str) -> str:
    families = _families()
    if name not in families:
        raise unknown_name("built-in model", name, families)
    return families[name]


@cache
def _families() -> dict[str, str]:
    """Return the file that holds each model, by model name."""
    files = {file: plugins.load(__name__, file) for file in plugins.discover(__name__)}
    return {model: file for file, module in files.items() for model in getattr(module, "CARDS", ())}
