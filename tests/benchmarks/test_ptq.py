"""The comparison with other quantisers: its data, its limits and its table; no quantiser is run here."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE

FIGURES = {"top1": 0.8175, "agreement": 0.965, "sqnr_db": 18.14}
HALVES = {half: FIGURES for half in ("even", "odd", "all")}


def row(title: str, setting: str, **result: Any) -> dict[str, Any]:
    return {"title": title, "setting": setting, "says": "how", "fingerprint": "old", **result}


ROWS = {
    "float": row("float", "", engines={"ONNX Runtime": {half: FIGURES | {"sqnr_db": float("inf")} for half in HALVES}}),
    "ort/minmax": row(
        "ONNX Runtime 1.32",
        "minmax",
        seconds=11.2,
        memory=0.6,
        engines={
            "ONNX Runtime": HALVES,
            "LiteRT": HALVES,
            "OpenVINO": HALVES | {"all": FIGURES | {"sqnr_db": 17.6}},
        },
    ),
    "ort/entropy": row("ONNX Runtime 1.32", "entropy", seconds=40.0, memory=12.0, failure="took more than 12 GB"),
}


@pytest.fixture
def benchmarks(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the scripts' modules be imported as the scripts do."""
    folder = project_root / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder


def run_script(folder: Path, work: Path, *options: str) -> str:
    command = [sys.executable, str(folder / "ptq.py"), "--work", str(work), *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE, cwd=folder.parent
    ).stdout


def test_every_peer_is_pinned_and_has_a_script(benchmarks: Path) -> None:
    import peer

    found = peer.peers()
    assert [item.name for item in found][:2] == ["ort", "nncf_ptq"]
    assert {item.name for item in found} == {path.stem for path in (benchmarks / "peers").glob("*.toml")}
    for item in found:
        assert item.script.is_file()
        assert item.settings
        assert all(package.count("==") == 1 for package in item.packages)


def test_a_result_holds_for_its_options_and_packages_alone(benchmarks: Path) -> None:
    import peer

    first, second = peer.peers()[0].settings[:2]
    assert peer.fingerprint(peer.peers()[0], first) == peer.fingerprint(peer.peers()[0], first)
    assert peer.fingerprint(peer.peers()[0], first) != peer.fingerprint(peer.peers()[0], second)


def test_list_names_peers_and_our_recipes_and_what_is_known(benchmarks: Path, tmp_path: Path) -> None:
    (tmp_path / "ptq.json").write_text(json.dumps(ROWS))
    lines = {line.split()[0]: line.split()[1] for line in run_script(benchmarks, tmp_path, "--list").splitlines()}
    assert {"ort/minmax", "nncf_ptq/full", "amd_quark/adaround", "edgecnn/fast", "edgecnn/default"} <= set(lines)
    # Its fingerprint is of other packages, so it would be run again.
    assert lines["ort/minmax"] == "-"


def test_table_of_known_results(benchmarks: Path, tmp_path: Path) -> None:
    (tmp_path / "ptq.json").write_text(json.dumps(ROWS))
    lines = run_script(benchmarks, tmp_path, "--show").splitlines()
    assert lines[2].split() == ["float", "81.8", "81.8", "81.8", "ONNX", "Runtime"]
    assert lines[3].split()[4:15] == [*["81.8"] * 3, *["96.5"] * 3, *["18.1"] * 3, "11", "0.60"]
    assert lines[3].endswith("ONNX Runtime, = LiteRT, OpenVINO 17.6 dB")
    assert lines[4].endswith("40 12.00  took more than 12 GB")


def test_markdown_has_the_other_half_and_all(benchmarks: Path, tmp_path: Path) -> None:
    (tmp_path / "ptq.json").write_text(json.dumps(ROWS))
    lines = run_script(benchmarks, tmp_path, "--show", "--markdown", "--only", "ort/minmax").splitlines()
    assert lines[-1] == (
        "| ONNX Runtime 1.32 | `minmax`: how | 81.8 / 81.8 | 96.5 / 96.5 | 18.1 / 18.1 | 11 s | 0.60 GB "
        "| ONNX Runtime, = LiteRT, OpenVINO 17.6 dB |"
    )
    assert len({line.count("|") for line in lines}) == 1


def test_unknown_name_is_refused(benchmarks: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_script(benchmarks, tmp_path, "--list", "--only", "nobody")
    assert "--only nobody: there is none; see --list" in error.value.stderr


def test_what_a_peer_writes_where_it_is_run_stays_in_its_folder(
    benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ptq

    script = "import pathlib, sys; pathlib.Path('stray.csv').touch(); sys.exit('ended')"

    def command(folder: Path) -> list[str | Path]:
        folder.mkdir()
        return [sys.executable, "-c", script]

    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    bench = ptq.Bench(ptq.Inputs(tmp_path, tmp_path), threads=1, minutes=1, gigabytes=1)
    bench.perform(ptq.Run("peer", "Peer", "setting", "how", str, command))
    assert bench.rows()["peer/setting"]["failure"] == "ended"
    assert list((tmp_path / "current").iterdir()) == []
    assert (tmp_path / "ptq" / "peer" / "setting" / "stray.csv").is_file()


@pytest.mark.parametrize(
    ("code", "minutes", "gigabytes", "failure"),
    [
        ("print('fine')", 1, 1, ""),
        ("raise SystemExit('no such model')", 1, 1, "no such model"),
        ("import time; time.sleep(60)", 0.005, 1, "not done after 0.005 minutes"),
        ("import time; held = b'x' * 200_000_000; time.sleep(60)", 1, 0.1, "took more than 0.1 GB"),
    ],
)
def test_a_process_ends_by_itself_or_at_a_limit(
    benchmarks: Path, tmp_path: Path, code: str, minutes: float, gigabytes: float, failure: str
) -> None:
    import processes

    cost = processes.run([sys.executable, "-c", code], tmp_path / "log", minutes, gigabytes)
    assert cost.failure == failure
    assert 0 < cost.seconds < 30
    # Linux counts what the parent held when it forked as well.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    assert 0.005 < cost.memory < max(0.5, own + 0.1)
