"""Pictures out of a stream of JPEGs, however it is cut into pieces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import SourceError
from edgecnn.runtime.sources._jpegs import JpegSplitter

RNG = np.random.default_rng(0)
PICTURES = [
    cv2.imencode(".jpg", RNG.integers(0, 256, (size, size, 3), np.uint8), options)[1].tobytes()
    for size, options in ((8, []), (40, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (64, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]))
]


def taken(splitter: JpegSplitter, data: bytes, piece: int) -> list[bytes]:
    found = []
    for start in range(0, len(data), piece):
        splitter.feed(data[start : start + piece])
        while (picture := splitter.take()) is not None:
            found.append(picture)
    return found


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(PICTURES), st.binary(max_size=40))), st.integers(1, 5000), st.binary(max_size=40)
)
def test_every_picture_comes_out_once(stream: list[tuple[bytes, bytes]], piece: int, first: bytes) -> None:
    # Whatever lies between pictures, as long as it does not begin one itself.
    clean = [(picture, junk.replace(b"\xff", b"")) for picture, junk in stream]
    data = first.replace(b"\xff", b"") + b"".join(picture + junk for picture, junk in clean)

    assert taken(JpegSplitter("test"), data, piece) == [picture for picture, _ in clean]


def test_a_thumbnail_is_part_of_its_picture() -> None:
    thumbnail, whole = PICTURES[0], PICTURES[2]
    segment = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    picture = whole[:2] + segment + whole[2:]

    assert taken(JpegSplitter("test"), picture + whole, 700) == [picture, whole]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_picture_that_was_cut_off_does_not_swallow_the_next(share: float) -> None:
    first, second = PICTURES[2], PICTURES[1]
    found = taken(JpegSplitter("test"), first[: int(share * len(first))] + second + second, 333)

    assert found[-1] == second
    assert found.count(second) == 2


def test_the_newest_is_taken_and_older_ones_are_forgotten() -> None:
    splitter = JpegSplitter("test")
    splitter.feed(b"".join(PICTURES))

    assert splitter.take_newest() == PICTURES[-1]
    assert splitter.take_newest() is None
    assert splitter.take() is None


def test_nothing_piles_up() -> None:
    splitter = JpegSplitter("camera", largest=10_000)
    for _ in range(100):
        splitter.feed(b"\x00" * 1000)
    assert splitter.rest == 0
    with pytest.raises(SourceError, match="camera: expected JPEGs of up to"):
        splitter.feed(PICTURES[2][:-2] + b"\x00" * 10_001)
