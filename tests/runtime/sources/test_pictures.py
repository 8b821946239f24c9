"""Pictures out of a stream of JPEGs, however it is cut into pieces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import SourceError
from edgecnn.runtime.sources._pictures import PictureSplitter

RNG = np.random.default_rng(0)
PICTURES = [
    cv2.imencode(".jpg", RNG.integers(0, 256, (size, size, 3), np.uint8), options)[1].tobytes()
    for size, options in ((8, []), (40, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (64, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]))
]


def taken(splitter: PictureSplitter, data: bytes, piece: int) -> list[bytes]:
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

    assert taken(PictureSplitter("test"), data, piece) == [picture for picture, _ in clean]


def test_a_thumbnail_is_part_of_its_picture() -> None:
    thumbnail, whole = PICTURES[0], PICTURES[2]
    segment = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    picture = whole[:2] + segment + whole[2:]

    assert taken(PictureSplitter("test"), picture + whole, 700) == [picture, whole]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_picture_that_was_cut_off_does_not_swallow_the_next(share: float) -> None:
    first, second = PICTURES[2], PICTURES[1]
    found = taken(PictureSplitter("test"), first[: int(share * len(first))] + second + second, 333)

    assert found[-1] == second
    assert found.count(second) == 2


def test_the_newest_is_taken_and_older_ones_are_forgotten() -> None:
    splitter = PictureSplitter("test")
    splitter.feed(b"".join(PICTURES))

    assert splitter.take_newest() == PICTURES[-1]
    assert splitter.take_newest() is None
    assert splitter.take() is None


def test_nothing_piles_up() -> None:
    splitter = PictureSplitter("camera", largest=10_000)
    for _ in range(100):
        splitter.feed(b"\x00" * 1000)
    assert splitter.rest == 0
    with pytest.raises(SourceError, match="camera: expected pictures of up to"):
        splitter.feed(PICTURES[2][:-2] + b"\x00" * 10_001)


def png(level: int) -> bytes:
    return cv2.imencode(".png", np.full((20, 30, 3), level, np.uint8))[1].tobytes()


def test_png_and_jpeg_in_turn_in_pieces_of_any_size() -> None:
    noise = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.full((20, 30, 3), 9, np.uint8))[1].tobytes()
    pictures = [png(1), jpeg, noise, png(2)]
    stream = b"--x\r\n" + b"\r\n--x\r\nContent-Type: image/png\r\n\r\n".join(pictures) + b"\r\n"
    for size in (1, 7, 1000, len(stream)):
        splitter, found = PictureSplitter("camera"), []
        for start in range(0, len(stream), size):
            splitter.feed(stream[start : start + size])
            while (picture := splitter.take()) is not None:
                found.append(picture)
        assert found == pictures


def test_a_png_that_is_cut_off_costs_no_more_than_the_next() -> None:
    splitter = PictureSplitter("camera")
    splitter.feed(png(1)[:60] + b"\r\n--x\r\n" + png(2) + png(3) + png(4))
    found = []
    while (picture := splitter.take()) is not None:
        found.append(picture)

    assert found[0] not in (png(1), png(2))
    assert found[-2:] == [png(3), png(4)]
