"""Where trainings begin: with what a network of the same kind has learned."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from edgecnn import models
from edgecnn.errors import ModelError
from edgecnn.models.checkpoint import read_state_dict

CLASSIFIER = "classifier."


def warm(network: nn.Module, backbone: Path | None, built_in: str) -> nn.Module:
    """Let a network begin with a backbone, or what drawn pictures taught a built-in network of its family.

    The classifier keeps its random weights, for its classes are others; so does what has another shape.

    Args:
        network: Changed in place.
        backbone: File of weights, a trained file or a state dict; None for the built-in.
        built_in: Name of the built-in network.

    Raises:
        ModelError: If the backbone cannot be read, or has nothing of this network.
    """
    weights = models.build(built_in).state_dict() if backbone is None else read_state_dict(backbone)
    own = network.state_dict()
    shared = {key: value for key, value in weights.items() if key in own and not key.startswith(CLASSIFIER)}
    fitting = {key: value for key, value in shared.items() if value.shape == own[key].shape}
    if not fitting and backbone is not None:
        raise ModelError(
            f"{backbone}: nothing in it fits the network. Give a file that 'edgecnn train' wrote for the same task."
        )
    network.load_state_dict(fitting, strict=False)
    return network
