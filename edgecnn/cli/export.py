"""``edgecnn export``: a model and pictures in, a proven INT8 bundle out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console, export_table
from edgecnn.errors import CalibrationError, OptionError, VerificationError
from edgecnn.proof import FAILED

if TYPE_CHECKING:
    from edgecnn.composer import Expectation, Source
    from edgecnn.manifest import Resize
    from edgecnn.report.document import Report
    from edgecnn.vision.frames import Frames

EXAMPLES = (
    "edgecnn export --target rpi",
    "edgecnn export defect.safetensors --target rpi --eval parts/",
    "edgecnn export net.onnx --target coral --calibrate photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    "edgecnn export net.pth --arch net.py:build --input-shape 1,3,32,32 -t rpi -t intel --calibrate photos/",
    "edgecnn export resnet18 --target intel --calibrate photos/ --eval labelled/ -o resnet18-intel",
    "edgecnn export net.onnx --target rpi --calibrate photos/ --eval labelled/ --max-drop 0.5",
)

# No mean of pixels on the 0..1 scale is larger, and no standard deviation; on the 0..255 scale nearly all are.
LARGEST_NORMALISATION = 2.0


def command(
    model: Annotated[
        str | None,
        typer.Argument(help="Built-in name, what 'train' wrote, .onnx, .pt2, a state dict; none: the defect model."),
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="Device; may be repeated.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="Pictures like those it will see: folder, .npz, .npy.")] = None,
    evaluate: Annotated[Path | None, typer.Option("--eval", help="Pictures to compare INT8 with float on.")] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Accuracy budget: percentage points of right decisions on --eval that INT8 may lose, e.g. 0.5. Tries "
            "one recipe after the other, the quickest first, until that is sure (95 %). Without labels, every decision "
            "that INT8 changes counts as lost."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="How hard to work on accuracy (default: default); with --max-drop: where to begin."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle: a folder, or a .zip.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="What the model subtracts, on the 0..1 scale: one value or one per channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="What it divides by, likewise.")] = None,
    color: Annotated[str | None, typer.Option(help="Channel order the model was trained on: rgb, bgr or gray.")] = None,
    resize: Annotated[
        str | None,
        typer.Option(help="How frames are fitted: stretch, letterbox, crop, or tile: at full resolution, in pieces."),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="With --resize tile: pixels that tiles overlap by, a defect's size; default 32.")
    ] = None,
    input_shape: Annotated[str | None, typer.Option(help="Shape of the model's input, e.g. 1,3,224,224.")] = None,
    arch: Annotated[str | None, typer.Option(help="For a state dict: file.py:factory, or a built-in's name.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with one class name a line.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="For inspection: score from which a part is rejected, in place of the model's own."),
    ] = None,
    good: Annotated[
        list[str] | None,
        typer.Option(help="For inspection: a folder below --eval that holds good parts, all others hold defects."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Fold batch norm, calibrate, quantise to INT8, write the bundle for each target, and prove it.

    Exit code 1 if the proof FAILED on an engine, or no recipe keeps the accuracy budget. The bundle is written all the
    same, to look into it: its report says FAILED, and `edgecnn.load` refuses that engine.
    """
    if not target:
        raise OptionError("name a target with --target; see: edgecnn targets")
    if good and evaluate is None:
        raise OptionError("--good names folders of pictures to evaluate on: give them with --eval DIR.")
    if max_drop is not None and evaluate is None:
        raise OptionError("--max-drop is measured on pictures: give labelled ones with --eval DIR.")
    with _stages() as progress, console.needing_packages("exporting"):
        progress("importing", 1)
        from edgecnn.composer import Request, build, open_model

        source = open_model(model, _integers(input_shape, "--input-shape"), arch)
        expects = _expectation(source, mean, std, color, _resize(resize, overlap), labels, threshold)
        folder = output or Path("-".join([source.name, *dict.fromkeys(target)]))
        frames = _calibration(source, calibrate)
        request = Request(
            source,
            expects,
            tuple(dict.fromkeys(target)),
            frames,
            recipe,
            evaluate,
            overwrite,
            None if max_drop is None else max_drop / 100,
            tuple(good or ()),
            drawn=calibrate is None and not source.frames,
        )
        report = build(request, folder, progress)
    if as_json:
        console.emit_json({"bundle": str(folder), **report})
    else:
        export_table.show(folder, report)
    _check(folder, report)


def _check(folder: Path, report: Report) -> None:
    """Fail where the bundle was written, but is not what was asked for."""
    failed = [f"{item['engine']}: {item['reason']}" for item in report["engines"] if item["status"] == FAILED]
    if failed:
        raise VerificationError(
            f"the proof FAILED. {folder} was written to look into it, do not deploy it. {'; '.join(failed)}. "
            f"See: edgecnn verify {folder} --per-op"
        )
    if "budget" in report and not report["budget"]["holds"]:
        verdict = report["budget"]["verdict"]
        raise VerificationError(f"{verdict} {folder} holds that result; its report.html shows the changed pictures.")


@contextmanager
def _stages() -> Iterator[Callable[[str, int | None], None]]:
    """Show the stage that runs and how far it is, on stderr; nothing where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    terminal = console.err()
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not terminal.is_terminal
    with (
        console.interrupts() as interrupted,
        Progress(*columns, console=terminal, disable=hidden, transient=True) as bar,
    ):
        task = bar.add_task("", total=None)
        current = ""

        def advance(stage: str, steps: int | None) -> None:
            nonlocal current
            if interrupted.is_set():
                raise KeyboardInterrupt
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
    source: Source,
    mean: str | None,
    std: str | None,
    color: str | None,
    resize: Resize | None,
    labels: Path | None,
    threshold: float | None,
) -> Expectation:
    """Put the user's options over what the model itself says."""
    expects = source.expects
    if mean is not None:
        expects = replace(expects, mean=_floats(mean, "--mean"), told=True)
    if std is not None:
        expects = replace(expects, std=_floats(std, "--std"), told=True)
    if color is not None:
        expects = replace(expects, color=color)
    if resize is not None:
        expects = replace(expects, resize=resize)
    if labels is not None:
        expects = replace(expects, labels=_lines(labels))
    return expects if threshold is None else expects.with_threshold(threshold)


def _resize(mode: str | None, overlap: int | None) -> Resize | None:
    from edgecnn.manifest import RESIZES, Resize

    if overlap is not None and (mode != "tile" or overlap < 0):
        raise OptionError(f"--overlap is a number of pixels, for --resize tile; got {overlap} with --resize {mode}.")
    if mode is None:
        return None
    if mode not in RESIZES:
        raise OptionError(f"--resize must be one of {', '.join(RESIZES)}; got '{mode}'.")
    return Resize(mode) if overlap is None else Resize(mode, overlap=overlap)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--labels {path}: expected a text file with one class name a line: {error}") from error


def _calibration(source: Source, folder: Path | None) -> Frames:
    """Return the calibration frames; only a built-in or trained model that carries its own may do without."""
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
