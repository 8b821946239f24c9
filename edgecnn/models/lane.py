"""Lanes: where are the lines of the own lane, and are they dashed or solid?

The encoder and pyramid of `edgecnn.models.surface`, deeper where a picture's layout is seen: which line is the left one
depends on the whole road. A map of logits at half the input's size tells left dashed, left solid, right dashed and
right solid. 320 x 192 pixels take 299 million multiplications.

The weights of the built-in ``lane`` come from ``python -m edgecnn.train.built_in lane``: drawn roads alone. On 709
photographs of eight roads and drives, none of which it has seen, its markings have an F1 of 0.78 at 7 pixels in 640
(precision 0.91, recall 0.68); a public road segmenter, trained on photographs, has 0.70 to 0.74 on the same frames.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.models.blocks import MAP_WIDTH, Encoder, Pyramid, rare
from edgecnn.models.model_card import ModelCard

ARGUMENTS = {"height": (64, 1024), "width": (64, 1024)}
"""Least and most of what the input may measure. Both sides must be multiples of `STRIDE`."""
STRIDE = 32
WIDTHS, DEPTHS, PYRAMID = (16, 24, 48, 80, 112), (1, 1, 2, 2), 32
MARKINGS = ("left dashed", "left solid", "right dashed", "right solid")
"""The channels of the map."""

CARDS = {
    "lane": ModelCard(
        name="lane",
        task="lane",
        input_shape=(3, 192, 320),
        color="bgr",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        resize="stretch",
        labels=MARKINGS,
        weights="lane.safetensors",
        decoding={"mark_threshold": 0.5},
    )
}


class LaneNet(nn.Module):
    """Input float32 (N, 3, H, W), BGR, normalised by the card; output float32 logits (N, 4, H/2, W/2) of `MARKINGS`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(WIDTHS, DEPTHS)
        self.pyramid = Pyramid(WIDTHS, PYRAMID)
        self.map = rare(MAP_WIDTH, len(MARKINGS))

    def forward(self, picture: Tensor) -> Tensor:
        """Return the map."""
        found: Tensor = self.map(self.pyramid(self.encoder(picture))[0])
        return found


def build(name: str = "lane") -> nn.Module:
    """Return the built-in network with random weights; seed torch before for the same ones again."""
    return LaneNet()


def network(height: int, width: int) -> nn.Module:
    """Return the network with random weights, which takes any size; seed torch before for the same ones again."""
    return LaneNet()
