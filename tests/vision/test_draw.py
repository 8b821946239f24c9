from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError
from edgecnn.manifest import Resize
from edgecnn.vision.draw import Image, overlay, shortened, wrapped
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.results import Decision, Finding, Region, Verdict

PASS, REJECT, INVALID = (68, 128, 18), (32, 24, 196), (0, 196, 255)
COLOURS = {Verdict.PASS: PASS, Verdict.REJECT: REJECT, Verdict.INVALID: INVALID}
DARK = Finding("black", "the picture is almost black: mean 2 of 255, at least 12 were expected")


def grey(height: int, width: int, value: int = 100) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def drawn(picture: Image, before: Image) -> Image:
    return np.any(picture != before, axis=2)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_is_told_by_its_colour_at_the_top_and_around(verdict: Verdict) -> None:
    picture = overlay(grey(480, 640), verdict, None, ())
    for place in ((0, 0), (0, 639), (20, 638), (479, 0), (300, 639)):
        assert tuple(picture[place]) == COLOURS[verdict], place
    assert tuple(picture[240, 320]) == (100, 100, 100)


def test_verdicts_are_told_without_colour_by_symbol_and_word() -> None:
    # Black ink on white where the banner is: what is left differs for each verdict.
    shapes = []
    for verdict, colour in COLOURS.items():
        banner = overlay(grey(480, 640), verdict, None, ())[:31, 8:300]
        shapes.append(np.any(np.abs(banner.astype(int) - colour) > 60, axis=2))
    for index, shape in enumerate(shapes):
        symbol, word = shape[:, :30], shape[:, 34:]
        assert symbol.sum() > 30
        assert word.sum() > 100
        other = shapes[(index + 1) % 3]
        assert np.count_nonzero(symbol != other[:, :30]) > 30
        assert np.count_nonzero(word != other[:, 34:]) > 100


def test_nothing_to_say_leaves_the_picture_as_it_is() -> None:
    before = grey(48, 64)
    picture = overlay(before, None, Decision(), ())
    np.testing.assert_array_equal(picture, before)
    picture[:] = 0
    assert before.min() == 100


def test_a_label_without_a_verdict_has_a_neutral_banner() -> None:
    picture = overlay(grey(480, 640), None, Decision("tabby cat", 0.8), ())
    assert tuple(picture[0, 0]) not in COLOURS.values()
    assert drawn(picture, grey(480, 640))[:30].all()


def test_the_frame_is_not_written_to_and_grey_becomes_bgr() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    before = image.copy()
    picture = overlay(image, Verdict.PASS, None, ())
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(picture[40, 5:-5], np.repeat(image[40, 5:-5, None], 3, axis=1))
    np.testing.assert_array_equal(overlay(image[..., None], Verdict.PASS, None, ()), picture)


@pytest.mark.parametrize("score", [0.0, 0.25, 0.9, 1.0])
def test_the_bar_is_as_long_as_the_score_and_the_mark_stands_at_the_threshold(score: float) -> None:
    width = 1001
    decision = Decision("scratch", score, {"scratch": score}, Verdict.REJECT)
    picture = overlay(grey(500, width), Verdict.REJECT, decision, (), threshold=0.5)
    bar = picture[round(2.2 * 25) + 4]
    filled = np.flatnonzero(np.all(bar == REJECT, axis=1))
    assert filled[-1] == (round(score * 1000) if score else 0)
    marks = np.flatnonzero(np.all(bar == 255, axis=1))
    assert 498 <= marks[0] <= marks[-1] <= 502


def test_without_a_threshold_or_a_number_there_is_no_mark_and_no_bar() -> None:
    decision = Decision("scratch", 0.3)
    row = round(2.2 * 25) + 4
    without = overlay(grey(500, 1001), Verdict.PASS, decision, ())[row, 10:-10]
    assert not np.all(without == 255, axis=1).any()
    nan = overlay(grey(500, 1001), Verdict.PASS, Decision("scratch", float("nan")), (), threshold=0.5)[row, 10:-10]
    assert np.all(nan == 100)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size", [(64, 96), (32, 48)])
def test_a_mask_lies_where_the_model_saw_it(mode: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess((64, 96), 3, Resize(mode, pad_value=0))
    frame = grey(120, 160, 0)
    frame[60:90, 48:112] = 255
    seen = preprocess(frame)[..., 0]
    mask = (cv2.resize(seen, size[::-1], interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    decision = Decision(mask=mask)
    picture = overlay(frame, None, decision, (), geometry=preprocess.geometry(120, 160))
    painted = drawn(picture, frame)
    expected = frame[..., 0] > 0
    assert np.count_nonzero(painted & expected) / np.count_nonzero(painted | expected) > 0.9
    # A smaller copy of the frame is painted in the same place.
    small = overlay(frame[::2, ::2], None, decision, (), geometry=preprocess.geometry(120, 160))
    again = drawn(small, frame[::2, ::2])
    assert np.count_nonzero(again & expected[::2, ::2]) / np.count_nonzero(again | expected[::2, ::2]) > 0.85


def test_classes_have_different_colours_and_the_background_has_none() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4], mask[6:8] = 1, 2
    picture = overlay(grey(64, 64), None, Decision(mask=mask), ())
    assert tuple(picture[8, 30]) == (100, 100, 100)
    assert len({tuple(picture[row, 30]) for row in (8, 24, 56)}) == 3


def test_reasons_stand_on_a_dark_strip_at_the_bottom() -> None:
    picture = overlay(grey(480, 640), Verdict.INVALID, None, (DARK, Finding("frozen", "nothing moves")))
    strip = picture[-60:-4]
    assert np.all(strip[:, :3] == (24, 24, 24))
    assert np.count_nonzero(np.all(strip > 200, axis=2)) > 300
    assert np.all(picture[300, 20:-20] == 100)


def test_many_reasons_leave_two_thirds_of_the_picture_free() -> None:
    picture = overlay(grey(200, 200), Verdict.INVALID, None, (DARK,) * 20)
    assert np.all(picture[30:125, 10:-10] == 100)


TEXTS = st.text(max_size=60) | st.just("word " * 300) | st.just("x" * 5000)


@settings(max_examples=60)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from([None, *Verdict]),
    TEXTS,
    st.floats() | st.none(),
    st.floats() | st.none(),
    TEXTS,
)
def test_every_picture_and_text_can_be_drawn(
    height: int,
    width: int,
    verdict: Verdict | None,
    label: str,
    score: float | None,
    threshold: float | None,
    reason: str,
) -> None:
    decision = Decision(label, score, mask=np.ones((3, 5), np.uint8))
    picture = overlay(grey(height, width), verdict, decision, (Finding("x", reason),), threshold=threshold)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8


@settings(max_examples=100)
@given(TEXTS, st.integers(0, 400), st.integers(6, 40))
def test_text_never_runs_out_of_its_room(text: str, width: int, size: int) -> None:
    for line in [shortened(text, width, size), *wrapped(text, width, size)]:
        sheet = np.zeros((4 * size, width + 400), np.uint8)
        scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, size, max(1, round(size / 9)))
        cv2.putText(
            sheet, line, (0, 2 * size), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(size / 9)), cv2.LINE_AA
        )
        columns = np.flatnonzero(sheet.any(axis=0))
        # Antialiasing may touch one line's thickness more.
        assert columns.size == 0 or columns[-1] <= width + max(2, size // 6)


def test_text_keeps_what_fits_and_loses_accents() -> None:
    assert shortened("scratch", 500, 20) == "scratch"
    assert shortened("Öl-Fläche 猫", 500, 20) == "Ol-Flache ?"
    cut = shortened("a scratch on the left side", 120, 20)
    assert cut.startswith("a scr")
    assert cut.endswith("...")
    assert shortened("scratch", 3, 20) == ""
    assert wrapped("one two three", 10_000, 20) == ["one two three"]
    assert wrapped("one two three", 70, 20) == ["one", "two", "three"]


def test_text_grows_with_the_picture() -> None:
    def banner(height: int, width: int) -> int:
        picture = overlay(grey(height, width), Verdict.REJECT, None, ())
        return int(np.flatnonzero(np.any(picture[:, width // 2] != REJECT, axis=1))[0])

    small, large = banner(480, 640), banner(1920, 2560)
    assert large == pytest.approx(4 * small, rel=0.1)


def test_a_label_that_does_not_fit_beside_the_verdict_gets_a_line_of_its_own() -> None:
    def banner(label: str) -> int:
        picture = overlay(grey(400, 200), Verdict.REJECT, Decision(label), ())
        return int(np.flatnonzero(np.all(picture[:, 195] == 100, axis=1))[0])

    assert banner("a long name of a defect " * 3) > banner("dent") + 6


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(image: Image) -> None:
    with pytest.raises(DataError, match=r"must be uint8 \(H, W\) or \(H, W, 3\)"):
        overlay(image, Verdict.PASS, None, ())


# Regions


def square(left: float, top: float, right: float, bottom: float, label: str = "dent", score: float = 0.93) -> Region:
    polygon = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    return Region(label, score, polygon, (right - left) * (bottom - top))


def rejected(*regions: Region) -> Decision:
    return Decision("dent", 0.97, {}, Verdict.REJECT, np.ones((8, 8), np.uint8), regions)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_region_is_outlined_on_any_surface_and_its_inside_stays_clear(value: int) -> None:
    before = grey(480, 640, value)
    picture = overlay(before, Verdict.REJECT, rejected(square(200, 200, 400, 300)), ())
    edge = picture[200:300, 195:206].astype(int)
    assert (np.abs(edge - value).max(axis=2) > 100).any(axis=1).all()
    assert np.array_equal(picture[210:290, 210:390], before[210:290, 210:390])
    tag = picture[140:195, 200:330]
    assert np.count_nonzero(np.all(tag == (24, 24, 24), axis=2)) > 500
    assert np.count_nonzero(np.all(tag[..., 1:] > 150, axis=2) & (tag[..., 0] < 100)) > 50


def test_regions_lie_where_they_are_in_a_smaller_copy_of_the_frame() -> None:
    geometry = Preprocess((32, 32), 3).geometry(960, 1280)
    picture = overlay(grey(480, 640), Verdict.REJECT, rejected(square(400, 600, 800, 800)), (), geometry=geometry)
    changed = drawn(picture, grey(480, 640))[280:450, 20:-20]
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    assert (280 + rows[-1], 20 + columns[0]) == (pytest.approx(400, abs=4), pytest.approx(200, abs=4))
    assert 20 + columns[-1] == pytest.approx(400, abs=4)


def test_tags_do_not_cover_each_other() -> None:
    alone = overlay(grey(480, 640), Verdict.REJECT, rejected(square(200, 200, 260, 240)), ())
    both = rejected(square(200, 200, 260, 240), square(205, 202, 262, 241, score=0.5))
    picture = overlay(grey(480, 640), Verdict.REJECT, both, ())
    assert np.array_equal(picture[150:190], alone[150:190])
    assert drawn(picture, alone)[195:250, 195:270].any()


def test_a_tag_leaves_the_score_alone() -> None:
    # A region that lies under the banner: above it there is no room, and right below it is the bar of the score.
    corners = np.array([[300.0, 4.0], [400.0, 4.0], [400.0, 20.0], [300.0, 20.0]])
    with_region = overlay(grey(480, 640), Verdict.REJECT, rejected(Region("dent", 0.97, corners, 1600.0)), ())
    without = overlay(grey(480, 640), Verdict.REJECT, rejected(), ())

    end = int(np.flatnonzero(np.all(without[:, 320] == (100, 100, 100), axis=1))[0])
    np.testing.assert_array_equal(with_region[:end], without[:end])
    assert drawn(with_region[end : end + 60], without[end : end + 60]).any()


def test_a_tag_has_room_below_a_region_at_the_top() -> None:
    picture = overlay(grey(480, 640), Verdict.REJECT, rejected(square(200, 60, 300, 100)), ())
    assert np.count_nonzero(np.all(picture[104:140, 200:300] == (24, 24, 24), axis=2)) > 500


def test_a_sound_part_is_called_good_without_the_score_of_its_defects() -> None:
    sound = Decision("good", 0.03, {"good": 0.97, "dent": 0.03}, Verdict.PASS)
    same = Decision("good", None, {}, Verdict.PASS)
    pictures = [overlay(grey(480, 640), Verdict.PASS, decision, ())[:40] for decision in (sound, same)]
    assert np.array_equal(*pictures)


@settings(max_examples=40)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.lists(st.tuples(*[st.floats(-50, 300)] * 4), max_size=4),
    TEXTS,
)
def test_every_region_can_be_drawn(
    height: int, width: int, boxes: list[tuple[float, float, float, float]], label: str
) -> None:
    decision = rejected(*(square(*box, label) for box in boxes))
    assert overlay(grey(height, width), Verdict.REJECT, decision, (DARK,)).shape == (height, width, 3)
