"""The small classifier for pictures of digits: three convolutions, two fully-connected layers."""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.models.model_card import ModelCard

CARDS = {
    "convnet": ModelCard(
        name="convnet",
        task="classify",
        input_shape=(1, 28, 28),
        color="gray",
        mean=(0.1307,),
        std=(0.3081,),
        resize="stretch",
        labels=tuple("0123456789"),
    )
}


class ConvNet(nn.Module):
    """Input float32 (N, 1, H, W), grey, normalised by the card; output float32 logits (N, 10)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 32, nn.MaxPool2d(2)),
            *_block(32, 64, nn.MaxPool2d(2)),
            *_block(64, 128, nn.AdaptiveAvgPool2d(1)),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(128, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, classes)
        )

    def forward(self, picture: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(picture))
        return logits


def build(name: str = "convnet") -> nn.Module:
    """Return the network with random weights; seed torch before for the same ones again."""
    return ConvNet()


def _block(inputs: int, outputs: int, pool: nn.Module) -> list[nn.Module]:
    """Convolution that keeps the size, batch norm, ReLU, pooling."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), pool]
