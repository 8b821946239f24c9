"""``edgecnn evaluate``: what a bundle decides about pictures, beside labels and beside the float model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console, evaluate_table
from edgecnn.errors import BundleError, OptionError

if TYPE_CHECKING:
    from edgecnn.manifest import Manifest
    from edgecnn.report.document import Report
    from edgecnn.runtime.bundle import Bundle
    from edgecnn.runtime.evaluation.labelled import Labelled
    from edgecnn.runtime.evaluation.observe import Observer, Run
    from edgecnn.runtime.evaluation.section import (
        DecisionsSection,
        InspectionSection,
        Interval,
        OperatingPoint,
        PictureRow,
    )

EXAMPLES = (
    "edgecnn evaluate tile-rpi --data tiles/ --good free",
    "edgecnn evaluate resnet18-intel --data labelled/ --engine reference --json",
    "edgecnn evaluate net-rpi --data photos/ --float net.onnx -o evaluation",
)
MOST_FLIPS = 20


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    data: Annotated[Path, typer.Option(help="Pictures: a sub-folder per class, or a labels.csv (image, label).")],
    engine: Annotated[str | None, typer.Option(help="Another engine than the bundle's own, or reference.")] = None,
    float_model: Annotated[
        str | None, typer.Option("--float", help="The source model, to compare with it; needs edgecnn[export].")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="For --float with a state dict: file.py:factory.")] = None,
    good: Annotated[
        list[str] | None,
        typer.Option(help="For inspection: a folder that holds good parts, all others hold defects; may be repeated."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads for one inference; default: all processors.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for report.html and report.json.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Evaluate a bundle on labelled pictures: right decisions, flips, escapes and false rejects, with intervals.

    What float decided is known for the pictures that the export was given with --eval; for others, name the model.

    Exit code 0 whatever the numbers are: a limit for them is set at the export.
    """
    from edgecnn.runtime.bundle import Bundle
    from edgecnn.runtime.evaluation.labelled import Vocabulary, find_labelled, without_label

    with Bundle.open(bundle) as opened:
        words = Vocabulary.of(opened.manifest, tuple(good or ()))
        pictures, page = find_labelled(data, words), _page(output)
        report, notes = _report_of(opened)
        reference = _float_run(float_model, arch, opened.manifest, notes)
        told = without_label(pictures, words)
        notes += [] if told is None else [told]
        found, observer = _evaluate(opened, engine, threads, pictures, _recorded(report), reference, notes)
        opened.check_unchanged()
    if page is not None:
        page.write(report, found, pictures, observer)
    _print(bundle, found, page, as_json)


def _print(bundle: Path, found: DecisionsSection, page: _Page | None, as_json: bool) -> None:
    if as_json:
        console.emit_json({"bundle": str(bundle), **found})
        return
    _show(bundle, found)
    if page is not None:
        console.say(f"Report: {page.folder / 'report.html'}")


def _report_of(bundle: Bundle) -> tuple[Report, list[str]]:
    """Return the bundle's own report, an empty one where it has none; and why, where it has one of another version."""
    from edgecnn.report import document

    if document.FILE_NAME not in bundle.manifest.files:
        return {"schema": 1}, []
    try:
        return document.read(bundle.path_of(document.FILE_NAME)), []
    except BundleError as error:
        return {"schema": 1}, [f"What float decided at the export cannot be read: {error}"]


def _recorded(report: Report) -> dict[str, PictureRow]:
    """Return what the export wrote down of each picture, by the digest of its file."""
    return {row["digest"]: row for row in report["decisions"]["pictures"]} if "decisions" in report else {}


def _float_run(model: str | None, arch: str | None, manifest: Manifest, notes: list[str]) -> Run | None:
    """Make the source model ready; if it is not the one that the bundle was made from, ``notes`` say so."""
    if model is None:
        if arch is not None:
            raise OptionError("--arch says what network --float's weights belong to: give --float too.")
        return None
    with console.needing_packages("--float runs the source model, which"):
        from edgecnn.composer import open_model
        from edgecnn.composer.evaluate import float_model

        _, height, width, channels = manifest.input.tensor.shape
        source = open_model(model, (1, channels, height, width), arch)
        if source.digest != manifest.provenance.model_sha256:
            notes.append(f"'{model}' is not the file that the bundle was made from: its digest is another.")
        return float_model(source, manifest)


def _evaluate(
    bundle: Bundle,
    engine: str | None,
    threads: int | None,
    pictures: Sequence[Labelled],
    recorded: Mapping[str, PictureRow],
    reference: Run | None,
    notes: Sequence[str],
) -> tuple[DecisionsSection, Observer]:
    from edgecnn.runtime.evaluation.decisions import BUNDLE, MODEL, decisions
    from edgecnn.runtime.evaluation.observe import Observer, read_pictures
    from edgecnn.runtime.model import load
    from edgecnn.vision.tiling import tiled

    skipped: list[str] = []
    observer = Observer(bundle.manifest, recorded)
    with load(bundle.folder, engine, threads) as model:
        read = read_pictures(pictures, model.preprocess, skipped)
        for picture in console.progress(read, "evaluating", len(pictures)):
            if picture is not None:
                real = None if reference is None else tiled(reference, model.preprocess.tiling)(picture.frame)
                observer.add(picture, model.run(picture.frame[None]), real)
        name = model.engine_name
    source = BUNDLE if reference is None else MODEL
    counted = observer.label_masks, observer.pixels, observer.lanes
    return decisions(bundle.manifest, name, observer.rows, observer.noise, source, skipped, notes, *counted), observer


class _Page:
    """Writes an evaluation as ``report.html`` and ``report.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, report: Report, found: DecisionsSection, pictures: Sequence[Labelled], observer: Observer) -> None:
        """Put the evaluation into the bundle's report, in place of what the export measured, and write it."""
        from edgecnn.report import document, html
        from edgecnn.report.decisions import thumbnails
        from edgecnn.report.mistakes import mistake_pictures

        report = report | {"decisions": found}
        report.pop("accuracy", None)
        shown = thumbnails(found, {item.name: item.path for item in pictures})
        mistakes = mistake_pictures(observer.mistakes, pictures, observer.manifest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / document.FILE_NAME).write_text(document.dumps(report), "utf-8", "backslashreplace")
            (self.folder / html.FILE_NAME).write_text(html.render(report, shown, mistakes), "utf-8", "backslashreplace")
        except OSError as error:
            raise OptionError(f"--output {self.folder}: cannot be written: {error.strerror or error}.") from error


def _page(output: Path | None) -> _Page | None:
    """Look at the output, and for what the page needs, before pictures are run."""
    if output is None:
        return None
    if output.exists() and (not output.is_dir() or (output / "manifest.json").exists()):
        raise OptionError(f"--output {output}: expected a folder for the report, not a file or a bundle.")
    with console.needing_packages("--output writes a page, which"):
        importlib.import_module("jinja2")
    return _Page(output)


def _show(bundle: Path, found: DecisionsSection) -> None:
    console.say(f"{bundle} on {found['engine']}: {found['images']} pictures")
    console.say(found["verdict"])
    _show_accuracy(found)
    if found["inspection"] is not None:
        _show_inspection(found["inspection"])
        evaluate_table.show(found)
    if lanes := found.get("lanes"):
        evaluate_table.show_lanes(lanes)
    if found["noise"]:
        rows = [(item["output"], _decibels(item["sqnr_db"])) for item in found["noise"]]
        console.table("", ("output", ">signal to noise, against float"), rows)
    _show_flips(found)
    for remark in found["remarks"]:
        console.note(f"note: {remark}")


def _show_accuracy(found: DecisionsSection) -> None:
    rows: list[tuple[str, str, str]] = []
    if found["accuracy"] is not None:
        shares = (("right, float", found["accuracy"]["float"]), ("right, INT8", found["accuracy"]["int8"]))
        rows += [(name, *_share(share)) for name, share in shares if share is not None]
    if found["paired"] is not None:
        drop = found["paired"]["drop"]
        ends = f"{100 * drop['low']:.2f} to {100 * drop['high']:.2f}"
        rows.append(("drop, in points", f"{100 * drop['value']:.2f}", ends))
        rows.append(("McNemar's test, p", f"{found['paired']['p']:.3g}", ""))
    if found["agreement"] is not None:
        rows.append(("same decision", *_share(found["agreement"])))
    if found["masks"] is not None:
        rows.append(("overlap of masks", f"{found['masks']['iou']:.4f}", f"at least {found['masks']['lowest']:.4f}"))
        rows.append(("equal pixels", f"{found['masks']['pixels']:.2%}", ""))
    if (labelled := found.get("label_masks")) is not None:
        means = (("label masks, float", labelled["float"]), ("label masks, INT8", labelled["int8"]))
        rows += [(name, f"{mean:.4f}", "") for name, mean in means if mean is not None]
    if rows:
        console.table("", ("", ">", ">95 % interval"), rows)


def _show_inspection(found: InspectionSection) -> None:
    points = (("float", found["float"]), ("INT8", found["int8"]), ("INT8, suggested", found["suggested"]))
    rows = [_operating_row(name, point) for name, point in points if point is not None]
    title = f"at the threshold, {found['defective']} defective and {found['good']} good parts"
    columns = ("", ">threshold", ">escapes", ">rate", ">95 % interval", ">false rejects", ">rate", ">95 % interval")
    console.table(title, columns, rows)
    console.say(found["advice"])


def _operating_row(name: str, point: OperatingPoint) -> tuple[str, ...]:
    limit = "-" if point["threshold"] is None else f"{point['threshold']:.4g}"
    escapes = (str(point["escapes"]), *_share(point["escape_rate"]))
    return name, limit, *escapes, str(point["false_rejects"]), *_share(point["false_reject_rate"])


def _show_flips(found: DecisionsSection) -> None:
    from edgecnn.runtime.evaluation.decisions import flipped, who_is_right

    rows = flipped(found["pictures"])
    shown = [
        (row["picture"], row["label"] or "-", _before(row), _after(row), who_is_right(row)) for row in rows[:MOST_FLIPS]
    ]
    if shown:
        console.table(f"flipped pictures: {len(rows)}", ("picture", "label", "float", "INT8", "right"), shown)
    if len(rows) > MOST_FLIPS:
        console.note(f"{len(rows) - MOST_FLIPS} more: --json or -o DIR lists all of them")


def _before(row: PictureRow) -> str:
    return "-" if row["float"] is None or row["overlap"] is not None else row["float"]["decision"]


def _after(row: PictureRow) -> str:
    return row["int8"]["decision"] if row["overlap"] is None else f"overlap {row['overlap']['iou']:.3f}"


def _share(share: Interval | None) -> tuple[str, str]:
    return ("-", "") if share is None else (f"{share['value']:.2%}", f"{share['low']:.1%} to {share['high']:.1%}")


def _decibels(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} dB"
