"""Which TFLite padding puts the windows where ONNX pads put them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgecnn.export.tflite.geometry import Window, padding_of, windows
from edgecnn.windows import output_size


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "expected"),
    [
        (8, 3, 1, (1, 1), "SAME"),
        (9, 3, 2, (1, 1), "SAME"),
        (8, 3, 2, (1, 1), None),  # SAME would pad 0 in front and 1 behind
        (8, 3, 2, (0, 1), "SAME"),
        (8, 2, 2, (0, 0), "VALID"),
        (8, 4, 2, (1, 1), "SAME"),
        (8, 1, 1, (0, 0), "VALID"),
        (9, 2, 2, (0, 0), "VALID"),
        (8, 3, 1, (2, 0), None),
    ],
)
def test_padding(size, kernel, stride, pads, expected):
    out = output_size(size, kernel, stride, *pads)
    pair = windows((size, size), (out, out), (kernel, kernel), (stride, stride), (pads[0], pads[0], pads[1], pads[1]))
    assert padding_of(pair) == expected


def test_both_axes_must_agree():
    assert padding_of(windows((8, 8), (8, 6), (3, 3), (1, 1), (1, 0, 1, 0))) is None


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4))
def test_the_end_is_what_the_last_window_reaches(size, kernel, stride, begin, end):
    out = output_size(size, kernel, stride, begin, end)
    assume(out >= 1)
    window = Window(size, kernel, stride, begin, out)
    assert window.end <= end
    assert (size + begin + window.end - kernel) // stride + 1 >= out
