"""What a training is saved as: whole, safe to read, and of this training."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from edgecnn.errors import ModelError, OptionError
from edgecnn.train import checkpoint
from edgecnn.train.checkpoint import FILE_NAME, Row, State, Store
from edgecnn.train.job import Confusion, Validation

TABLE = Confusion(("good", "bad"), ((3, 1), (0, 2)))


def row(step: int, score: float) -> Row:
    return Row(step, 0.5, 1e-3, Validation(score, {"auroc": score}, TABLE))


def state() -> State:
    weights = {"a": torch.arange(3.0)}
    return State(10, 2, 4, 1.5, [0.25, 0.5], [row(2, 0.5), row(4, 0.75)], weights, {"state": {}}, None, dict(weights))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "new", {"seed": 1})
    store.save(state())
    found = store.load()

    assert (found.losses, found.rows, found.done, found.every, found.seconds) == ([0.25, 0.5], state().rows, 4, 2, 1.5)
    assert torch.equal(found.network["a"], torch.arange(3.0))
    assert found.average is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE_NAME]


def test_the_best_of_equal_scores_is_the_last_and_counts_since_the_first() -> None:
    found = State(10, 1, rows=[row(1, 0.5), row(2, 0.9), row(3, 0.9), row(4, 0.1)])

    assert found.best_row == row(3, 0.9)
    assert found.rows_since_progress == 2
    assert State(10, 1).best_row is None
    assert State(10, 1).rows_since_progress == 0


def test_every_difference_is_named(tmp_path: Path) -> None:
    Store(tmp_path, {"seed": 1, "data": "abc", "task": "lane"}).save(state())
    with pytest.raises(OptionError, match="another training: data abc instead of None, seed 1 instead of 2") as error:
        Store(tmp_path, {"seed": 2, "task": "lane"}).load()

    assert "task" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    store = Store(tmp_path, {})
    store.save(state())
    store.path.write_bytes(store.path.read_bytes()[: int(share * store.path.stat().st_size)])
    with pytest.raises(ModelError, match=r"checkpoint\.pt: not a whole checkpoint\. Begin anew with --fresh"):
        store.load()


def test_a_checkpoint_of_another_version_or_shape_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    torch.save({"schema": 2, "identity": {}, "state": {}}, store.path)
    with pytest.raises(ModelError, match="its schema is 2, this version of edgecnn reads 1"):
        store.load()
    torch.save({"schema": 1, "identity": {}, "state": {"done": 3}}, store.path)
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        store.load()


class Burglar:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    store, mark = Store(tmp_path, {}), tmp_path / "mark"
    for content in (pickle.dumps(Burglar(mark), protocol=2), None):
        if content is None:
            torch.save({"schema": 1, "identity": Burglar(mark), "state": {}}, store.path)
        else:
            store.path.write_bytes(content)
        with pytest.raises(ModelError, match="not a whole checkpoint"):
            store.load()
    assert not mark.exists()


def test_a_disk_that_takes_nothing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, {})
    store.save(state())
    before = store.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(ModelError, match=r"checkpoint\.pt: cannot be written: No space left on device"):
        store.save(State(10, 2))

    assert store.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
