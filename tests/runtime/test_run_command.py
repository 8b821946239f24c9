"""``edgecnn run`` and ``edgecnn replay`` on a small bundle, as a person or systemd calls them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn.cli.app import main
from tests.runtime.lane_bundle import road, write_lane_bundle
from tests.servers.mjpeg import MjpegServer
from tests.waiting import PATIENCE, joined, until


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(40, 220, (24, 24, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros_like(noise) if number == 3 else noise)
    (folder / "4.png").write_bytes(b"no picture")
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecnn.cli.app", "run", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_a_folder(defect_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "verdicts.jsonl"

    assert (
        run(
            "run",
            defect_bundle,
            "--source",
            photos,
            "--sink",
            f"jsonl:{log}?every=turn",
            "--json",
            "--station",
            "line 3",
        )
        == 0
    )

    figures = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    turns = [line for line in lines if "verdict" in line]
    assert figures["verdicts"]["INVALID"] == 2
    assert figures["findings"] == {"black": 1, "unreadable": 1}
    assert figures["turns"] == 6
    assert [turn["verdict"] == "INVALID" for turn in turns] == [False, False, False, True, True, False]
    assert [turn["name"] for turn in turns] == [f"{number}.png" for number in range(6)]
    assert {turn["station"] for turn in turns} == {"line 3"}
    assert [sink["lost"] for sink in figures["sinks"]] == [0]


def test_pictures_of_a_lane_are_judged_one_by_one(tmp_path: Path) -> None:
    folder, log = tmp_path / "roads", tmp_path / "verdicts.jsonl"
    folder.mkdir()
    for number, shift in enumerate((0.0, -60.0, 10.0)):
        cv2.imwrite(str(folder / f"{number}.png"), road(shift))
    sink, bundle = f"jsonl:{log}?every=turn", write_lane_bundle(tmp_path)

    assert (
        run("run", bundle, "--source", folder, "--sink", sink, "--lane", "departure=0.2", "--lane", "lane_width=3") == 0
    )

    turns = [turn for line in log.read_text().splitlines() if "verdict" in (turn := json.loads(line))]
    assert [turn["verdict"] for turn in turns] == ["PASS", "REJECT", "PASS"]
    assert [turn["ego"]["offset_m"] for turn in turns] == pytest.approx([0.0, 0.9, -0.15], abs=0.03)


@pytest.mark.parametrize(
    ("given", "message"), [("width=3", "lane_width"), ("hold=long", "a number"), ("jump=2", "jump")]
)
def test_settings_of_lanes_that_cannot_be(
    given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", tmp_path, "--source", "road:", "--lane", given) == 2
    assert message in capsys.readouterr().err


def test_what_people_see(defect_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", defect_bundle, "--source", photos, "--parts", "frame", "--frames", 5) == 0

    shown = capsys.readouterr()
    assert "INVALID" in shown.out
    assert "part 4, 1 frame(s), 0 rejected, 1 invalid" in shown.out
    assert "why INVALID" in shown.out
    assert "5 turns in" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--source", "nowhere.mp4"), 2, "nowhere.mp4: no such file, folder or camera"),
        (("--source", "{photos}", "--check", "frozn=off"), 2, "unknown check 'frozn'"),
        (("--source", "{photos}", "--check", "shift=far"), 2, "--check shift=far: expected a number or off"),
        (("--source", "{photos}", "--check", "black=2"), 2, "--check black=2: expected on or off"),
        (("--source", "{photos}", "--serve", "8080x"), 2, "--serve expects HOST:PORT"),
        (("--source", "{photos}", "--serve", "0.0.0.0:0"), 2, "EDGECNN_TOKEN"),
        (("--source", "{photos}", "--parts", "gap"), 2, "a picture of the empty place go together"),
        (("--source", "{photos}", "--clear", "0.9"), 2, "got clear 0.9, fill 0.8"),
        (("--source", "{photos}", "--shortest", "0"), 2, "release and shortest must be at least 1"),
        (("--source", "{photos}", "--self-test", "maybe"), 2, "self_test must be on or off"),
        (("--source", "{photos}", "--sink", "jsonl:x?evry=turn"), 2, "Did you mean 'every'"),
        (("--source", "rtsp://${EDGECNN_NO_SUCH}@cam/1"), 2, "EDGECNN_NO_SUCH is not set"),
    ],
)
def test_newcomers_mistakes(
    defect_bundle: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.delenv("EDGECNN_TOKEN", raising=False)
    filled = [argument.replace("{photos}", str(photos)) for argument in arguments]

    assert run("run", defect_bundle, *filled) == code

    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown


@pytest.mark.parametrize("json_only", [True, False], ids=["json", "people"])
def test_no_output_tells_a_secret(
    json_only: bool, defect_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with MjpegServer(user="operator:other") as server:
        camera = f"http://operator:s3cr@t0@127.0.0.1:{server.port}/video.mjpg?loginpas=s3cr3t1&channel=2"
        sinks = [
            f"jsonl:{tmp_path}/log.jsonl?every=turn",
            f"recorder:{tmp_path}/events",
            "webhook:http://operator:s3cr@t2@127.0.0.1:9/hook?sig=s3cr3t3",
            "mqtt://operator:s3cr@t4@127.0.0.1:9/line",
        ]
        options = [word for sink in sinks for word in ("--sink", sink)]
        options += ["--frames", "2", "--silence", "0.3", *(["--json"] if json_only else [])]
        assert run("run", defect_bundle, "--source", camera, *options) == 0

    shown = capsys.readouterr()
    written = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    told = "".join([shown.out, shown.err, *written])
    assert "s3cr" not in told
    assert "operator" not in told
    assert "channel=2: the camera answered 401 Unauthorized. It does not take this user name and password." in told
    assert "***@127.0.0.1:9/hook?sig=***" in told
    assert f"http://***@127.0.0.1:{server.port}/video.mjpg?loginpas=***&channel=2" in told


def test_seconds_end_a_run_that_has_nothing_to_see(
    defect_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    watched = f"folder:{photos}?watch=1"
    assert run("run", defect_bundle, "--source", watched, "--frames", 6, "--json") == 0
    assert json.loads(capsys.readouterr().out)["turns"] == 6
    for source in (watched, tmp_path / "fifo"):
        assert run("run", defect_bundle, "--source", source, "--seconds", 1, "--json") == 0
        assert json.loads(capsys.readouterr().out)["turns"] == 0


def test_sigterm_ends_it_cleanly_and_systemd_is_told(defect_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "verdicts.jsonl"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        source = ("--source", "conveyor:?fps=20&size=64x64", "--sink", f"jsonl:{log}")
        process = started(defect_bundle, *source, "--json", NOTIFY_SOCKET=str(tmp_path / "notify"))
        told = iter(lambda: manager.recv(1000).decode(), "")
        # Signs of life from before are nothing to systemd.
        ready = next(text for text in told if text != "WATCHDOG=1")
        alive = [next(told) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        last = next(text for text in told if text != "WATCHDOG=1")

    assert process.returncode == 0, err
    assert ready.startswith("READY=1\nSTATUS=watching conveyor:")
    assert alive == ["WATCHDOG=1"] * 3
    assert last == "STOPPING=1"
    assert json.loads(out)["turns"] > 0
    assert log.read_text().endswith("}\n")


def test_ctrl_c_has_its_exit_code(defect_bundle: Path) -> None:
    process = started(defect_bundle, "--source", "conveyor:?fps=20&size=64x64", "--every", "frame")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reader.start()
    until(lambda: bool(lines), "the first event")
    process.send_signal(signal.SIGINT)

    assert process.wait(PATIENCE) == 130
    joined(reader)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def stuck_script(bundle: Path, log: Path) -> list[str]:
    """Return a process whose engine hangs at its 21st frame."""
    script = f"""
import sys, time
from edgecnn.runtime.engines.reference import ReferenceEngine
ran = []
def run(self, arrays, real=ReferenceEngine.run):
    ran.append(1)
    time.sleep(1000 if len(ran) > 20 else 0)
    return real(self, arrays)
ReferenceEngine.run = run
from edgecnn.cli.app import main
sys.exit(main(["run", {str(bundle)!r}, "--engine", "reference", "--stuck", "1",
               "--source", "conveyor:?fps=20&size=64x64", "--sink", "jsonl:{log}"]))
"""
    return [sys.executable, "-c", script]


def test_a_stuck_engine_ends_the_process(defect_bundle: Path, tmp_path: Path) -> None:
    command = stuck_script(defect_bundle, tmp_path / "log.jsonl")

    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 6
    assert "stuck: no sign of life for" in done.stderr
    last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()][-1]
    assert (last["verdict"], [finding["kind"] for finding in last["findings"]]) == ("INVALID", ["stuck"])


def test_a_stuck_engine_ends_the_process_when_nobody_reads_its_output(defect_bundle: Path, tmp_path: Path) -> None:
    command = stuck_script(defect_bundle, tmp_path / "log.jsonl")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("note: ")
    process.stderr.close()

    assert process.wait(PATIENCE) == 6


def test_replay(defect_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", defect_bundle, "--source", photos, "--sink", f"recorder:{tmp_path / 'events'}") == 0
    event = next((tmp_path / "events").iterdir())

    assert run("replay", event, defect_bundle) == 0
    assert "compared whole" in capsys.readouterr().err
    record = json.loads((event / "event.json").read_text())
    next(moment for moment in record["moments"] if moment["score"])["score"] = 0.5
    (event / "event.json").write_text(json.dumps(record))
    assert run("replay", event, defect_bundle) == 1
    assert "differs: score" in capsys.readouterr().out
    assert run("replay", photos, defect_bundle) == 4
