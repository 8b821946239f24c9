"""Every layout is found out and read; what fits none or two is refused with what is there."""

from __future__ import annotations

import contextlib
import inspect
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import plugins
from edgecnn.errors import DataError, OptionError
from edgecnn.train.data import read
from edgecnn.train.data.layouts._found import inside
from edgecnn.train.data.reading import LAYOUTS, TASKS
from tests.train.data import folders

DOCUMENT = Path(__file__).parents[3] / "docs" / "training-data.md"


@pytest.mark.parametrize("name", plugins.discover(LAYOUTS))
def test_layout(name: str) -> None:
    module = plugins.load(LAYOUTS, name)

    assert module.__doc__
    assert set(module.TASKS) <= set(TASKS)
    assert module.LOOKS
    assert list(inspect.signature(module.fits).parameters) == ["folder"]
    assert list(inspect.signature(module.find).parameters) == ["folder", "task", "good"]
    assert f"## `{name}`" in DOCUMENT.read_text(encoding="utf-8")


def test_class_folders(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"OK": 3, "scratch": 2, "dent": 2})
    folders.save(folder / "dent" / "part-7" / "a.png", folders.picture(50))
    dataset = read(folder, "defect")

    assert dataset.layout == "class_folders"
    assert dataset.labels == ("good", "dent", "scratch")
    assert dataset.counts() == {"good": 3, "dent": 3, "scratch": 2}
    assert dataset.groups() == {"dent/part-7": 1}
    assert dataset.samples[0].size == (folders.HEIGHT, folders.WIDTH)
    assert dataset.describe() == "8 pictures, read as class_folders: 3 good, 3 dent, 2 scratch; videos or parts: 1."


def test_folders_of_good_parts_are_named_where_their_names_do_not_say(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"a": 3, "b": 2, "c": 2})

    with pytest.raises(DataError, match=r"its folders are a, b, c, and none of their names means sound parts"):
        read(folder, "defect")
    with pytest.raises(OptionError, match=r"unknown folder of good parts 'd'\. Known: a, b, c"):
        read(folder, "defect", good=["d"])
    assert read(folder, "defect", good=["a", "b"]).counts() == {"good": 5, "c": 2}


def test_two_folders_that_mean_good_are_not_guessed_at(tmp_path: Path) -> None:
    folder = folders.class_folders(tmp_path, {"good": 3, "ok": 2, "c": 2})

    with pytest.raises(DataError, match="'good' and 'ok' both mean sound parts"):
        read(folder, "defect")


def test_image_masks_in_classes(tmp_path: Path) -> None:
    folder = folders.image_masks(tmp_path)
    dataset = read(folder, "defect")

    assert dataset.layout == "image_masks"
    assert dataset.counts() == {"good": 4, "scratch": 3}
    assert [sample.mask for sample in dataset.samples[:4]] == [None] * 4
    assert dataset.samples[5].mask == folder / "masks" / "scratch" / "1.png"


def test_image_masks_side_by_side_take_their_labels_from_the_masks(tmp_path: Path) -> None:
    for index in range(5):
        folders.save(tmp_path / "images" / f"{index}.jpg", folders.picture(index))
    folders.save(tmp_path / "masks" / "0.png", folders.mask())
    folders.save(tmp_path / "masks" / "1_mask.png", folders.mask(value=1))
    folders.save(tmp_path / "masks" / "2.png", 0 * folders.mask())
    folders.save(tmp_path / "masks" / "9.png", folders.mask())
    dataset = read(tmp_path, "defect")

    assert [sample.label for sample in dataset.samples] == ["defect", "defect", "good", "good", "good"]
    assert dataset.labels == ("good", "defect")
    assert "2 of 5 pictures have no mask: they are taken for good parts." in dataset.warnings
    assert [item.name for item in dataset.skipped] == ["masks/9.png"]


def test_mvtec(tmp_path: Path) -> None:
    folders.class_folders(tmp_path / "train", {"good": 4})
    folders.class_folders(tmp_path / "test", {"good": 2, "hole": 2}, start=10)
    folders.save(tmp_path / "ground_truth" / "hole" / "1_mask.png", folders.mask())
    for_anomaly, for_defect = read(tmp_path, "anomaly"), read(tmp_path, "defect")

    assert for_anomaly.layout == for_defect.layout == "mvtec"
    assert folders.names(for_anomaly, tmp_path)[3:6] == ["train/good/3.png", "test/good/0.png", "test/good/1.png"]
    assert [sample.trainable for sample in for_anomaly.samples] == [True] * 4 + [False] * 4
    assert all(sample.trainable for sample in for_defect.samples)
    assert for_defect.samples[-1].mask == tmp_path / "ground_truth" / "hole" / "1_mask.png"
    assert for_defect.samples[-2].mask is None


def test_good_pictures(tmp_path: Path) -> None:
    for index in range(3):
        folders.save(tmp_path / f"{index}.png", folders.picture(index))

    assert read(tmp_path, "anomaly").layout == "good_pictures"
    assert read(tmp_path, "anomaly").counts() == {"good": 3}
    with pytest.raises(DataError, match="fits no layout for the task 'defect'"):
        read(tmp_path, "defect")


def test_lane_masks_by_a_table(tmp_path: Path) -> None:
    dataset = read(folders.lane_table(tmp_path, {"town": 3, "motorway": 2}), "lane")

    assert dataset.layout == "lane_masks"
    assert dataset.labels == ()
    assert dataset.groups() == {"motorway": 2, "town": 3}
    assert folders.names(dataset, tmp_path)[0] == "images/town-0.jpg"


def test_lane_masks_by_folders(tmp_path: Path) -> None:
    for index, name in enumerate(["a/0", "a/1", "b/0", "b/1"]):
        folders.save(tmp_path / "images" / f"{name}.jpg", folders.picture(index))
        if index < 3:
            folders.save(tmp_path / "masks" / f"{name}.png", folders.mask(value=2))
    dataset = read(tmp_path, "lane")

    assert dataset.groups() == {"a": 2, "b": 1}
    assert [(item.name, item.reason) for item in dataset.skipped] == [
        ("images/b/1.jpg", "it has no mask of the same name in masks/")
    ]


def test_tusimple(tmp_path: Path) -> None:
    names = ["clips/0313/1/20.jpg", "clips/0313/2/20.jpg", "clips/0531/1/20.jpg"]
    folder = folders.tusimple(tmp_path, names)
    folders.tusimple(tmp_path, ["clips/0601/1/20.jpg"], "test_label.json")
    dataset = read(folder, "lane")

    assert dataset.layout == "tusimple"
    assert folders.names(dataset, folder) == names
    assert dataset.groups() == {"clips/0313/1": 1, "clips/0313/2": 1, "clips/0531/1": 1}
    assert dataset.samples[0].lanes is not None
    assert dataset.samples[0].lanes[0] == ((4.0, 30.0), (0.0, 40.0))
    assert "test_label.json: left out, they are for testing." in dataset.warnings


def test_tusimple_lines_that_say_nothing_are_skipped(tmp_path: Path) -> None:
    folder = folders.tusimple(tmp_path, [f"clips/{index}/20.jpg" for index in range(40)])
    first = (folder / "label_data_1.json").read_text(encoding="utf-8").splitlines()[0]
    short = '{"lanes": [[1, 2]], "h_samples": [10], "raw_file": "clips/0/20.jpg"}'
    endless = '{"lanes": [[NaN]], "h_samples": [10], "raw_file": "clips/0/20.jpg"}'
    huge = json.dumps({"lanes": [[10**400]], "h_samples": [10], "raw_file": "clips/0/20.jpg"})
    folders.save_text(folder / "label_data_2.json", "\n".join([first, short, endless, huge]))
    dataset = read(folder, "lane")

    assert len(dataset) == 40
    assert [item.name for item in dataset.skipped] == [f"label_data_2.json, line {line}" for line in (1, 2, 3, 4)]
    assert dataset.skipped[0].reason == "its picture is labelled already"


def test_culane_by_lists(tmp_path: Path) -> None:
    names = ["driver_1/a.MP4/00000.jpg", "driver_1/a.MP4/00030.jpg", "driver_2/b.MP4/00000.jpg"]
    folder = folders.culane(tmp_path, [*names, "driver_3/c.MP4/00000.jpg"])
    folders.save_text(folder / "list" / "train_gt.txt", "".join(f"/{name} /seg/x.png 0 1 1 0\n" for name in names))
    folders.save_text(folder / "list" / "test.txt", "/driver_3/c.MP4/00000.jpg\n")
    dataset = read(folder, "lane")

    assert dataset.layout == "culane"
    assert folders.names(dataset, folder) == names
    assert dataset.groups() == {"driver_1/a.MP4": 2, "driver_2/b.MP4": 1}
    assert dataset.samples[0].lanes == (
        ((18.0, 40.0), (22.0, 30.0), (26.0, 20.0)),
        ((46.0, 40.0), (42.0, 30.0), (38.0, 20.0)),
    )
    assert "test.txt: left out, they are for testing." in dataset.warnings


def test_culane_without_lists(tmp_path: Path) -> None:
    folder = folders.culane(tmp_path, ["a/0.jpg", "a/1.png", "b/0.jpg"])

    assert folders.names(read(folder, "lane"), folder) == ["a/0.jpg", "a/1.png", "b/0.jpg"]


def test_frames_that_lie_side_by_side_are_of_no_known_video(tmp_path: Path) -> None:
    dataset = read(folders.culane(tmp_path, ["0.jpg", "1.jpg"]), "lane")

    assert dataset.groups() == {}
    assert dataset.warnings[0].startswith("2 of 2 frames do not say which video they are from (no folder is named)")


def test_good_is_for_inspection(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="good=ok names folders of sound parts, which the task 'lane' does not have"):
        read(folders.lane_table(tmp_path, {"a": 2}), "lane", good=["ok"])


TEXT = st.text(st.sampled_from('{}[]",:0123456789.-eE \n/\\abNaN') | st.characters(), max_size=60)


@settings(max_examples=100)
@given(TEXT, st.sampled_from(["labels.csv", "a.json", "list/train.txt", "a.lines.txt"]))
def test_whatever_is_in_a_table_is_an_error_of_ours(text: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders.culane(Path(scratch), ["a.jpg", "b.jpg", "c.jpg"])
        if name == "a.json":
            for path in folder.glob("*.lines.txt"):
                path.unlink()
            text = '{"lanes": [], "h_samples": [], "raw_file": "b.jpg"}\n{"lanes": [[1]], "h_samples": [' + text
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(DataError):
            assert len(read(folder, "lane")) <= 3


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "\ud800", ".", ""])
def test_names_that_no_file_can_have_are_skipped_or_refused(tmp_path: Path, name: str) -> None:
    folder = folders.tusimple(tmp_path, [f"clips/{index}/20.jpg" for index in range(12)])
    strange = json.dumps({"lanes": [], "h_samples": [], "raw_file": name})
    folders.save_text(folder / "label_data_2.json", f"{strange}\n")
    with contextlib.suppress(DataError):
        assert len(read(folder, "lane").skipped) == 1


def test_a_folder_that_fits_nothing_is_described(tmp_path: Path) -> None:
    folders.class_folders(tmp_path / "data" / "train", {"good": 2, "bad": 2})
    folders.save_text(tmp_path / "data" / "readme.txt", "hello")

    with pytest.raises(DataError) as caught:
        read(tmp_path / "data", "defect")
    message = str(caught.value)
    assert "this fits no layout for the task 'defect'. In it: readme.txt, train/." in message
    assert "Its folder 'train' looks like class_folders: did you mean that one?" in message
    assert "mvtec:\n    train/good/000.png" in message
    assert "tusimple" not in message


def test_a_folder_that_fits_two_layouts_is_refused(tmp_path: Path) -> None:
    folders.lane_table(tmp_path, {"a": 2})
    folders.culane(tmp_path, ["b/0.jpg"])

    with pytest.raises(DataError) as caught:
        read(tmp_path, "lane")
    assert "this could be culane or lane_masks. In it: b/, images/, labels.csv, masks/. Layouts:" in str(caught.value)


def test_an_unknown_task_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown task 'defects'\. Did you mean 'defect'"):
        read(tmp_path, "defects")
    with pytest.raises(DataError, match="expected a folder of pictures"):
        read(tmp_path / "none", "defect")


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "linked/secret.jpg", "..\\secret.jpg"])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folders.save(tmp_path / "outside" / "secret.jpg", folders.picture(0))
    (folder / "linked").symlink_to(tmp_path / "outside")

    with pytest.raises(DataError, match="leads out of"):
        inside(folder, name, folder / "labels.csv")


def test_a_leading_slash_means_the_folder(tmp_path: Path) -> None:
    assert inside(tmp_path, "/etc/passwd", tmp_path / "list.txt") == tmp_path / "etc" / "passwd"


@pytest.mark.parametrize("layout", ["table", "json", "list"])
def test_tables_and_lists_that_lead_outside_are_refused(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "data"
    if layout == "table":
        folders.save_text(folder / "labels.csv", "image,mask,source\n../a.jpg,../a.png,x\n")
    elif layout == "json":
        folders.save_text(folder / "l.json", '{"lanes": [], "h_samples": [], "raw_file": "../a.jpg"}\n')
    else:
        folders.culane(folder, ["a/0.jpg"])
        folders.save_text(folder / "list" / "train.txt", "/../a.jpg\n")

    with pytest.raises(DataError, match=r"'/?\.\./a\.jpg' leads out of"):
        read(folder, "lane")
