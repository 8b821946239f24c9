"""Lanes: the markings of the own lane, left and right, dashed and solid.

Each batch shows the sources (videos) with the square root of their lengths, and `DRAWN` of it are drawn roads, whose
labels are exact. The loss is that of two maps, "a left line" and "a right line", for which a pixel's logit is the
log-sum-exp of its dashed and its solid one, and the cross entropy of dashed against solid where a marking is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.manifest import OutputContract
from edgecnn.models import lane
from edgecnn.models.model_card import ModelCard
from edgecnn.runtime.evaluation.markings import LABELS, Matches, label_points, match, pooled
from edgecnn.tensor import QuantParams, TensorSpec
from edgecnn.train.augment import road
from edgecnn.train.augment.light import ROAD, Camera
from edgecnn.train.data import Dataset, load_lanes
from edgecnn.train.job import Plan, Validation
from edgecnn.train.losses import map_loss
from edgecnn.train.pictures import MEAN, STD, Image, Pictures, as_input, evenly
from edgecnn.train.roads import drawn_roads
from edgecnn.train.warm import warm
from edgecnn.vision.lanes import evidence
from edgecnn.vision.results import Output, Points
from edgecnn.vision.synthetic.roads import CLASSES

STEPS, BATCH, RATE, VALIDATIONS = 1200, 16, 2e-3, 6
SIZE = (192, 320)
BUILT_IN = "lane"
"""The built-in network whose weights every training of lanes begins with."""
DRAWN, ROADS, VIEWS = 0.25, 48, 6
"""Share of drawn roads in a batch, how many there are, and pictures of each."""
KEPT = 2
"""Pictures are kept so many times as large as the network sees them: augmentation zooms in."""
KIND_WEIGHT = 0.1
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Probabilities from which a pixel shows a marking that are tried."""
CALIBRATION = 128
_GRID = QuantParams((1 / 8,), 128)
"""The grid on which float's maps are read by the device's own code: logits of -16 .. 15.9."""


def job(training: Dataset, validation: Dataset, plan: Plan) -> LaneJob:
    """Make the job; see `edgecnn.train.job`."""
    size = plan.size or SIZE
    torch.manual_seed(plan.seed)
    network = warm(lane.network(*size), plan.backbone, BUILT_IN)
    roads = drawn_roads(_large(size), plan.seed, ROADS, VIEWS)
    held_out = Pictures(validation.samples, size, load_lanes, nearest=True)
    return LaneJob(plan, network, Scenes(roads, Photographs(training, _large(size))), held_out)


class Pairs(Protocol):
    """Pictures, uint8 (H, W, 3) BGR, and their lane masks, uint8 (H, W), by index."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Image, Image | None]:
        """Return a picture and its mask."""
        ...


class Photographs:
    """The pictures of a data set, each source as often as the square root of its length says.

    Args:
        dataset: What to learn from.
        size: (height, width) in which the pictures are kept.
    """

    def __init__(self, dataset: Dataset, size: tuple[int, int]) -> None:
        self.samples = dataset.samples
        self._pictures = Pictures(dataset.samples, size, load_lanes, nearest=True)
        self._sources, self._weights = _sources(dataset)

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return one picture and its lane mask."""
        source = self._sources[int(rng.choice(len(self._sources), p=self._weights))]
        picture, mask = self._pictures[int(rng.choice(source))]
        return picture, np.zeros(picture.shape[:2], np.uint8) if mask is None else mask


@dataclass(frozen=True)
class Scenes:
    """What is learned from: drawn roads and, if there are any, photographs."""

    drawn: Sequence[tuple[Image, Image]]
    photographs: Photographs | None = None

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """Return one picture and its lane mask."""
        if self.photographs is None or rng.random() < DRAWN:
            return self.drawn[int(rng.integers(len(self.drawn)))]
        return self.photographs.draw(rng)


class LaneJob:
    """See `edgecnn.train.job.Job`."""

    family = "lane"
    steps, rate = STEPS, RATE

    def __init__(self, plan: Plan, network: nn.Module, scenes: Scenes, held_out: Pairs) -> None:
        self._plan, self._size = plan, plan.size or SIZE
        self.every = max(1, self.steps // VALIDATIONS)
        self.arguments = {"height": self._size[0], "width": self._size[1]}
        self.network = network
        self._scenes, self._held_out = scenes, held_out
        self._camera = Camera(ROAD, self._size)
        self._threshold = 0.5

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return pictures, how far each pixel of the map is covered by each of the four markings, and by each side."""
        rng = np.random.default_rng([self._plan.seed, 5, step])
        pairs = [self._example(rng) for _ in range(self._plan.batch or BATCH)]
        masks = torch.from_numpy(np.stack([mask for _, mask in pairs]))
        markings = torch.stack([masks == value for value in range(1, len(CLASSES))], dim=1)
        sides = torch.stack([torch.isin(masks, torch.tensor(values)) for values in LABELS.values()], dim=1)
        covered = (functional.avg_pool2d(shown.float(), 2) for shown in (markings, sides))
        return (as_input([picture for picture, _ in pairs]), *covered)

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of what is said in the module's text."""
        pictures, markings, sides = batch
        found: Tensor = self.network(pictures).float()
        by_side = [found[:, :2], found[:, 2:]]
        kinds = torch.cat([logits.log_softmax(dim=1) for logits in by_side], dim=1)
        named = -(markings * kinds).sum() / markings.sum().clamp(min=1.0)
        return (
            map_loss(torch.stack([logits.logsumexp(dim=1) for logits in by_side], dim=1), sides) + KIND_WEIGHT * named
        )

    def validate(self) -> Validation:
        """Find the markings of the validation pictures; the threshold that suits them best is kept."""
        matches = {threshold: Matches() for threshold in THRESHOLDS}
        right = total = 0
        for output, mask in self._maps():
            wanted = pooled(label_points(mask))
            for threshold in THRESHOLDS:
                seen = evidence.find(output, threshold)
                matches[threshold] += match(_points(seen, mask.shape[0]), wanted, mask.shape[1])
            correct, marked = _kinds(evidence.find(output, 0.5), mask)
            right, total = right + correct, total + marked
        best = max(THRESHOLDS, key=lambda threshold: matches[threshold].f1)
        self._threshold, found = best, matches[best]
        figures = {"F1": found.f1, "precision": found.precision, "recall": found.recall}
        return Validation(found.f1, figures | ({"dashed or solid": right / total} if total else {}))

    def finish(self) -> tuple[ModelCard, Sequence[Image]]:
        """Return the card with the threshold of the last validation, and calibration frames."""
        self.validate()
        samples = self._scenes.photographs.samples if self._scenes.photographs else ()
        frames = Pictures(samples, self._size, load_lanes, nearest=True)
        return self._card(), [frames[index][0] for index in evenly(len(frames), CALIBRATION)]

    def _card(self) -> ModelCard:
        return ModelCard(
            name="lane",
            task="lane",
            input_shape=(3, *self._size),
            color="bgr",
            mean=(MEAN,) * 3,
            std=(STD,) * 3,
            resize="stretch",
            labels=lane.MARKINGS,
            decoding={"mark_threshold": self._threshold},
        )

    def _example(self, rng: np.random.Generator) -> tuple[Image, Image]:
        shown, mask = road.disturb(rng, *road.place(rng, *self._scenes.draw(rng), self._size))
        return self._camera(rng, shown), mask

    def _maps(self) -> Iterator[tuple[Output, Image]]:
        """Yield the map of each validation picture, as integers, and its labels."""
        device = next(self.network.parameters()).device
        for index in range(len(self._held_out)):
            picture, mask = self._held_out[index]
            with torch.no_grad():
                found = self.network(as_input([picture]).to(device)).float().cpu().permute(0, 2, 3, 1).numpy()
            integers = np.clip(np.round(found / _GRID.scale[0]) + _GRID.zero_point, 0, 255).astype(np.uint8)
            spec = TensorSpec("map", integers.shape, "uint8", _GRID)
            yield (
                Output(OutputContract(spec, "NHWC", "logits"), integers),
                (np.zeros(self._size, np.uint8) if mask is None else mask),
            )


def _large(size: tuple[int, int]) -> tuple[int, int]:
    return KEPT * size[0], KEPT * size[1]


def _sources(dataset: Dataset) -> tuple[list[npt.NDArray[np.intp]], Sequence[float]]:
    """Return the indices of each source's pictures, and how often it is shown."""
    names = np.array([sample.group for sample in dataset.samples])
    found = [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]
    roots = np.sqrt([len(indices) for indices in found])
    return found, list(roots / roots.sum())


def _points(seen: evidence.Evidence, height: int) -> Points:
    """Return where markings were seen, (N, 2), in pixels of a picture ``height`` high."""
    scale = height / seen.x.shape[1]
    places = np.stack([seen.x, np.broadcast_to(seen.y, seen.x.shape)], axis=2)
    return np.asarray(places[seen.seen] * scale)


def _kinds(seen: evidence.Evidence, mask: Image) -> tuple[int, int]:
    """Return at how many markings dashed or solid was told rightly, of how many where it is known."""
    right = total = 0
    scale = mask.shape[0] / seen.x.shape[1]
    for side, (dashed, solid, _) in enumerate(LABELS.values()):
        rows = np.flatnonzero(seen.seen[side])
        columns = np.clip((seen.x[side][rows] * scale).astype(int), 0, mask.shape[1] - 1)
        labels = mask[(rows * scale).astype(int), columns]
        said = np.where(seen.solid[side][rows] > 0, solid, dashed)
        known = np.isin(labels, (dashed, solid))
        right, total = right + int((said == labels)[known].sum()), total + int(known.sum())
    return right, total
