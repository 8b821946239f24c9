from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.vision.frames import Frames


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good pictures, a corrupt one, an empty one, and files that are no pictures."""
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b/2.png", "a.PNG", ".hidden/x.png"):
        (tmp_path / name).write_bytes(bytes(cv2.imencode(".png", noise(4, 5, 3))[1]))
    (tmp_path / "b" / "1.jpg").write_bytes(b"\xff\xd8\xff not really")
    (tmp_path / "c.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_is_walked_in_sorted_order_and_what_is_corrupt_is_named(folder: Path) -> None:
    frames = Frames(str(folder))
    assert [name for name, _ in frames.named()] == ["a.PNG", "b/2.png"]
    assert frames.count == 2
    assert [item.name for item in frames.skipped] == ["b/1.jpg", "c.jpg"]
    assert "cut off" in frames.skipped[0].reason
    assert "empty" in frames.skipped[1].reason
    assert len(frames) == 4


def test_a_second_walk_gives_the_same_and_counts_anew(folder: Path) -> None:
    frames = Frames(folder)
    first = [frame.copy() for frame in frames]
    digest = frames.digest
    assert all(np.array_equal(a, b) for a, b in zip(first, frames, strict=True))
    assert (frames.count, len(frames.skipped), frames.digest) == (2, 2, digest)


def test_the_digest_depends_on_pixels_order_and_shape() -> None:
    a, b = noise(4, 6), noise(4, 6, seed=1)
    digests = set()
    for source in ([a, b], [b, a], [a], [a.reshape(6, 4), b]):
        frames = Frames(source)
        assert len(list(frames)) == len(source)
        digests.add(frames.digest)
    assert len(digests) == 4


def test_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"no pictures in it. Looked for .jpg"):
        Frames(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        Frames(tmp_path / "none")


def test_only_corrupt_pictures_are_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"no usable frame in .*a.jpg: .*the file is empty"):
        list(Frames(tmp_path))


def test_one_picture(folder: Path) -> None:
    assert [name for name, _ in Frames(folder / "a.PNG").named()] == ["a.PNG"]


def test_npz_prefers_the_key_frames(tmp_path: Path) -> None:
    frames = noise(3, 4, 5, 3)
    np.savez(tmp_path / "a.npz", aaa=noise(1, 2, 2), frames=frames)
    assert np.array_equal(np.stack(list(Frames(tmp_path / "a.npz"))), frames)
    assert len(Frames(tmp_path / "a.npz")) == 3


def test_npz_without_the_key_and_npy(tmp_path: Path) -> None:
    frames = noise(3, 4, 5)
    np.savez_compressed(tmp_path / "a.npz", frames)
    np.save(tmp_path / "a.npy", frames)
    for name in ("a.npz", "a.npy"):
        assert np.array_equal(np.stack(list(Frames(tmp_path / name))), frames)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", frames=np.zeros((64, 512, 512, 3), np.uint8))
    tracemalloc.start()
    count = sum(1 for _ in Frames(tmp_path / "a.npz"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 64
    assert peak < 8 * 512 * 512 * 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), r"expected uint8 frames \(N, H, W, C\) or \(N, H, W\), got float32"),
        (np.zeros((4, 4), np.uint8), r"got uint8 \(4, 4\)"),
        (np.zeros((0, 4, 4), np.uint8), r"got uint8 \(0, 4, 4\)"),
        (np.asfortranarray(noise(2, 4, 4)), "in Fortran order"),
        (np.asarray([{}], dtype=object), "pickled objects, which could run code"),
    ],
)
def test_arrays_that_are_no_frames(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", frames=array)
    with pytest.raises(DataError, match=message):
        list(Frames(tmp_path / "a.npz"))


def test_an_npz_that_is_cut_off_or_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, frames=noise(8, 40, 40))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"not a readable .npz"):
        list(Frames(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frames.npy", b"\x93NUMPY")
    with pytest.raises(DataError, match=r"not a readable \.npz: EOF"):
        list(Frames(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"x")
    with pytest.raises(DataError, match="no array in it; expected one called 'frames'"):
        list(Frames(path))


def test_an_npy_that_promises_more_than_it_holds(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(3, 10, 10))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="cut off at frame 2 of 3"):
        list(Frames(path))


def test_an_iterable_is_consumed_lazily_and_wrong_items_are_skipped() -> None:
    def stream() -> Iterator[np.ndarray]:
        yield noise(4, 4, 3)
        yield np.zeros((4, 4, 3), np.float32)
        yield noise(4, 4)

    frames = Frames(stream())
    assert [name for name, _ in frames.named()] == ["frame 0", "frame 2"]
    assert frames.skipped[0].reason.endswith("got float32 (4, 4, 3)")
    with pytest.raises(TypeError, match="no length"):
        len(frames)


@pytest.mark.data
def test_real_photographs(data_dir: Path) -> None:
    frames = Frames(data_dir / "imagenet" / "calibration")
    shapes = [frame.shape for _, frame in zip(range(20), frames, strict=False)]
    assert len(frames) == 300
    assert all(min(shape[:2]) >= 200 and shape[2:] in ((3,), ()) for shape in shapes)


def test_one_bad_file_does_not_end_the_walk(tmp_path: Path) -> None:
    """Whatever is wrong with it: it is skipped and named, and the others are used."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 4, 3), }"
    bad = {
        "a.npy": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header,
        "b.npy": b"\x93NUMPY\x01\x00\x00\x04" + b"(" * 1024,
        "c.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\x00\x00\x75\x30" * 2 + bytes(20),
        "d.jpg": b"\xff\xd8\xff\xe0" + bytes(40) + b"\xff\xd9",
        "e.tif": b"II*\x00\xff\xff\xff\x7f",
        "f.bmp": b"BM" + b"\xff" * 60,
        "g.webp": b"RIFF\x10\x00\x00\x00WEBPVP8X",
        "h.npy": npy_bytes(np.zeros((0, 4), np.uint8)),
        "i.ppm": b"P6 99999 99999 255 x",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "z.npy", noise(4, 4, 3))
    frames = Frames(tmp_path)
    assert [frame.shape for frame in frames] == [(4, 4, 3)]
    assert [item.name for item in frames.skipped] == list(bad)
    assert all(item.reason for item in frames.skipped)


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_more_frames_than_can_be_counted_are_refused(tmp_path: Path) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 4, 4, 3), }}".encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match="are more than the 1099511627776 that a stream of frames may have"):
        len(Frames(tmp_path / "a.npy"))
