"""Bundles that are replaced while others read them, and by processes that are killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecnn.manifest import Manifest
from edgecnn.runtime.bundle import Bundle, Content, write_bundle

pytestmark = pytest.mark.slow

KILLS, OPENS, REPLACES, READERS = 200, 10_000, 1_000, 4
VERSIONS = (b"old" * 1000, b"new" * 2000)


@contextmanager
def forked(work: Callable[[], None]) -> Iterator[int]:
    """Let a copy of this process do ``work`` again and again; it is killed at the end."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                work()
        finally:
            os._exit(1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it had ended by itself, with an error"


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_a_writer_that_is_killed_leaves_a_bundle(
    tmp_path: Path, manifest: Manifest, files: dict[str, Content], name: str
) -> None:
    path, chance, seen = tmp_path / name, random.Random(7), set()

    def write() -> None:
        for version in VERSIONS:
            write_bundle(path, manifest, files | {"version": version}, overwrite=True)

    write()
    for _ in range(KILLS):
        with forked(write):
            time.sleep(chance.uniform(0.0, 0.05))  # the moment is drawn: nothing is waited for
        with Bundle.open(path) as opened:
            seen.add(opened.path_of("version").read_bytes())
    assert seen == set(VERSIONS)
    write()
    assert [item.name for item in tmp_path.iterdir()] == [name], "what the killed ones left is gone"


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_nobody_who_opens_a_bundle_sees_that_it_is_replaced(
    tmp_path: Path, manifest: Manifest, files: dict[str, Content], name: str
) -> None:
    path, left = tmp_path / name, threading.Semaphore(OPENS)
    failures: list[str] = []
    opened = [0] * READERS
    write_bundle(path, manifest, files | {"version": VERSIONS[0]})
    written, done = [0], threading.Event()

    def read(reader: int) -> None:
        while left.acquire(blocking=False):
            try:
                with Bundle.open(path) as bundle:
                    assert bundle.manifest.name == manifest.name
                opened[reader] += 1
            except Exception as error:
                failures.append(repr(error))

    def replace() -> None:
        while not done.is_set() or written[0] < REPLACES:
            write_bundle(path, manifest, files | {"version": VERSIONS[written[0] % 2]}, overwrite=True)
            written[0] += 1

    readers = [threading.Thread(target=read, args=(index,)) for index in range(READERS)]
    writer = threading.Thread(target=replace)
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    done.set()
    writer.join()
    assert failures == []
    assert sum(opened) == OPENS
    assert written[0] >= REPLACES
