from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn import limits
from edgecnn.arrays import opened_zip, read_npy, read_npz, write_npz
from edgecnn.errors import BundleError, DataError

MEMORY = 64 << 20


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def stored(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.asarray(3.5),
        np.zeros((0, 4), np.int64),
        np.asarray([True, False]),
        np.arange(3, dtype=">i4"),
    ],
)
def test_arrays_are_read_back(tmp_path: Path, array: np.ndarray) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=array)
    write_npz(tmp_path / "b.npz", {"x": array})
    np.save(tmp_path / "c.npy", array)
    read = [read_npz(tmp_path / name, limits.ARRAYS, BundleError)["x"] for name in ("a.npz", "b.npz")]
    for found in (*read, read_npy(tmp_path / "c.npy", limits.FRAME, DataError)):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert np.array_equal(found, array)
        assert found.flags.writeable


HOSTILE = {
    "more than there is": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"),
    "less than there is": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", bytes(5)),
    "a negative size": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-4,), }", bytes(4)),
    "a size that is true": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (True,), }", bytes(1)),
    "a size that no machine has": npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({9**200},), }}"),
    "nested brackets": npy("(" * 900),
    "signs": npy("-" * 900 + "1"),
    "a header of 9000 characters": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }" + " " * 9000, b"x"),
    "an open string": npy("{'descr': '''"),
    "an unhashable key": npy("{[]: 1, 'descr': '|u1'}"),
    "other keys": npy("{'descr': '|u1', 'shape': (1,), 'evil': 1, }"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04K\x01."),
    "a structure": npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,), }", b"x"),
    "text": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }", bytes(16)),
    "no dtype": npy("{'descr': '|', 'fortran_order': False, 'shape': (1,), }", b"x"),
    "another version": b"\x93NUMPY\x09\x00" + bytes(20),
    "nothing": b"",
    "a magic alone": b"\x93NUMPY",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_header_is_not_believed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.npy: not a readable \.npy array"):
        read_npy(tmp_path / "a.npy", limits.FRAME, DataError)
    with pytest.raises(BundleError, match=r"a\.npz: not a readable \.npz"):
        read_npz(stored(tmp_path / "a.npz", x=content), limits.ARRAYS, BundleError)
    assert tracemalloc.get_traced_memory()[1] < MEMORY
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_end_is_refused(tmp_path: Path, method: int) -> None:
    """Python reads a member of these kinds as a whole, whatever size was declared."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("x.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", b"x"))
    with pytest.raises(BundleError, match=r"'x\.npy' must be stored or deflated"):
        read_npz(tmp_path / "a.npz", limits.ARRAYS, BundleError)


def test_a_directory_larger_than_any_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index in range(100):
            archive.writestr(f"{index:0100}", b"")
    monkeypatch.setattr(limits, "ZIP_DIRECTORY", replace(limits.ZIP_DIRECTORY, most=1000))
    with (
        pytest.raises(BundleError, match=r"are more than the 1000 that the directory of a \.zip may have"),
        opened_zip(tmp_path / "a.zip", limits.BUNDLE, BundleError),
    ):
        pass


def test_mutations_of_an_npz_end_in_one_kind_of_error(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, frames=np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3), out_0=np.zeros((1, 4), np.float32))
    good, rng, refused = stream.getvalue(), np.random.default_rng(5), 0
    for _ in range(2000):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(data)
        try:
            read_npz(tmp_path / "a.npz", limits.ARRAYS, BundleError)
        except BundleError:
            refused += 1
    assert refused > 1000
