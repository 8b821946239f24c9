"""Training as users do it, measured: ``train``, ``export`` for three targets, ``evaluate`` on pictures never seen.

    EDGECNN_DATA=../shared/data python benchmarks/training.py defect
    EDGECNN_DATA=../shared/data python benchmarks/training.py anomaly
    EDGECNN_DATA=../shared/data python benchmarks/training.py lane
    EDGECNN_DATA=../shared/data python benchmarks/training.py speed
    EDGECNN_DATA=../shared/data python benchmarks/training.py summary

- ``defect``: magnetic tiles in 3 folds. Pictures of one tile stay in one fold; ``--by-image`` parts them.
- ``anomaly``: learns from 70 % of the good tiles, tested on the other 30 % and on all defects.
- ``lane``: tested on videos that it has not learned from, beside a public road segmenter on the same frames.
- ``speed``: one thread, from the frame to the verdict, of every bundle that is there; and what maps on the Edge TPU.
- ``summary``: prints what is known.

What is after ``--`` goes to ``edgecnn train``: ``defect --steps 4 -- --size 64``. After Ctrl-C the same command goes
on where it was; a fold that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import processes
import training_lanes
import training_speed
import training_tables
from training_cases import CASES, Case, defective_pixels, write_folds

TARGETS = ("rpi", "intel", "coral")
ENGINES = ("onnxruntime", "openvino", "litert")
EDGECNN = (sys.executable, "-m", "edgecnn.cli.app")
RESULT = "result.json"


def run(arguments: Sequence[str | Path], log: Path, answer: Path | None = None) -> None:
    """Run an ``edgecnn`` command to its end; an interrupt interrupts it too, once, and waits for it.

    Args:
        arguments: The command and its options.
        log: Where it says what it does; what was there is kept.
        answer: Where its standard output goes, None for the log.

    Raises:
        SystemExit: If it fails.
    """
    command = [*EDGECNN, *map(str, arguments)]
    print(f"edgecnn {' '.join(command[len(EDGECNN) :])}", flush=True)
    with log.open("ab") as said, (answer or log).open("ab" if answer is None else "wb") as out:
        # A session of its own: the terminal's Ctrl-C would reach it twice otherwise, and the second one kills.
        process = subprocess.Popen(command, stdout=out, stderr=said, start_new_session=True)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            _wait_or_kill(process)
            raise
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise SystemExit("\n".join([f"ended with status {process.returncode}, see {log}:", *lines[-5:]]))


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def train(case: Case, place: Path, options: Sequence[str]) -> dict[str, Any]:
    """Train a fold unless it is trained, and return the options and the seconds of all its processes together."""
    record, trained = place / "train.json", place / "trained.safetensors"
    known = json.loads(record.read_text()) if record.exists() else {"options": list(options), "seconds": 0.0}
    if known["options"] != list(options):
        raise SystemExit(
            f"{place} was trained with {' '.join(known['options'])}, not {' '.join(options)}: name another --output."
        )
    if trained.exists():
        return known
    begun = time.monotonic()
    try:
        command = ["train", "--task", case.task, "--data", place / "train", "-o", trained, *options]
        run(command, place / "train.log")
    finally:
        known["seconds"] += time.monotonic() - begun
        record.write_text(json.dumps(known))
    return known


def evaluate(case: Case, place: Path, engine: str, threads: int) -> dict[str, Any]:
    """Return what ``edgecnn evaluate`` says of the fold's test pictures, float beside INT8 on an engine."""
    answer = place / f"evaluate-{engine}.json"
    command = ["evaluate", place / "bundle", "--data", place / "test", "--engine", engine]
    command += ["--float", place / "trained.safetensors", "--threads", str(threads), "--json"]
    run([*command, *(["--good", case.good] if case.good else [])], place / "evaluate.log", answer)
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def measure(case: Case, place: Path, options: Sequence[str], threads: int) -> None:
    """Train, export and evaluate one fold, and write its ``result.json``."""
    result: dict[str, Any] = {"training": train(case, place, options)}
    targets = [word for target in TARGETS for word in ("--target", target)]
    run(
        ["export", place / "trained.safetensors", *targets, "-o", place / "bundle", "--overwrite"], place / "export.log"
    )
    result["engines"] = {engine: evaluate(case, place, engine, threads) for engine in ENGINES}
    if case.task == "lane":
        result["frames"] = lane_frames(place, result["engines"], threads)
    else:
        result["defective_pixels"] = defective_pixels(place / "test")
    _write(place / RESULT, result)


def lane_frames(place: Path, sections: dict[str, Any], threads: int) -> list[training_lanes.Frame]:
    """Count markings frame by frame, and make sure that the folds' F1 comes out as ``edgecnn evaluate`` has it."""
    found = training_lanes.bundle_frames(
        place / "bundle", place / "trained.safetensors", place / "test", ENGINES, threads
    )
    for engine, section in sections.items():
        said = section["lanes"]["int8"]["f1"]["value"]
        counted = training_lanes.f1_rows(found, [engine], "pooled")[-1][1][0]
        if counted is None or abs(said - counted) > 1e-9:
            raise SystemExit(f"{place}: {engine} has an F1 of {said}, but frame by frame it is {counted}.")
    return found


def measure_all(name: str, arguments: argparse.Namespace) -> None:
    """Measure the folds of a case that are not done."""
    case, output = CASES[name], arguments.output / name
    places = write_folds(case, arguments.data, output, arguments.folds)
    if arguments.fold is not None and not 0 <= arguments.fold < len(places):
        raise SystemExit(f"--fold {arguments.fold}: there are {len(places)}, counted from 0.")
    wanted = places if arguments.fold is None else [places[arguments.fold]]
    for place in (place for place in wanted if not (place / RESULT).exists()):
        measure(case, place, train_options(name, arguments), arguments.threads)
    public = output / "public.json"
    if case.task == "lane" and not public.exists():
        print("the public road segmenter on all frames", flush=True)
        _write(public, training_lanes.public_frames(arguments.data))


def train_options(name: str, arguments: argparse.Namespace) -> list[str]:
    """Return what ``edgecnn train`` is given beside data and output."""
    long = ["--time", arguments.time] if arguments.steps is None else ["--steps", str(arguments.steps)]
    rejects = ["--false-rejects", f"{arguments.false_rejects:g}"] if name == "anomaly" else []
    return [*long, "--threads", str(arguments.threads), *rejects, *arguments.more]


def measure_speed(arguments: argparse.Namespace) -> None:
    """Time every bundle on one processor, and write ``speed.json``."""
    processes.on_cpus(1)
    found = {}
    for place in (place for name in CASES for place in done(arguments.output / name)):
        name = f"{place.parent.name} {place.name}"
        size = training_speed.ROAD if place.parent.name == "lane" else training_speed.INSPECTED
        frames = training_speed.frames_in(place / "test", size)
        print(f"{name}: {arguments.frames} frames", flush=True)
        found[name] = {
            "frame": f"{size[0]}x{size[1]}",
            "engines": training_speed.measure(place / "bundle", ENGINES, frames, arguments.frames),
            "edge_tpu": training_speed.edge_tpu(place / "bundle"),
        }
    _write(arguments.output / "speed.json", found)


def done(output: Path) -> list[Path]:
    """Return the folders of the folds that have results."""
    return sorted(path.parent for path in output.glob(f"fold-*/{RESULT}"))


def summarise(output: Path, names: Sequence[str]) -> None:
    """Print the tables of the results of some cases."""
    for name, case in ((name, CASES[name]) for name in names):
        folds = [json.loads((place / RESULT).read_text()) for place in done(output / name)]
        if not folds:
            continue
        training_tables.training(name, folds)
        if case.task == "lane":
            public = output / name / "public.json"
            training_tables.lanes(folds, json.loads(public.read_text()) if public.exists() else [], ENGINES)
        else:
            training_tables.inspections(folds, ENGINES)


def _write(path: Path, content: Any) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)


def parse() -> argparse.Namespace:
    """Read the command line."""
    own, more = sys.argv[1:], list[str]()
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["defect", "anomaly", "lane", "speed", "summary"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDGECNN_DATA", "../shared/data")))
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/training"), help="where all of it is")
    parser.add_argument("--folds", type=int, default=3, help="for defect")
    parser.add_argument("--fold", type=int, help="this one alone, counted from 0")
    parser.add_argument("--by-image", action="store_true", help="for defect: let pictures of one tile be parted")
    parser.add_argument("--time", default="18m", help="to train a fold")
    parser.add_argument("--steps", type=int, help="optimiser steps, in place of --time")
    parser.add_argument("--false-rejects", type=float, default=0.01, help="for anomaly: the share that is wanted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=300, help="for speed: frames of each engine")
    return parser.parse_args(own, argparse.Namespace(more=more))


def main() -> None:
    """Measure, then print what is known."""
    arguments = parse()
    speed, case = arguments.output / "speed.json", arguments.what + "-by-image" * arguments.by_image
    # Where a shell starts it in the background, SIGINT would be ignored here and in all that is started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.what == "speed":
            measure_speed(arguments)
        elif arguments.what != "summary":
            measure_all(case, arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
    summarise(arguments.output, [case] if case in CASES else list(CASES) * (arguments.what == "summary"))
    if arguments.what in ("speed", "summary") and speed.exists():
        training_tables.speed(json.loads(speed.read_text()))


if __name__ == "__main__":
    main()
