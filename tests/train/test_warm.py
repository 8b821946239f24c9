"""Where trainings begin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecnn import models
from edgecnn.errors import ModelError
from edgecnn.models import surface
from edgecnn.models.checkpoint import save_checkpoint
from edgecnn.train.warm import warm


def test_a_training_begins_with_the_built_in_weights_and_a_classifier_of_its_own() -> None:
    network = warm(surface.network(256, 256, 3), None, "defect")
    built_in = models.build("defect").state_dict()

    assert torch.equal(network.state_dict()["encoder.stem.0.weight"], built_in["encoder.stem.0.weight"])
    assert network.get_parameter("classifier.weight").shape[0] == 3


def test_a_backbone_takes_its_place(tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = surface.network(64, 64, 0)
    save_checkpoint(other, tmp_path / "other.safetensors")
    network = warm(surface.network(256, 256, 3), tmp_path / "other.safetensors", "defect")

    assert torch.equal(network.get_parameter("map.weight"), other.get_parameter("map.weight"))


def test_a_backbone_of_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(torch.nn.Linear(3, 2), tmp_path / "linear.safetensors")
    with pytest.raises(ModelError, match="nothing in it fits the network"):
        warm(surface.network(64, 64, 0), tmp_path / "linear.safetensors", "defect")
