"""Count, engine by engine and processor by processor, how often integers are those of the reference.

    python -m benchmarks.conformance [--cases 1000] [--markdown] [--by-operator] [--emulate] [--micro PYTHON]

Small networks in random forms of every supported operator and ONNX's own node cases are exported into
``build/conformance``; every engine then runs them in a process of its own. ``--emulate`` adds ONNX Runtime and LiteRT
on an emulated Haswell, and on a Cortex-A72 and A76 where `arm.py` has set them up; ``--micro`` names a Python that has
tflite-micro. What cannot be run is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
HASWELL = ("qemu-x86_64-static", "-cpu", "Haswell")
PACKAGES = ("onnx", "onnxruntime", "openvino", "ai-edge-litert", "numpy")
TRIES = 20
Rows = Iterable[Sequence[object]]


@dataclass(frozen=True)
class Lane:
    """An engine on a processor.

    Attributes:
        title: The engine's name.
        processor: The processor's name.
        runner: What `conformance_runner` is asked for.
        command: Starts Python.
        settings: Environment variables.
        every: Only every n-th case is run: emulation is slow.
        reason: Why it cannot be run, empty if it can.
    """

    title: str
    processor: str
    runner: str
    command: tuple[str, ...] = (sys.executable,)
    settings: dict[str, str] = field(default_factory=dict)
    every: int = 1
    reason: str = ""


@dataclass
class Count:
    """What became of the cases of a lane or an operator."""

    cases: int = 0
    refused: int = 0
    failed: int = 0
    equal: int = 0
    largest: int = 0
    differ: int = 0
    values: int = 0

    def add(self, result: dict[str, Any]) -> None:
        """Count one case."""
        self.cases += 1
        self.refused += "refused" in result
        self.failed += "failed" in result
        self.equal += result.get("largest") == 0
        self.largest = max(self.largest, result.get("largest", 0))
        self.differ += result.get("differ", 0)
        self.values += result.get("values", 0)

    def cells(self) -> list[object]:
        """Return the figures of a row of the table."""
        share = f"{self.differ / self.values:.2%}" if self.values and self.differ else "0"
        return [self.cases, self.refused, self.failed, self.equal, self.largest, share]


HEADINGS = ("engine", "processor", "cases", "refused", "failed", "equal", "largest LSB", "values that differ")


def native() -> list[Lane]:
    """Return the lanes that need what edgecnn installs only."""
    avx2 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    return [
        Lane("ONNX Runtime", "this one", "onnxruntime"),
        Lane("OpenVINO", "this one", "openvino"),
        Lane("OpenVINO", "this one, AVX2 only", "openvino", settings=avx2),
        Lane("LiteRT, XNNPACK", "this one", "litert"),
        Lane("LiteRT, plain kernels", "this one", "litert-plain"),
    ]


def emulated(every: int) -> list[Lane]:
    """Return the lanes under emulation, with the reason where one is impossible."""
    missing = "" if shutil.which(HASWELL[0]) else f"{HASWELL[0]} is not installed"
    command = (*HASWELL, sys.executable)
    engines = (("ONNX Runtime", "onnxruntime"), ("LiteRT, XNNPACK", "litert"))
    lanes = [Lane(title, "Haswell (qemu)", name, command, {}, every, missing) for title, name in engines]
    return lanes + [_arm(core, *engine, every) for core in ("cortex-a72", "cortex-a76") for engine in engines]


def _arm(core: str, title: str, runner: str, every: int) -> Lane:
    home = PROJECT / "build" / "arm"
    root = home / core
    missing = "" if root.exists() else "build/arm is not there: run benchmarks/arm.py once"
    command = ("qemu-aarch64-static", "-cpu", core, "-L", str(root), str(root / "usr/bin/python3.11"))
    return Lane(title, f"{core} (qemu)", runner, command, {"PYTHONPATH": f"{home / 'site'}:{PROJECT}"}, every, missing)


def micro(python: str) -> Lane:
    """Return the lane of TensorFlow Lite Micro."""
    found = subprocess.run([python, "-c", "import tflite_micro"], capture_output=True, check=False).returncode == 0
    reason = "" if found else f"{python} has no tflite-micro: pip install tflite-micro"
    return Lane("TensorFlow Lite Micro", "this one", "tflm", (python,), reason=reason)


def run(lane: Lane, folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Run a lane and return what became of every case; a process that an engine ends is started again.

    Raises:
        SystemExit: If it cannot be started, or ends again and again.
    """
    results = folder / f"{name}.jsonl"
    results.unlink(missing_ok=True)
    command = [*lane.command, "-m", "benchmarks.conformance_runner", lane.runner, folder, results]
    command += ["--every", lane.every]
    settings = {**os.environ, "PYTHONPATH": str(PROJECT), **lane.settings}
    for _ in range(TRIES):
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=PROJECT, env=settings, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return read(results)
        if not results.exists():
            break
    raise SystemExit(f"{lane.title}, {lane.processor}: {done.stderr[-2000:]}")


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Return the last line on every case."""
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {line["case"]: line for line in lines}


def forms(folder: Path) -> dict[str, str]:
    """Return the form that every case shows."""
    return {path.parent.name: json.loads(path.read_text())["form"] for path in folder.glob("*/case.json")}


def count(results: dict[str, dict[str, Any]], form_of: dict[str, str]) -> dict[str, Count]:
    """Count the results of a lane: all of them under the empty name, and those of every form."""
    counts: dict[str, Count] = defaultdict(Count)
    for case, result in results.items():
        for key in ("", form_of[case]):
            counts[key].add(result)
    return counts


def table(headings: Sequence[str], rows: Rows, markdown: bool) -> str:
    """Lay out a table."""
    lines = [list(headings), *([str(cell) for cell in row] for row in rows)]
    if markdown:
        lines.insert(1, ["---"] * len(headings))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def prepare(folder: Path, cases: int, with_onnx: bool) -> str:
    """Export all cases into an empty folder and say how many there are."""
    from benchmarks import conformance_export

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        jobs = {"drawn cases": pool.submit(conformance_export.write_drawn, folder, cases)}
        if with_onnx:
            jobs["ONNX node cases that take floats"] = pool.submit(conformance_export.write_onnx, folder)
        found = {title: job.result() for title, job in jobs.items()}
    refused = {title: reasons for title, (_, reasons) in found.items()}
    (folder / "refused.json").write_text(json.dumps(refused, indent=1), encoding="utf-8")
    return ", ".join(
        f"{total - len(refused[title])} of {total} {title} exported" for title, (total, _) in found.items()
    )


def versions() -> str:
    """Return the versions of all packages that compute something, and the processor's name."""
    from edgecnn.runtime import processor

    info = processor.CPU_INFO.read_text(errors="replace") if processor.CPU_INFO.exists() else ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"{packages}; Python {platform.python_version()}; {', '.join(names[:1])} ({processor.here()})"


def arguments_given() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="how many to draw")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "conformance")
    parser.add_argument("--no-onnx", action="store_true", help="leave ONNX's own cases out")
    parser.add_argument("--emulate", action="store_true", help="add emulated processors")
    parser.add_argument("--every", type=int, default=7, help="under emulation, run every n-th case")
    parser.add_argument("--micro", metavar="PYTHON", help="a Python that has tflite-micro")
    parser.add_argument("--jobs", type=int, default=2, help="how many engines to run at a time")
    parser.add_argument("--by-operator", action="store_true", help="add a table of each engine's operators")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Export, run and print."""
    given = arguments_given()
    print(prepare(given.folder.resolve(), given.cases, not given.no_onnx), versions(), sep="\n", flush=True)
    lanes = native() + (emulated(given.every) if given.emulate else []) + ([micro(given.micro)] if given.micro else [])
    folder, form_of = given.folder.resolve(), forms(given.folder)
    able = [lane for lane in lanes if not lane.reason]
    with ThreadPoolExecutor(given.jobs) as pool:
        names = [f"lane{index}" for index in range(len(able))]
        counted = [count(results, form_of) for results in pool.map(run, able, [folder] * len(able), names)]
    pairs = list(zip(able, counted, strict=True))
    print(table(HEADINGS, [[lane.title, lane.processor, *of[""].cells()] for lane, of in pairs], given.markdown))
    for lane in lanes:
        if lane.reason:
            print(f"not run: {lane.title}, {lane.processor}: {lane.reason}")
    if given.by_operator:
        rows = [
            [lane.title, lane.processor, form, *of[form].cells()] for lane, of in pairs for form in sorted(of) if form
        ]
        print(table((*HEADINGS[:2], "operator", *HEADINGS[2:]), rows, given.markdown))


if __name__ == "__main__":
    main()
