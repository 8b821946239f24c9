"""The drawn conveyor: parts that stop in full view, gaps that are empty."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from edgecnn import models
from edgecnn.train.pictures import as_input
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.synthetic.conveyor import (
    BRIGHTNESS,
    EMPTY,
    ENTERING,
    GAP,
    LEAST_BRIGHT,
    NOISE_LEVEL,
    PASSING,
    STOPPED,
    Conveyor,
    camera_noise,
    pieces,
    travel,
    with_noise,
)

SIZE = (160, 120)


def test_a_part_stops_in_the_middle_and_leaves_on_the_other_side() -> None:
    assert [travel(phase) for phase in (0.0, EMPTY, ENTERING, 0.5, STOPPED, 1 - EMPTY, 1.0)] == pytest.approx(
        [1.1, 1.1, 0, 0, 0, -1.1, -1.1]
    )
    assert (np.diff([travel(phase) for phase in np.linspace(0, 1, 200)]) <= 1e-9).all()


def test_a_gap_is_the_empty_belt_and_a_part_fills_the_view() -> None:
    conveyor = Conveyor(SIZE, seed=3)
    for part in range(10):
        gap, passing, standing = (conveyor.at(part + phase) for phase in (0.05, 0.2, 0.5))
        assert (gap.truth, passing.truth, gap.part) == (GAP, PASSING, part + 1)
        assert standing.truth not in (GAP, PASSING)
        assert gap.frame.max() < BRIGHTNESS - 20
        assert (standing.frame.max(axis=2) > BRIGHTNESS).mean() > LEAST_BRIGHT - 0.05
        assert 0.05 < (passing.frame.max(axis=2) > BRIGHTNESS).mean() < 0.95


def test_the_empty_picture_is_a_gap() -> None:
    conveyor = Conveyor(SIZE, seed=3)
    difference = np.abs(conveyor.empty.astype(int) - conveyor.at(2.05).frame)

    assert difference.max() < 24


@pytest.mark.parametrize("defective", [False, True])
def test_pieces_are_what_they_say_and_larger_than_the_view(defective: bool) -> None:
    drawn = list(pieces(20, 0, defective, SIZE))

    assert all((piece.kind != "good") == defective for piece in drawn)
    assert {piece.picture.shape for piece in drawn} == {(124, 166, 3)}
    assert len({piece.picture.tobytes() for piece in drawn}) == 20


def test_the_share_of_defects_among_many_parts() -> None:
    conveyor = Conveyor((64, 64), seed=1, defects=0.3, rate=1.0)
    share = np.mean([conveyor.at(part + 0.5).truth != "good" for part in range(1000)])

    assert 0.25 < share < 0.35


def test_noise_changes_every_frame_and_keeps_the_brightness() -> None:
    field = camera_noise(SIZE, 0)
    grey = np.full((SIZE[1], SIZE[0], 3), 100, np.uint8)
    first, second = with_noise(grey, field, 0).astype(float), with_noise(grey, field, 1).astype(float)

    assert field.max() <= 2 * NOISE_LEVEL
    assert abs(first.mean() - 100) < 0.05
    assert 1.4 < first.std() < 1.8
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_the_built_in_model_judges_the_parts_as_they_are() -> None:
    network = models.build("defect").eval()
    fit, size = Preprocess((128, 128), 3), (640, 480)
    field = camera_noise(size, 0)
    drawn = list(chain(pieces(60, 5, False, size), pieces(60, 5, True, size)))
    views = [with_noise(piece.picture[10:490, 13:653], field, number) for number, piece in enumerate(drawn)]
    with torch.inference_mode():
        guesses = network(as_input([fit(view) for view in views]))[1].argmax(1).numpy() > 0

    assert np.mean(guesses[:60]) <= 0.07
    assert np.mean(guesses[60:]) >= 0.85
