"""``edgecnn export``: a model and pictures in, a proven INT8 bundle out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import CalibrationError, MissingEngineError, OptionError, VerificationError

if TYPE_CHECKING:
    from edgecnn.composer import Expectation, Source
    from edgecnn.report.document import Report
    from edgecnn.vision.frames import Frames

EXAMPLES = (
    "edgecnn export --target rpi",
    "edgecnn export net.onnx --target coral --calibrate photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    "edgecnn export net.pth --arch net.py:build --input-shape 1,3,32,32 -t rpi -t intel --calibrate photos/",
    "edgecnn export resnet18 --target intel --calibrate photos/ --eval labelled/ -o resnet18-intel",
)

# No mean of pixels on the 0..1 scale is larger, and no standard deviation; on the 0..255 scale nearly all are.
LARGEST_NORMALISATION = 2.0


def command(
    model: Annotated[
        str | None, typer.Argument(help="Built-in name, .onnx, .pt2, or a state dict; default: the defect model.")
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="Device; may be repeated.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="Pictures like those it will see: folder, .npz, .npy.")] = None,
    evaluate: Annotated[Path | None, typer.Option("--eval", help="Pictures to compare INT8 with float on.")] = None,
    recipe: Annotated[str, typer.Option(help="How hard to work on accuracy.")] = "default",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle: a folder, or a .zip.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="What the model subtracts, on the 0..1 scale: one value or one per channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="What it divides by, likewise.")] = None,
    color: Annotated[str | None, typer.Option(help="Channel order the model was trained on: rgb, bgr or gray.")] = None,
    resize: Annotated[str | None, typer.Option(help="How frames are fitted: stretch, letterbox or crop.")] = None,
    input_shape: Annotated[str | None, typer.Option(help="Shape of the model's input, e.g. 1,3,224,224.")] = None,
    arch: Annotated[str | None, typer.Option(help="For a state dict: file.py:factory, or a built-in's name.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with one class name a line.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Fold batch norm, calibrate, quantise to INT8, write the bundle for each target, and prove it.

    Exit code 1 if the bundle was written but an engine does not agree with it.
    """
    if not target:
        raise OptionError("name a target with --target; see: edgecnn targets")
    with _stages() as progress, _needing_packages():
        progress("importing", 1)
        from edgecnn.composer import Request, build, open_model

        source = open_model(model, _integers(input_shape, "--input-shape"), arch)
        expects = _expectation(source, mean, std, color, resize, labels)
        folder = output or Path("-".join([source.name, *dict.fromkeys(target)]))
        frames = _calibration(source, calibrate)
        request = Request(source, expects, tuple(dict.fromkeys(target)), frames, recipe, evaluate, overwrite)
        report = build(request, folder, progress)
    if as_json:
        console.emit_json({"bundle": str(folder), **report})
    else:
        _show(folder, report)
    failed = [item["engine"] for item in report["engines"] if not item["passed"]]
    if failed:
        raise VerificationError(
            f"{folder} was written, but {', '.join(failed)} does not decide as the reference does. "
            f"See: edgecnn verify {folder} --per-op"
        )


@contextmanager
def _needing_packages() -> Iterator[None]:
    """Say how to get what a device does not have: exporting is work for a desk."""
    try:
        yield
    except ImportError as error:
        raise MissingEngineError(
            f"exporting needs packages that are not installed ({error}). Install them: pip install 'edgecnn[export]'"
        ) from error


@contextmanager
def _stages() -> Iterator[Callable[[str, int | None], None]]:
    """Show the stage that runs and how far it is, on stderr; nothing where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    terminal = console.err()
    columns = (TextColumn("{task.description:17}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def advance(stage: str, steps: int | None) -> None:
            nonlocal current
            if stage != current:
                current = stage
                bar.reset(task, description=stage, total=steps)
            bar.advance(task)

        yield advance


def _integers(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise OptionError(f"{option} must be whole numbers like 1,3,224,224; got '{text}'.") from error


def _floats(text: str, option: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"{option} must be one number or one per channel, like 0.485,0.456,0.406; got '{text}'."
        ) from error
    if max(map(abs, values)) > LARGEST_NORMALISATION:
        divided = ",".join(f"{value / 255:.4g}" for value in values)
        raise OptionError(
            f"{option} is on the scale where pixels are 0..1; {text} looks like that of 0..255. Divided: {divided}."
        )
    return values


def _expectation(
    source: Source, mean: str | None, std: str | None, color: str | None, resize: str | None, labels: Path | None
) -> Expectation:
    """Put the user's options over what the model itself says."""
    from edgecnn.manifest import RESIZES, Resize

    expects = source.expects
    if mean is not None:
        expects = replace(expects, mean=_floats(mean, "--mean"))
    if std is not None:
        expects = replace(expects, std=_floats(std, "--std"))
    if color is not None:
        expects = replace(expects, color=color)
    if resize is not None:
        if resize not in RESIZES:
            raise OptionError(f"--resize must be one of {', '.join(RESIZES)}; got '{resize}'.")
        expects = replace(expects, resize=Resize(resize))
    return expects if labels is None else replace(expects, labels=_lines(labels))


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--labels {path}: expected a text file with one class name a line: {error}") from error


def _calibration(source: Source, folder: Path | None) -> Frames:
    """Return the calibration frames; only a built-in that carries its own may do without."""
    from edgecnn.composer.source import own_frames
    from edgecnn.vision.frames import Frames

    if folder is not None:
        return Frames(folder)
    frames = own_frames(source)
    if frames is None:
        raise CalibrationError(
            f"'{source.name}' needs calibration pictures, because ranges guessed without data cost accuracy: give "
            "100 or more pictures like those it will see with --calibrate DIR (or .npz)."
        )
    return frames


def _show(folder: Path, report: Report) -> None:
    rows = [
        (item["file"], item["target"], item["engine"], f"{item['bytes'] / 1e6:.2f} MB") for item in report["artefacts"]
    ]
    console.out().print(f"{folder}", markup=False, soft_wrap=True)
    console.table("", ("file", "target", "engine", ">size"), rows)
    proofs = [
        (item["engine"], f"{item['equal']:.2%}", item["max_lsb"], "PASS" if item["passed"] else "FAIL")
        for item in report["engines"]
    ]
    console.table("against the reference, on golden frames", ("engine", ">equal", ">largest LSB", ""), proofs)
    if "accuracy" in report:
        _show_accuracy(report)
    for text in report["notes"]:
        console.note(f"note: {text}")
    console.out().print(f"Report: {folder / 'report.html'}", markup=False, soft_wrap=True)


def _show_accuracy(report: Report) -> None:
    found = report["accuracy"]
    share, top1 = found["agreement"], found["top1"]
    interval = f"{share['value']:.2%} ({share['low']:.1%} to {share['high']:.1%})"
    right = "" if top1 is None else f", top-1 {top1['float']:.2%} float, {top1['int8']:.2%} INT8"
    noise = "" if found["sqnr_db"] is None else f", SQNR {found['sqnr_db']:.1f} dB"
    console.out().print(f"{found['images']} pictures: agreement with float {interval}{noise}{right}", markup=False)
