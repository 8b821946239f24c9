"""Repetitions of a picture are found under other light and compression; products that look alike are left apart."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.train.data import read
from edgecnn.train.data.duplicates import clusters, thumbnail
from tests.train.data import folders


def found(pictures: list[np.ndarray]) -> tuple[list[set[int]], int]:
    """Return the sets of indices that are in one cluster, and how many pictures look alike."""
    names, alike = clusters([thumbnail(item) for item in pictures], [item.tobytes().hex() for item in pictures])
    sets: dict[str, set[int]] = {}
    for index, name in enumerate(names):
        if name:
            sets.setdefault(name, set()).add(index)
    return list(sets.values()), alike


def test_the_same_picture_again_in_other_light_size_and_compression() -> None:
    pictures = [folders.picture(seed, 240, 320) for seed in range(40)]
    darker = np.clip(pictures[3] * 0.6 - 10, 0, 255).astype(np.uint8)
    shaded = np.clip(pictures[3] * np.linspace(0.5, 1.0, 320)[None, :, None], 0, 255).astype(np.uint8)
    small = cv2.resize(pictures[3], (200, 150), interpolation=cv2.INTER_AREA)
    poor = cv2.imdecode(cv2.imencode(".jpg", pictures[3], [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)

    assert found([*pictures, darker, shaded, small, poor]) == ([{3, 40, 41, 42, 43}], 0)


def test_plain_pictures_are_the_same_only_where_they_are_equal() -> None:
    plain = [np.full((40, 40, 3), value, np.uint8) for value in (0, 90, 255, 90)]

    assert found(plain) == ([{1, 3}], 0)


def fixture_pictures(count: int) -> list[np.ndarray]:
    """Return pictures of one product in a fixture: nothing differs but light and noise."""
    rng, product = np.random.default_rng(0), folders.picture(0, 240, 320).astype(np.float64)
    return [
        np.clip(product * rng.uniform(0.85, 1.0) + rng.normal(0, 6, product.shape), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [5, 8, 60])
def test_products_in_a_fixture_are_not_taken_for_one(count: int) -> None:
    assert found(fixture_pictures(count)) == ([], count)


def test_a_repetition_among_products_in_a_fixture_is_found() -> None:
    products = fixture_pictures(40)
    for index, item in enumerate(products):
        spots = np.random.default_rng(index).integers(20, 220, (12, 2))
        for x, y in spots:
            cv2.circle(item, (int(x), int(y)), 8, (20, 20, 20), -1)
    again = np.clip(products[7] * 0.9 + 4, 0, 255).astype(np.uint8)

    assert found([*products, again]) == ([{7, 40}], 41)


@pytest.mark.parametrize(("own", "expected"), [(1.0, 0), (0.01, 4000)])
def test_thousands_of_pictures_take_seconds(own: float, expected: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=1024) * (1 - own) + rng.normal(size=(4000, 1024)) * own
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    started = time.process_time()
    names, alike = clusters(list(values), [str(index) for index in range(4000)])

    assert (set(names), alike) == ({""}, expected)
    assert time.process_time() - started < 30


@pytest.mark.data
def test_magnetic_tiles_do_not_collapse(data_dir: Path) -> None:
    samples = read(data_dir / "magnetic-tile", "defect").samples
    sizes = Counter(sample.cluster for sample in samples if sample.cluster)

    # A tile was photographed up to six times, and what is on it is cut out: 189 tiles at most.
    assert (len(sizes), sizes.total(), max(sizes.values())) == pytest.approx((118, 316, 9), abs=3)
    numbers: dict[str, list[int]] = {}
    for sample in samples:
        numbers.setdefault(sample.cluster or sample.image.name, []).append(int(sample.image.stem.split("_")[-1]))
    # Photographs of one tile are numbered close to one another.
    far = [found for found in numbers.values() if max(found) - min(found) > 3000]
    assert len(far) <= 3
