from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError, OptionError
from edgecnn.runtime.evaluation.labelled import Vocabulary, find_labelled, vocabulary, without_label

INSPECTION = Vocabulary(("good", "scratch", "dent"), frozenset({"scratch", "dent"}))


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, two in each of two folders."""
    return write(tmp_path / "photos", "cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png")


def found(folder: Path, words: Vocabulary | None = None) -> list[tuple[str, str | None]]:
    return [(item.name, item.label) for item in find_labelled(folder, words)]


def test_folders_named_like_labels_are_classes(folder: Path) -> None:
    words = Vocabulary(("dog", "cat"))
    assert found(folder, words) == [
        ("cat/a.png", "cat"),
        ("cat/b.png", "cat"),
        ("dog/a.png", "dog"),
        ("dog/b.png", "dog"),
    ]


def test_without_labels_there_is_agreement_alone(folder: Path) -> None:
    assert [label for _, label in found(folder)] == [None] * 4
    assert [label for _, label in found(folder, Vocabulary(("dog", "bird")))] == [None, None, "dog", "dog"]


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_table_counts_before_folders(folder: Path, start: str) -> None:
    rows = f"{start}image,label,remark\ncat/a.png,0,\ndog/b.png,cat,by name\n"
    (folder / "labels.csv").write_text(rows, encoding="utf-8")
    assert found(folder, Vocabulary(("dog", "cat"))) == [("cat/a.png", "dog"), ("dog/b.png", "cat")]


def test_a_table_beside_the_folder_names_only_what_is_in_it(folder: Path) -> None:
    (folder.parent / "val.csv").write_text("image,label\nphotos/cat/a.png,7\nelsewhere/x.png,3\n")
    assert found(folder) == [("cat/a.png", "7")]


def test_a_table_of_masks_names_the_pictures_alone(folder: Path) -> None:
    (folder / "labels.csv").write_text("image,mask,lines\ncat/a.png,masks/a.png,2\n")
    assert found(folder) == [("cat/a.png", None)]
    assert [item.mask for item in find_labelled(folder)] == [folder / "masks" / "a.png"]


def test_masks_lie_below_a_folder_beside_the_pictures(folder: Path) -> None:
    assert {item.mask for item in find_labelled(folder)} == {None}
    mask = folder.parent / "masks" / "cat" / "a.png"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"")
    assert {item.name: item.mask for item in find_labelled(folder)}["cat/a.png"] == mask
    assert {item.name: item.mask for item in find_labelled(folder)}["dog/b.png"] is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image;label\ncat/a.png;1\n", r"expected the columns 'image' and 'label', got \['image;label'\]"),
        (b"", "got no row"),
        (b"image,label\n", "got no row"),
        (b"image,label\ncat/a.png,weasel\n", "'weasel' is neither a class index nor one of the model's labels"),
        (b"image,label\ncat/a.png,2\n", r"class 2 is none of the model's 2 \(0 .. 1\)"),
        (b"image,label\ncat/a.png,-1\n", "class -1 is none"),
        (b"image,label\ncat/a.png\n", "'' is neither a class index"),
        (b"image,label\n/elsewhere/x.png,1\n", "it names no picture below"),
        ("image,label\ncafé.png,1\n".encode("latin-1"), "in UTF-8, comma-separated"),
    ],
)
def test_tables_that_cannot_be_used(folder: Path, content: bytes, says: str) -> None:
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        find_labelled(folder, Vocabulary(("dog", "cat")))


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in it"):
        find_labelled(tmp_path)
    with pytest.raises(DataError, match="expected a folder of pictures to evaluate on"):
        find_labelled(tmp_path / "none")


# Inspection


def test_labels_with_a_threshold_are_to_be_rejected(tmp_path: Path) -> None:
    write(tmp_path, "good/a.png", "scratch/a.png", "dent/a.png")
    assert found(tmp_path, INSPECTION) == [
        ("dent/a.png", "REJECT"),
        ("good/a.png", "PASS"),
        ("scratch/a.png", "REJECT"),
    ]


def test_what_is_not_called_good_is_defective(tmp_path: Path) -> None:
    # As inspection data sets come: one folder of sound parts, one for each kind of defect, whatever it is called.
    write(tmp_path, "free/a.png", "spare/a.png", "blowhole/a.png", "b.png")
    words = Vocabulary(INSPECTION.labels, INSPECTION.rejecting, ("free", "spare"))
    labels = {"b.png": None, "blowhole/a.png": "REJECT", "free/a.png": "PASS", "spare/a.png": "PASS"}
    assert dict(found(tmp_path, words)) == labels


def test_a_label_called_good_is_not_taken_for_the_rest(tmp_path: Path) -> None:
    # A folder 'good' beside folders of unknown names: those are not guessed to be defective.
    write(tmp_path, "good/a.png", "hole/a.png", "hole/b.png")
    pictures = find_labelled(tmp_path, INSPECTION)
    assert [item.label for item in pictures] == ["PASS", None, None]
    told = without_label(pictures, INSPECTION)
    assert told is not None
    assert told.startswith(
        "2 of 3 pictures have no label (folders hole): say which folders hold sound parts with --good"
    )


def test_everything_labelled_needs_no_remark(tmp_path: Path) -> None:
    write(tmp_path, "good/a.png")
    assert without_label(find_labelled(tmp_path, INSPECTION), INSPECTION) is None


def test_where_no_labels_were_meant_none_are_missed(folder: Path) -> None:
    assert without_label(find_labelled(folder), Vocabulary()) is None
    assert without_label(find_labelled(folder, Vocabulary(("cow",))), Vocabulary(("cow",))) is not None


def test_a_table_may_say_good_too(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,ok\nb.png,hole\nc.png,0\n")
    words = Vocabulary(INSPECTION.labels, INSPECTION.rejecting, ("ok",))
    assert [label for _, label in found(tmp_path, words)] == ["PASS", "REJECT", "REJECT"]
    (tmp_path / "labels.csv").write_text("image,label\na.png,0\nb.png,dent\nc.png,1\n")
    assert [label for _, label in found(tmp_path, INSPECTION)] == ["PASS", "REJECT", "REJECT"]


def test_a_name_of_good_parts_must_occur(folder: Path) -> None:
    words = Vocabulary(INSPECTION.labels, INSPECTION.rejecting, ("cat", "free"))
    with pytest.raises(OptionError, match=r"--good free: there is no such folder below .*There: cat, dog"):
        find_labelled(folder, words)
    (folder / "labels.csv").write_text("image,label\ncat/a.png,cat\n")
    with pytest.raises(OptionError, match=r"--good free: there is no such label in .*There: cat"):
        find_labelled(folder, words)


def test_good_is_for_inspections() -> None:
    with pytest.raises(OptionError, match="for inspection models"):
        vocabulary("classify", ("a", "b"), {}, ("a",))
    assert vocabulary("classify", ("a", "b"), {"b": 0.5}).rejecting == frozenset()
    assert vocabulary("defect", ("a", "b"), {"b": 0.5}, ("x",)).rejecting == {"b"}


def test_one_threshold_rejects_all_labels_but_the_first() -> None:
    assert vocabulary("defect", ("ok", "a", "b"), {}, (), {"threshold": 0.5}).rejecting == {"a", "b"}
    assert vocabulary("anomaly", ("anomaly",), {}, (), {"threshold": 0.5}).rejecting == {"anomaly"}
    assert vocabulary("anomaly", ("good", "anomaly"), {"anomaly": 0.4}).rejecting == {"anomaly"}
    assert vocabulary("segment", ("ok", "a"), {}, (), {"threshold": 0.5}).rejecting == frozenset()


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture")
    return path


def test_a_data_set_of_mvtec_says_what_is_good_and_where_the_masks_are(tmp_path: Path) -> None:
    words = Vocabulary(("good", "anomaly"), frozenset({"anomaly"}))
    for name in ("test/good/0.png", "test/cut/0.png", "test/cut/1.png", "train/good/0.png"):
        picture(tmp_path / name)
    mask = picture(tmp_path / "ground_truth" / "cut" / "0_mask.png")
    expected = [("cut/0.png", "REJECT", mask, "cut"), ("cut/1.png", "REJECT", None, "cut")]
    expected.append(("good/0.png", "PASS", None, "good"))
    for folder in (tmp_path, tmp_path / "test"):
        found = find_labelled(folder, words)
        assert [(item.name, item.label, item.mask, item.kind) for item in found] == expected
    assert find_labelled(tmp_path, Vocabulary())[2].label is None


def test_a_folder_of_images_and_masks_holds_the_pictures_in_images(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "part" / "1.jpg")
    mask = picture(tmp_path / "masks" / "part" / "1.png")
    (item,) = find_labelled(tmp_path)
    assert (item.name, item.mask, item.kind) == ("part/1.jpg", mask, "part")


def test_a_table_names_kinds_and_sources(tmp_path: Path) -> None:
    words = Vocabulary(("good", "dent"), frozenset({"dent"}))
    for index in range(3):
        picture(tmp_path / f"{index}.png")
    (tmp_path / "labels.csv").write_text("image,label,source\n0.png,dent,left\n1.png,0,right\n2.png,1,\n")
    found = [(item.label, item.kind, item.source) for item in find_labelled(tmp_path, words)]
    assert found == [("REJECT", "dent", "left"), ("PASS", "good", "right"), ("REJECT", "dent", None)]
