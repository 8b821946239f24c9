"""Batches come in order, no more wait than are needed, and nothing runs on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from edgecnn.errors import DataError
from edgecnn.train.batches import drawn


class Source:
    """Counts what is drawn and not yet taken."""

    def __init__(self, broken: int = -1) -> None:
        self.broken, self.drawn, self.names = broken, list[int](), set[str]()

    def batch(self, step: int) -> tuple[torch.Tensor, ...]:
        if step == self.broken:
            raise DataError("picture 7 is gone")
        self.drawn.append(step)
        self.names.add(threading.current_thread().name)
        return (torch.tensor(step),)


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgecnn-batch")]


@pytest.mark.parametrize("threads", [1, 3])
def test_every_step_once_and_in_order(threads: int) -> None:
    source: Any = Source()
    with drawn(source, 5, 20, threads) as batches:
        assert [int(batch[0]) for batch in batches] == list(range(5, 20))
    assert sorted(source.drawn) == list(range(5, 20))
    assert all(name.startswith("edgecnn-batch") for name in source.names)
    assert running() == []


def test_who_leaves_early_leaves_nothing_behind() -> None:
    source: Any = Source()
    with drawn(source, 0, 1000, 2) as batches:
        assert [int(next(batches)[0]) for _ in range(4)] == [0, 1, 2, 3]
    assert len(source.drawn) <= 4 + 3
    assert running() == []


def test_an_error_comes_out_where_its_batch_is_taken() -> None:
    source: Any = Source(broken=2)
    with drawn(source, 0, 9, 2) as batches:
        assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
        with pytest.raises(DataError, match="picture 7 is gone"):
            next(batches)


def test_no_steps_are_no_batches() -> None:
    source: Any = Source()
    with drawn(source, 3, 3, 1) as batches:
        assert list(batches) == []
