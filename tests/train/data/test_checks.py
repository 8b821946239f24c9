"""Bad data: what cannot be used is skipped with its reason, what nothing can be learned from is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.errors import DataError
from edgecnn.train.data import load_image, load_mask, read
from edgecnn.train.data.checks import check
from edgecnn.train.data.samples import Sample
from edgecnn.vision.read import read_image
from tests.train.data import folders


def reason(folder: Path, task: str = "defect") -> str:
    """Return why the only unusable file is unusable."""
    (item,) = read(folder, task).skipped
    return f"{item.name}: {item.reason}"


def test_an_empty_class_is_left_out_and_said(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 3, "dent": 2, "scratch": 0})
    dataset = read(folder, "defect")

    assert dataset.labels == ("good", "dent")
    assert "The class folder 'scratch' is empty: the class is left out." in dataset.warnings


def test_only_empty_classes_are_refused(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path / "images", {"good": 0, "dent": 0})
    (tmp_path / "masks").mkdir()

    with pytest.raises(DataError, match=f"{folder}: no pictures in its class folders"):
        read(tmp_path, "defect")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"no picture", "expected a picture"), (b"\xff\xd8\xff\xe0", "is cut off")],
)
def test_an_unreadable_image_is_skipped(tmp_path: Path, content: bytes, message: str) -> None:
    folder = folders.class_folders(tmp_path, {"good": 6, "dent": 5})
    (folder / "dent" / "bad.jpg").write_bytes(content)

    assert reason(folder).startswith("dent/bad.jpg: ")
    assert message in reason(folder)
    assert len(read(folder, "defect")) == 11


def test_an_image_of_16_bits_is_skipped(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 6, "dent": 5})
    folders.save(folder / "good" / "deep.png", folders.picture(99).astype(np.uint16) * 256)

    assert "expected 8 bits per channel, got uint16. Convert it to 8 bits first." in reason(folder)


def test_nothing_but_16_bits_is_refused(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 2, "dent": 2})
    for path in folder.rglob("*.png"):
        folders.save(path, read_image(path).astype(np.uint16))

    with pytest.raises(DataError, match="4 of 4 files cannot be used") as caught:
        read(folder, "defect")
    assert "  - dent/0.png: " in str(caught.value)


def test_alpha_is_dropped_as_on_the_device(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 2, "dent": 1})
    opaque = np.dstack([folders.picture(9), np.full((folders.HEIGHT, folders.WIDTH), 255, np.uint8)])
    path = folders.save(folder / "good" / "alpha.png", opaque)
    sample = next(sample for sample in read(folder, "defect").samples if sample.image == path)

    assert np.array_equal(load_image(sample), folders.picture(9))
    assert np.array_equal(load_image(sample), read_image(path))


def test_grey_images_get_three_equal_channels(tmp_path: Path) -> None:
    grey = cv2.cvtColor(folders.picture(3), cv2.COLOR_BGR2GRAY)
    pixels = load_image(Sample(folders.save(tmp_path / "a.png", grey), "good"))

    assert np.array_equal(pixels, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def test_an_image_that_is_turned_by_exif_needs_an_upright_mask(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path, good=12)
    lying = folders.picture(77)
    for name, orientation in (("upright", 6), ("lying", 6)):
        folders.turned(folder / "images" / "scratch" / f"{name}.jpg", lying + orientation, orientation)
    folders.save(folder / "masks" / "scratch" / "upright.png", np.rot90(folders.mask(), -1).copy())
    folders.save(folder / "masks" / "scratch" / "lying.png", folders.mask())
    dataset = read(folder, "defect")
    sample = next(sample for sample in dataset.samples if sample.image.stem == "upright")

    assert sample.size == (folders.WIDTH, folders.HEIGHT)
    assert load_image(sample).shape == (folders.WIDTH, folders.HEIGHT, 3)
    assert np.array_equal(load_mask(sample), np.rot90(folders.mask(), -1))
    (skipped,) = dataset.skipped
    assert skipped.name == "images/scratch/lying.jpg"
    assert "size 48x64, got 64x48. If the picture is turned upright by its EXIF data" in skipped.reason


def test_a_mask_of_another_size_is_skipped(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    folders.save(folder / "masks" / "scratch" / "1.png", folders.mask(24, 32))

    assert "images/scratch/1.png: " in reason(folder)
    assert "expected a mask of its picture's size 64x48, got 32x24." in reason(folder)


def test_a_mask_in_colours_is_skipped(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    folders.save(folder / "masks" / "scratch" / "1.png", folders.picture(5))

    assert "expected a grey mask, got colours" in reason(folder)


def test_a_mask_that_marks_a_good_part_contradicts_it(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    folders.save(folder / "masks" / "good" / "0.png", 0 * folders.mask())
    folders.save(folder / "masks" / "good" / "2.png", folders.mask())

    assert reason(folder) == (
        "images/good/2.png: it is in a folder of good parts, but its mask marks 200 pixels as defective."
    )


def test_a_mask_that_marks_nothing_on_a_defective_part_is_not_used(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    folders.save(folder / "masks" / "scratch" / "1.png", 0 * folders.mask())
    dataset = read(folder, "defect")

    assert [sample.mask is None for sample in dataset.samples[4:]] == [False, True, False]
    assert any(
        text.startswith("1 defective pictures have masks that mark nothing (1.png)") for text in dataset.warnings
    )


def test_a_mask_without_an_image_is_said(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    folders.save(folder / "masks" / "scratch" / "old.png", folders.mask())

    assert reason(folder).startswith("masks/scratch/old.png: a mask, but there is no picture of it in ")


def test_a_table_that_names_other_files(tmp_path: Path) -> None:
    folder = folders.lane_table(tmp_path, {"town": 12})
    table = folder / "labels.csv"
    table.write_text(table.read_text() + "images/gone.jpg,masks/town-0.png,town\n")
    assert reason(folder, "lane") == f"images/gone.jpg: {folder / 'images' / 'gone.jpg'}: there is no such file."

    table.write_text("image,mask,source\n" + "".join(f"images/{i}.jpg,masks/{i}.png,a\n" for i in range(12)))
    with pytest.raises(DataError, match="12 of 12 files cannot be used") as caught:
        read(folder, "lane")
    assert "  and 2 more" in str(caught.value)


def test_a_table_without_the_columns(tmp_path: Path) -> None:
    folder = folders.lane_table(tmp_path, {"town": 2})
    folders.save_text(folder / "labels.csv", "file,class\na.jpg,1\n")

    with pytest.raises(DataError, match=r"expected the columns image, mask and source, got \['file', 'class'\]"):
        read(folder, "lane")


def test_a_row_without_a_mask_and_one_too_many_are_skipped(tmp_path: Path) -> None:
    folder = folders.lane_table(tmp_path, {"town": 25})
    table = folder / "labels.csv"
    table.write_text(table.read_text() + "images/town-0.jpg,masks/town-1.png,town\nimages/town-0.jpg,,town\n")

    assert [(item.name, item.reason) for item in read(folder, "lane").skipped] == [
        ("labels.csv, line 27", "its image is named above already"),
        ("labels.csv, line 28", "it names no image or no mask"),
    ]


def test_lines_without_an_image_are_skipped(tmp_path: Path) -> None:
    folder = folders.culane(tmp_path, [f"a/{index}.jpg" for index in range(10)])
    (folder / "a" / "3.jpg").unlink()

    assert reason(folder, "lane").startswith("a/3.jpg: ")
    assert reason(folder, "lane").endswith("there is no such file.")


def test_lines_of_a_larger_picture_are_skipped(tmp_path: Path) -> None:
    folder = folders.culane(tmp_path, [f"a/{index}.jpg" for index in range(10)])
    folders.save_text(folder / "a" / "3.lines.txt", "500 590 520 400\n")
    folders.save_text(folder / "a" / "4.lines.txt", "10 20 30\n")
    folders.save_text(folder / "a" / "4.lines.txt", "10 20 30 20 \n")

    assert "reach down to y = 590, but it is 48 pixels high" in reason(folder, "lane")


def test_lane_masks_of_other_values_are_skipped(tmp_path: Path) -> None:
    folder = folders.lane_table(tmp_path, {"town": 12})
    folders.save(folder / "masks" / "town-3.png", folders.mask())

    assert "expected lane classes 0 .. 6" in reason(folder, "lane")
    assert "got the value 255" in reason(folder, "lane")


@pytest.mark.parametrize("task", ["defect", "anomaly"])
def test_one_image_is_refused(tmp_path: Path, task: str) -> None:
    folder = folders.class_folders(tmp_path, {"good": 1})

    with pytest.raises(DataError, match="expected pictures to learn from and to validate on, got 1"):
        read(folder, task)


def test_all_of_one_class_is_refused(tmp_path: Path) -> None:
    good = folders.class_folders(tmp_path / "a", {"good": 3})
    bad = folders.class_folders(tmp_path / "b", {"good": 0, "dent": 3})

    with pytest.raises(
        DataError, match=r"all 3 pictures show good parts\. Add defective ones, or use the task 'anomaly'"
    ):
        read(good, "defect")
    with pytest.raises(DataError, match="all 3 pictures show defects; nothing says what a good part is"):
        read(bad, "defect")
    with pytest.raises(DataError, match="nothing says what a good part is"):
        read(bad, "anomaly")
    assert read(good, "anomaly").labels == ("good",)


def test_the_same_picture_with_two_labels_is_left_out_and_both_are_named(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 20, "dent": 10})
    folders.save(folder / "dent" / "copy.png", read_image(folder / "good" / "4.png"))
    dataset = read(folder, "defect")

    assert {(item.name, item.reason) for item in dataset.skipped} == {
        ("dent/copy.png", "labelled 'dent', but the same picture is labelled 'good': good/4.png"),
        ("good/4.png", "labelled 'good', but the same picture is labelled 'dent': dent/copy.png"),
    }
    assert dataset.counts() == {"good": 19, "dent": 10}


def test_copies_of_one_label_are_counted(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 20, "dent": 10})
    for name in ("x", "y"):
        folders.save(folder / "dent" / f"{name}.png", read_image(folder / "dent" / "3.png"))
    dataset = read(folder, "defect")

    assert (
        len({sample.cluster for sample in dataset.samples if sample.image.stem in "3xy" and sample.label == "dent"})
        == 1
    )
    assert (
        "3 of 32 pictures show the same as others, in 1 sets of up to 3 (2 are exact copies): each set stays together "
        "in splits." in dataset.warnings
    )


def test_too_many_unusable_files_are_an_error(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 10, "dent": 10})
    for index in range(2):
        (folder / "dent" / f"{index}.png").write_bytes(b"no picture")
    dataset = read(folder, "defect")
    assert len(dataset) == 18
    assert any(
        text.startswith("2 files cannot be used and are skipped, the first: dent/0.png") for text in dataset.warnings
    )

    (folder / "dent" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="3 of 20 files cannot be used; up to 10% are skipped"):
        read(folder, "defect")


def test_too_few_and_too_uneven_pictures_are_said_with_numbers(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 45, "dent": 2})

    assert read(folder, "defect").warnings == (
        "Only 45 pictures of good parts: have 100 or more.",
        "Only 2 pictures of 'dent': have 20 or more, or put similar defects into one class.",
        "Classes are uneven: 45 pictures of 'good', 2 of 'dent'. Figures will say more of 'good'; collect 'dent'.",
    )
    assert read(folder, "anomaly").warnings == (
        "Only 45 pictures of good parts: have 100 or more.",
        "2 pictures of defective parts to validate on: escapes cannot be told from fewer than 20.",
    )


def test_too_few_roads_are_said_with_numbers(tmp_path: Path) -> None:
    assert read(folders.lane_table(tmp_path, {"town": 3, "motorway": 2}), "lane").warnings == (
        "Only 5 road frames: have 300 or more.",
        "Frames of only 2 video(s): have 4 or more, of other roads and light.",
    )


def test_defects_are_never_learned_from_for_anomaly(tmp_path: Path) -> None:
    dataset = read(folders.class_folders(tmp_path, {"good": 3, "dent": 2}), "anomaly")

    assert [(sample.label, sample.trainable) for sample in dataset.samples] == [("dent", False)] * 2 + [
        ("good", True)
    ] * 3


def test_progress_is_told_and_may_interrupt(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 3, "dent": 2})
    calls: list[tuple[int, int]] = []
    read(folder, "defect", progress=lambda done, of: calls.append((done, of)))
    assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]

    def interrupt(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(folder, "defect", progress=interrupt)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.jpg")
    checked, skipped = check([Sample(tmp_path / "a.jpg", "good")], "defect", tmp_path)

    assert checked == []
    assert skipped[0].reason == f"{tmp_path / 'a.jpg'}: there is no such file."


@pytest.mark.data
def test_magnetic_tiles(data_dir: Path) -> None:
    dataset = read(data_dir / "magnetic-tile", "defect")

    assert dataset.layout == "image_masks"
    assert dataset.labels == ("good", "blowhole", "break", "crack", "fray", "uneven")
    assert list(dataset.counts().values()) == [300, 64, 41, 33, 16, 53]
    assert dataset.skipped == ()
    assert sum(sample.mask is not None for sample in dataset.samples) == 203
