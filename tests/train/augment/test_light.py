"""Light differs, places stay."""

from __future__ import annotations

import numpy as np

from edgecnn.train.augment.light import ROAD, SURFACE, Camera


def test_light_changes_and_the_picture_stays_in_place() -> None:
    camera = Camera(SURFACE, (64, 96))
    ramp = np.repeat(np.tile(np.linspace(40, 210, 96).astype(np.uint8), (64, 1))[..., None], 3, axis=2)
    seen = [camera(np.random.default_rng(seed), ramp) for seed in range(20)]

    assert all(picture.shape == ramp.shape and picture.dtype == np.uint8 for picture in seen)
    assert len({picture.tobytes() for picture in seen}) == 20
    assert all(np.corrcoef(picture[..., 0].ravel(), ramp[..., 0].ravel())[0, 1] > 0.9 for picture in seen)


def test_surfaces_stay_grey_and_roads_may_be_tinted() -> None:
    grey = np.full((64, 64, 3), 120, np.uint8)

    def tints(camera: Camera) -> list[float]:
        seen = [camera(np.random.default_rng(seed), grey).astype(float).mean(axis=(0, 1)) for seed in range(20)]
        return [float(np.ptp(colour)) for colour in seen]

    assert max(tints(Camera(SURFACE, (64, 64)))) < 3
    assert max(tints(Camera(ROAD, (64, 64)))) > 8
