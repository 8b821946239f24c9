"""``edgecnn run`` as a process that is ended in every way: what it wrote is whole, and the next run goes on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.loop.test_files import assert_whole
from tests.end_to_end.loop.watch import MIXED, write_tiny
from tests.waiting import PATIENCE, until

BELT = "conveyor:?fps=0&size=128x96&defects=0.5&parts=20"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("mixed"), MIXED)


def started(bundle: Path, place: Path, *more: str) -> subprocess.Popen[str]:
    sinks = (
        f"jsonl:{place}/log.jsonl?every=turn&max_mb=0.05&keep=4",
        f"recorder:{place}/events?before=0.05&after=0.05&max_per_minute=1000&budget_mb=2",
        f"video:{place}/clip.mp4",
    )
    line = ["run", str(bundle), "--source", BELT, "--threads", "1", "--json"]
    # On a busy machine the first frame may be late, and an event that there is no frame has no picture.
    line += ["--silence", str(PATIENCE), "--stale", str(PATIENCE)]
    line += [word for sink in sinks for word in ("--sink", sink)]
    command = [sys.executable, "-m", "edgecnn.cli.app", *line, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def waited(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Wait for what a process that goes on shall do."""
    until(condition, what, lambda: process.poll() is not None and f"it ended: {process.communicate()}")


def whole_lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text(encoding="ascii")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("kills", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_killed_in_mid_write_again_and_again(bundle: Path, tmp_path: Path, kills: int) -> None:
    dice = random.Random(kills)
    for _ in range(kills):
        before = {path.name for path in (tmp_path / "events").glob("2*")}
        process = started(bundle, tmp_path)
        waited(lambda seen=before: {path.name for path in (tmp_path / "events").glob("2*")} - seen, process, "an event")
        # Anywhere in what it does, the more often this is tried.
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        process.communicate()
        # A name that is there stands for something whole, at any time.
        assert not (tmp_path / "clip.mp4").exists()
        assert_whole(tmp_path / "events", hidden=True)

    process = started(bundle, tmp_path, "--frames", "400")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    figures = json.loads(out)
    assert figures["turns"] == 400
    logs = sorted(tmp_path.glob("log.jsonl*"))
    assert 1 < len(logs) <= 4
    assert all(whole_lines(path) for path in logs)
    assert_whole(tmp_path / "events")
    assert (tmp_path / "clip.mp4").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in logs} | {"events", "clip.mp4"}


def test_the_last_event_before_a_kill_can_be_replayed(bundle: Path, tmp_path: Path) -> None:
    process = started(bundle, tmp_path)
    waited(lambda: len(list((tmp_path / "events").glob("2*"))) > 2, process, "events")
    process.kill()
    process.communicate()

    newest = sorted((tmp_path / "events").glob("2*"))[-1]
    command = [sys.executable, "-m", "edgecnn.cli.app", "replay", str(newest), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def test_sigterm_delivers_what_waits(bundle: Path, tmp_path: Path) -> None:
    process = started(bundle, tmp_path)
    waited(lambda: any((tmp_path / "events").glob("2*")), process, "an event")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, err
    figures = json.loads(out)
    assert {sink["waiting"] for sink in figures["sinks"]} == {0}
    assert all(sink["delivered"] + sink["lost"] == figures["turns"] for sink in figures["sinks"])
    assert whole_lines(tmp_path / "log.jsonl")[-1]["number"] == figures["turns"]
    assert_whole(tmp_path / "events")
    assert (tmp_path / "clip.mp4").stat().st_size > 0
