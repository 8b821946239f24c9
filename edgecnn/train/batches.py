"""Batches in the order of their steps, drawn by other threads while the network learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from torch import Tensor

from edgecnn.train.job import Job

Batch = tuple[Tensor, ...]


@contextmanager
def drawn(job: Job, first: int, last: int, threads: int) -> Iterator[Iterator[Batch]]:
    """Give the batches of the steps ``first`` to ``last`` (not included).

    At most one batch more than ``threads`` waits in memory. What a thread raises is raised when its batch is taken.
    Who leaves early waits for the batches that are being drawn, no longer.
    """
    with ThreadPoolExecutor(threads, "edgecnn-batch") as pool:
        try:
            yield _in_order(job, first, last, threads + 1, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(job: Job, first: int, last: int, ahead: int, pool: ThreadPoolExecutor) -> Iterator[Batch]:
    waiting: deque[Future[Batch]] = deque()
    for step in range(first, last):
        waiting.append(pool.submit(job.batch, step))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
