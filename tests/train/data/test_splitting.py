"""Nothing leaks: families stay together, labels are spread evenly, the seed decides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import DataError, OptionError
from edgecnn.train.data import Dataset, Sample, read, split, split_folds, split_groups, without_copies
from tests.train.data import folders


def dataset(*rows: tuple[str | None, str, str]) -> Dataset:
    """Return a data set of (label, group, cluster)."""
    samples = [Sample(Path(f"{i}.png"), label, group=g, cluster=c) for i, (label, g, c) in enumerate(rows)]
    labels = ("good", *sorted({label for label, _, _ in rows if label} - {"good"}))
    return Dataset(tuple(samples), labels if any(label for label, _, _ in rows) else (), "class_folders")


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["good", "dent", "hole"]),
        st.sampled_from(["", "", "", "a", "b"]),
        st.sampled_from(["", "", "x", "y"]),
    ),
    min_size=1,
    max_size=40,
)


def keys(data: Dataset) -> set[tuple[str, str]]:
    """Return the groups and clusters in a data set."""
    named = {("group", sample.group) for sample in data.samples} | {
        ("cluster", sample.cluster) for sample in data.samples
    }
    return {key for key in named if key[1]}


@settings(max_examples=150)
@given(ROWS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_keeps_everything_and_parts_no_family(
    rows: list[tuple[str, str, str]], share: float, seed: int
) -> None:
    whole = dataset(*rows)
    try:
        training, validation = split(whole, share, seed)
    except DataError:
        # One family: all of a group or a cluster, or a single picture.
        assert len(keys(whole)) > 0 or len(whole) == 1
        return

    assert sorted(training.samples + validation.samples, key=whole.samples.index) == list(whole.samples)
    assert training.samples
    assert validation.samples
    assert not keys(training) & keys(validation)
    assert (training, validation) == split(whole, share, seed)


@settings(max_examples=100)
@given(ROWS, st.integers(2, 4), st.integers(0, 5))
def test_folds_test_every_picture_once(rows: list[tuple[str, str, str]], k: int, seed: int) -> None:
    whole = dataset(*rows)
    try:
        folds = split_folds(whole, k, seed)
    except DataError:
        return

    assert Counter(sample.image for _, test in folds for sample in test.samples) == Counter(
        sample.image for sample in whole.samples
    )
    for training, test in folds:
        assert not keys(training) & keys(test)
        assert len(training) + len(test) == len(whole)


def test_labels_are_spread_evenly_and_the_seed_decides() -> None:
    whole = dataset(*[("good", "", "")] * 60, *[("dent", "", "")] * 20, *[("hole", "", "")] * 7, ("crack", "", ""))
    training, validation = split(whole, 0.2, 0)

    assert training.counts() == {"good": 48, "crack": 1, "dent": 16, "hole": 6}
    assert validation.counts() == {"good": 12, "crack": 0, "dent": 4, "hole": 1}
    assert "No 'crack' is left to validate on: all 1 of them belong together or are too few." in validation.warnings
    assert split(whole, 0.2, 1)[1].samples != validation.samples


def test_a_rare_label_is_validated_on_where_it_can_be() -> None:
    _, validation = split(dataset(*[("good", "", "")] * 60, *[("dent", "", "")] * 2), 0.1, 0)

    assert validation.counts() == {"good": 6, "dent": 1}


def test_folds_are_even() -> None:
    whole = dataset(
        *[("good", "", "")] * 30, *[("dent", "", "x")] * 4, *[("dent", "", "y")] * 4, *[("dent", "", "")] * 4
    )

    assert sorted(test.counts()["dent"] for _, test in split_folds(whole, 3, 0)) == [4, 4, 4]
    assert sorted(len(test) for _, test in split_folds(whole, 3, 0)) == [14, 14, 14]


def test_a_group_and_a_cluster_that_touch_are_one_family() -> None:
    whole = dataset(("good", "a", ""), ("good", "a", "x"), ("good", "", "x"), ("dent", "", ""), ("dent", "", ""))
    for training, test in split_folds(whole, 2, 0):
        sides = [{sample.image.stem for sample in part.samples} & set("012") for part in (training, test)]
        assert sorted(map(len, sides)) == [0, 3]


def test_what_cannot_be_split_is_refused() -> None:
    one_video = dataset(*[(None, "a", "")] * 5)

    with pytest.raises(
        DataError, match=r"5 picture\(s\), which come from 1 video\(s\) or part\(s\) cannot be split into 2"
    ):
        split(one_video, 0.2, 0)
    with pytest.raises(DataError, match="cannot be split into 3"):
        split_folds(dataset(("good", "", ""), ("dent", "", "")), 3, 0)
    with pytest.raises(OptionError, match="2 folds or more, got 1"):
        split_folds(one_video, 1, 0)
    with pytest.raises(OptionError, match=r"above 0 and below 1, got 1\.0"):
        split(one_video, 1.0, 0)


def test_groups_are_held_out_by_name() -> None:
    whole = dataset((None, "a", ""), (None, "a", ""), (None, "b", "x"), (None, "c", "x"), (None, "", ""))
    training, test = split_groups(whole, ["b"])

    assert [sample.image.name for sample in test.samples] == ["2.png"]
    # Frame 3 is the same as one held out.
    assert [sample.image.name for sample in training.samples] == ["0.png", "1.png", "4.png"]
    with pytest.raises(OptionError, match=r"unknown group 'B'\. Known: a, b, c"):
        split_groups(whole, ["B"])
    with pytest.raises(DataError, match="holding out 3 of 3 groups leaves one side empty"):
        split_groups(dataset((None, "a", ""), (None, "b", ""), (None, "c", "")), ["a", "b", "c"])


def anomaly() -> Dataset:
    """Return 20 good parts, 6 defects alone, and 2 defects that show the same tile as a good picture."""
    whole = dataset(
        *[("good", "", "")] * 18,
        ("good", "", "x"),
        ("good", "", "y"),
        *[("dent", "", "")] * 6,
        ("dent", "", "x"),
        ("dent", "", "y"),
    )
    return whole.with_samples(
        Sample(s.image, s.label, cluster=s.cluster, trainable=s.label == "good") for s in whole.samples
    )


def test_defects_validate_and_are_not_learned_from() -> None:
    training, validation = split(anomaly(), 0.2, 0)

    assert training.counts()["dent"] == 0
    assert training.counts()["good"] == 16
    assert validation.counts()["good"] == 4
    assert {f"{index}.png" for index in range(20, 26)} <= {sample.image.name for sample in validation.samples}
    assert not keys(training) & keys(validation)


def test_folds_of_good_parts_alone_test_every_defect_once() -> None:
    folds = split_folds(anomaly(), 3, 0)

    assert sum(test.counts()["dent"] for _, test in folds) == 8
    assert [training.counts()["dent"] for training, _ in folds] == [0, 0, 0]


def test_copies_in_a_folder_that_is_held_out_are_not_learned_from(tmp_path: Path) -> None:
    training = read(folders.class_folders(tmp_path / "a", {"good": 6, "dent": 3}), "defect")
    held_out = read(folders.class_folders(tmp_path / "b", {"dent": 2, "good": 3}, start=7), "defect")
    kept = without_copies(training, held_out)

    assert kept.counts() == {"good": 6, "dent": 1}
    assert kept.warnings[-1] == "2 pictures to learn from are held out too: they are left out."
    assert without_copies(kept, held_out) == kept
    with pytest.raises(DataError, match="all 9 pictures to learn from are held out too"):
        without_copies(training, training)


@pytest.mark.data
def test_magnetic_tiles_in_three_folds(data_dir: Path) -> None:
    folds = split_folds(read(data_dir / "magnetic-tile", "defect"), 3, 0)

    assert [len(test) for _, test in folds] == [169, 169, 169]
    assert [test.counts()["fray"] for _, test in folds] == [6, 5, 5]
    assert not keys(folds[0][0]) & keys(folds[0][1])
