from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.sinks import Sink, open_sink
from tests.runtime.sinks.observations import REJECT, context, nothing_left, observed, started, turned
from tests.waiting import PATIENCE, until


def opened(path: Path, options: str = "") -> Sink:
    return open_sink(f"jsonl:{path}?{options}", context())


def numbers(path: Path) -> list[int]:
    """The numbers of the events in a file; every line must be whole."""
    text = path.read_bytes()
    assert not text or text.endswith(b"\n")
    return [json.loads(line)["number"] for line in text.splitlines()]


def test_one_line_an_event_readable_at_once(tmp_path: Path) -> None:
    with nothing_left():
        sink = opened(tmp_path / "logs" / "a.jsonl")
        assert not sink.every_turn
        for number in (1, 2):
            sink.send(turned(number, REJECT, name="\udce4\n€"))
            assert numbers(tmp_path / "logs" / "a.jsonl") == list(range(1, number + 1))
        sink.close()
        sink.close()


def test_every_turn_is_asked_for(tmp_path: Path) -> None:
    assert opened(tmp_path / "a", "every=turn").every_turn


def test_a_new_run_appends(tmp_path: Path) -> None:
    for number in (1, 2):
        sink = opened(tmp_path / "a")
        sink.send(observed(number))
        sink.close()
    assert numbers(tmp_path / "a") == [1, 2]


def test_files_are_rotated_and_capped(tmp_path: Path) -> None:
    sink = opened(tmp_path / "a", "max_mb=0.001&keep=3")
    for number in range(1, 41):
        sink.send(observed(number))
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.1", "a.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    kept = numbers(tmp_path / "a.2") + numbers(tmp_path / "a.1") + numbers(tmp_path / "a")
    assert kept == list(range(41 - len(kept), 41))
    assert len(kept) > 5


def test_keep_1_has_no_older_file(tmp_path: Path) -> None:
    sink = opened(tmp_path / "a", "max_mb=0.001&keep=1")
    for number in range(1, 11):
        sink.send(observed(number))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert numbers(tmp_path / "a")[-1] == 10


def test_summary_is_written_when_due(tmp_path: Path) -> None:
    sink = opened(tmp_path / "a", "summary=0.01")

    def written() -> int:
        sink.idle()
        return (tmp_path / "a").stat().st_size

    until(written)
    sink.close()
    assert json.loads((tmp_path / "a").read_bytes().splitlines()[0])["summary"]["frames"] == 300


def test_no_summary_with_0(tmp_path: Path) -> None:
    sink = opened(tmp_path / "a", "summary=0")
    sink.idle()
    sink.close()
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize("left", [b'{"number":9,"ti', b"x" * 200_000, b""])
def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a").write_bytes(b'{"number":1}\n' + left)
    sink = opened(tmp_path / "a")
    sink.send(observed(2))
    sink.close()
    assert numbers(tmp_path / "a") == [1, 2]


def test_sigkill_while_writing_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    process = started(f"""
        from pathlib import Path
        from tests.runtime.sinks.test_jsonl import observed, opened
        sink = opened(Path({str(tmp_path / "a")!r}), "max_mb=0.05&keep=2&every=turn")
        number = 0
        while True:
            number += 1
            sink.send(observed(number))
    """)
    try:
        until(lambda: (tmp_path / "a.1").exists())
    finally:
        process.kill()
        process.communicate()
    sink = opened(tmp_path / "a", "max_mb=0.05&keep=2")
    sink.send(observed(-1))
    sink.close()
    kept = numbers(tmp_path / "a.1") + numbers(tmp_path / "a")
    assert kept == [*range(kept[0], kept[0] + len(kept) - 1), -1]


def test_a_full_disk_loses_lines_and_never_leaves_half_of_one(tmp_path: Path) -> None:
    """The limit on a file's size writes half a line before it fails, as a full disk does."""
    process = started(f"""
        import resource
        from pathlib import Path
        from edgecnn.errors import SinkError
        from tests.runtime.sinks.test_jsonl import numbers, observed, opened
        path = Path({str(tmp_path / "a")!r})
        sink = opened(path)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        sent = lost = 0
        for number in range(1, 11):
            try:
                sink.send(observed(number))
                sent += 1
            except SinkError as error:
                assert "cannot be written" in str(error), error
                lost += 1
        assert numbers(path) == list(range(1, sent + 1)), numbers(path)
        assert sent >= 2 and lost >= 2, (sent, lost)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        sink.send(observed(11))
        sink.close()
        assert numbers(path) == [*range(1, sent + 1), 11]
    """)
    errors = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, errors


def test_a_device_without_room_raises() -> None:
    with nothing_left():
        sink = open_sink("jsonl:/dev/full", context())
        for _ in range(2):
            with pytest.raises(SinkError, match="No space left"):
                sink.send(observed())
        sink.close()


def test_two_writers_are_refused(tmp_path: Path) -> None:
    first = opened(tmp_path / "a")
    first.send(observed(1))
    with nothing_left(), pytest.raises(SinkError, match="another process"):
        opened(tmp_path / "a")
    first.close()
    second = opened(tmp_path / "a")
    second.send(observed(3))
    second.close()
    assert numbers(tmp_path / "a") == [1, 3]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be made"):
        opened(tmp_path / "file" / "a")


@pytest.mark.parametrize("address", ["jsonl:", "jsonl://logs/a", "jsonl:a?keep=0", "jsonl:a?kepe=2", "jsonl:a?every=x"])
def test_wrong_addresses(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError):
        open_sink(address, context())
