from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.composer.evaluate import Comparison, accuracy_section, compare, find_labelled
from edgecnn.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, two in each of two folders."""
    for name in ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    return tmp_path / "photos"


def found(folder: Path, *labels: str) -> list[tuple[str, int | None]]:
    return [(item.path.relative_to(folder).as_posix(), item.label) for item in find_labelled(folder, labels)]


def test_folders_named_like_labels_are_classes(folder: Path) -> None:
    assert found(folder, "dog", "cat") == [("cat/a.png", 1), ("cat/b.png", 1), ("dog/a.png", 0), ("dog/b.png", 0)]


def test_without_labels_there_is_agreement_alone(folder: Path) -> None:
    assert [label for _, label in found(folder)] == [None] * 4
    assert [label for _, label in found(folder, "dog", "bird")] == [None, None, 0, 0]


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_table_counts_before_folders(folder: Path, start: str) -> None:
    rows = f"{start}image,label,remark\ncat/a.png,0,\ndog/b.png,cat,by name\n"
    (folder / "labels.csv").write_text(rows, encoding="utf-8")
    assert found(folder, "dog", "cat") == [("cat/a.png", 0), ("dog/b.png", 1)]


def test_a_table_beside_the_folder_names_only_what_is_in_it(folder: Path) -> None:
    (folder.parent / "val.csv").write_text("image,label\nphotos/cat/a.png,7\nelsewhere/x.png,3\n")
    assert found(folder) == [("cat/a.png", 7)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image;label\ncat/a.png;1\n", r"expected the columns 'image' and 'label', got \['image;label'\]"),
        (b"", "got no row"),
        (b"image,label\n", "got no row"),
        (b"image,label\ncat/a.png,weasel\n", "'weasel' is neither a class index nor one of the model's labels"),
        (b"image,label\ncat/a.png\n", "'' is neither a class index"),
        (b"image,label\n/elsewhere/x.png,1\n", "it names no picture below"),
        ("image,label\ncafé.png,1\n".encode("latin-1"), "in UTF-8, comma-separated"),
    ],
)
def test_tables_that_cannot_be_used(folder: Path, content: bytes, says: str) -> None:
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        find_labelled(folder, ("dog", "cat"))


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in it"):
        find_labelled(tmp_path)
    with pytest.raises(DataError, match="expected a folder of pictures to evaluate on"):
        find_labelled(tmp_path / "none")


def one_hot(*classes: int) -> list[np.ndarray]:
    return list(np.eye(3, dtype=np.float32)[list(classes)])


def test_numbers_of_a_comparison() -> None:
    section = accuracy_section(
        Comparison(one_hot(0, 1, 2, 0), {"a": one_hot(0, 1, 2, 1), "b": one_hot(0, 1, 2, 0)}, [0, 1, 1, None])
    )
    assert section["images"] == 4
    assert section["agreement"]["value"] == 0.75
    assert section["agreement"]["low"] < 0.75 < section["agreement"]["high"]
    assert section["top1"] == {"float": pytest.approx(2 / 3), "int8": pytest.approx(2 / 3)}
    first, second = section["per_engine"]
    assert (first["engine"], first["agreement"], first["top1"]) == ("a", 0.75, pytest.approx(2 / 3))
    # Four signals of power 2/3, one difference of power 2: 10 log10(8/3 / 2).
    assert first["sqnr_db"] == pytest.approx(10 * np.log10(4 / 3))
    assert (second["agreement"], second["sqnr_db"]) == (1.0, None)


def test_without_labels_there_is_no_top1() -> None:
    section = accuracy_section(Comparison(one_hot(0, 1), {"a": one_hot(0, 1)}, [None, None]))
    assert section["top1"] is None
    assert section["per_engine"][0]["top1"] is None


def test_maps_are_compared_pixel_by_pixel() -> None:
    scores = np.random.default_rng(0).random((2, 5, 6, 3))
    other = scores.copy()
    other[0, 0, :3] = -other[0, 0, :3]
    changed = np.mean(scores.argmax(-1) != other.argmax(-1))
    section = accuracy_section(Comparison(list(scores), {"a": list(other)}, [None, None]))
    assert section["agreement"]["value"] == pytest.approx(1 - changed)
    assert section["top1"] is None


def test_every_picture_goes_through_everything_once() -> None:
    seen: list[tuple[str, int]] = []

    def model(name: str):
        return lambda frame: seen.append((name, int(frame[0, 0, 0]))) or np.zeros(2)

    frames = ((np.full((1, 1, 3), value, np.uint8), value) for value in (4, 5))
    result = compare(frames, model("float"), {"a": model("a")})
    assert seen == [("float", 4), ("a", 4), ("float", 5), ("a", 5)]
    assert result.labels == [4, 5]
    with pytest.raises(DataError, match="no picture to evaluate on"):
        accuracy_section(Comparison([], {}, []))
