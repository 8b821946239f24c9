"""``edgecnn inspect``: a model's layers, its pitfalls, and what becomes of it on a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecnn.cli import console
from edgecnn.errors import BundleError, OptionError

if TYPE_CHECKING:
    from edgecnn.profile import TargetProfile
    from edgecnn.report.document import EdgeTpuRow
    from edgecnn.report.layers import Layer, LayerTable
    from edgecnn.report.pitfalls import Verdict
    from edgecnn.report.sensitivity import Culprit
    from edgecnn.report.survey import Outlook, Survey
    from edgecnn.runtime.bundle import Bundle

EXAMPLES = (
    "edgecnn inspect resnet18",
    "edgecnn inspect detector.onnx --target coral --input-shape 1,3,320,320",
    "edgecnn inspect weights.pth --arch net.py:build --input-shape 1,3,32,32 --object-size 12",
    "edgecnn inspect tile-rpi --json",
)
WORST_LAYERS = 3
STYLES = {"warning": "yellow", "hint": "cyan"}


def command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A built-in's name, what 'train' wrote, .onnx, .pt2, a state dict, a bundle; none: defect."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Judge for this target (repeatable); default: all, or the bundle's."),
    ] = None,
    input_shape: Annotated[str | None, typer.Option(help="Shape of the input, e.g. 1,3,224,224.")] = None,
    arch: Annotated[str | None, typer.Option(help="Network of a state dict: file.py:factory, or a built-in.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean the model expects, on the 0..1 scale: 0.5 or 0.4,0.5,0.6.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Standard deviation, likewise.")] = None,
    object_size: Annotated[
        str | None, typer.Option(help="Pixels (or rows,columns) of what is looked for, at the model's input size.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show layers, totals and grids; find the eight common pitfalls; say what maps on a target, and why not.

    A model that is not quantised is judged with made-up ranges. Exit code 0 whatever is found.
    """
    size = _object_size(object_size)
    if _is_bundle(model):
        survey = _survey_bundle(Path(str(model)), target, size)
    else:
        numbers = None if mean is None else _numbers("--mean", mean), None if std is None else _numbers("--std", std)
        survey = _survey_model(model, target, _shape(input_shape), arch, numbers, size)
    if as_json:
        console.emit_json(survey.as_json())
    else:
        _show(survey)


def _is_bundle(model: str | None) -> bool:
    return model is not None and (Path(model).is_dir() or Path(model).suffix.lower() == ".zip")


def _survey_bundle(path: Path, targets: Sequence[str] | None, object_size: tuple[int, int] | None) -> Survey:
    from edgecnn.integer_graph import IntegerGraph
    from edgecnn.report.pitfalls import Knowledge
    from edgecnn.report.survey import survey_integers
    from edgecnn.runtime.bundle import Bundle

    with Bundle.open(path) as bundle:
        graph = IntegerGraph.load(bundle.path_of(bundle.manifest.graph))
        name, origin = bundle.manifest.name, bundle.manifest.provenance
        noise, notes = _noise(bundle)
        profiles = _profiles(targets or list(dict.fromkeys(engine.target for engine in bundle.engines)))
    knowledge = Knowledge(True, True, origin.mean, origin.std, object_size)
    return replace(survey_integers(name, graph, knowledge, profiles), noise=noise, notes=notes)


def _noise(bundle: Bundle) -> tuple[tuple[Culprit, ...], tuple[str, ...]]:
    """Return which layers make most of the noise, as the bundle's report says; and why, where it cannot be read."""
    from edgecnn.report import document
    from edgecnn.report.sensitivity import culprits

    if document.FILE_NAME not in bundle.manifest.files:
        return (), ()
    try:
        report = document.read(bundle.path_of(document.FILE_NAME))
    except BundleError as error:
        return (), (f"Which layers make the noise cannot be read: {error}",)
    found = culprits(report["sensitivity"]) if "sensitivity" in report else []
    return tuple(item for item in found[:WORST_LAYERS] if item.share > 0), ()


def _survey_model(
    model: str | None,
    targets: Sequence[str] | None,
    input_shape: Sequence[int] | None,
    arch: str | None,
    numbers: tuple[Sequence[float] | None, Sequence[float] | None],
    object_size: tuple[int, int] | None,
) -> Survey:
    from edgecnn.composer import open_model
    from edgecnn.profile import targets as all_targets
    from edgecnn.report.pitfalls import Knowledge
    from edgecnn.report.survey import survey_model

    profiles = _profiles(targets or all_targets())
    source = open_model(model, input_shape, arch)
    # What a file does not say about itself is not known; what a built-in or a trained file expects is.
    stated = (source.expects.mean, source.expects.std) if source.card or source.frames else (None, None)
    mean, std = (given if given is not None else own for given, own in zip(numbers, stated, strict=True))
    if (mean is None) != (std is None):
        mean, std = mean or (0.0,), std or (1.0,)
    folded = Path(model or "").suffix.lower() == ".onnx"
    return survey_model(source.name, source.model, Knowledge(folded, False, mean, std, object_size), profiles)


def _profiles(names: Sequence[str]) -> list[TargetProfile]:
    from edgecnn.profile import load_target

    return [load_target(name) for name in names]


def _shape(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else _whole("--input-shape", text)


def _object_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sizes = _whole("--object-size", text)
    if len(sizes) > 2:
        raise OptionError(f"--object-size takes one number, or rows,columns; got '{text}'")
    return sizes[0], sizes[-1]


def _whole(option: str, text: str) -> tuple[int, ...]:
    values = _numbers(option, text.replace("x", ","))
    if any(value < 1 or value != int(value) for value in values):
        raise OptionError(f"{option} takes whole numbers from 1 on, separated by commas; got '{text}'")
    return tuple(int(value) for value in values)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(",", " ").split()) or _refuse(option, text)
    except ValueError:
        return _refuse(option, text)


def _refuse(option: str, text: str) -> tuple[float, ...]:
    raise OptionError(f"{option} takes numbers separated by commas; got '{text}'")


def _show(survey: Survey) -> None:
    _show_layers(survey.name, survey.table, survey.quantised)
    _show_noise(survey.noise)
    _show_pitfalls(survey.verdict)
    for outlook in survey.outlooks:
        _show_outlook(outlook, survey.quantised)
    for note in survey.notes:
        console.note(note)


def _show_layers(name: str, table: LayerTable, quantised: bool) -> None:
    grids = (">scale", ">zero", ">range") if quantised else ()
    columns = ("layer", "op", "output", ">parameters", ">MACs", ">sees", *grids)
    console.table(f"{name}: layers", columns, [_layer_row(layer, quantised) for layer in table.layers])
    console.say(
        f"\ninput {_sizes(table.input_shape)}, {table.parameters:,} parameters, {table.macs:,} multiply-accumulates; "
        f"at most {table.peak_bytes:,} bytes of INT8 activations at a time, in '{table.peak_layer}'"
    )


def _layer_row(layer: Layer, quantised: bool) -> tuple[str, ...]:
    seen = "" if layer.receptive_field is None else _sizes(layer.receptive_field)
    numbers = [f"{number:,}" if number else "" for number in (layer.parameters, layer.macs)]
    row = (layer.name, layer.op, _sizes(layer.shape), *numbers, seen)
    if not quantised:
        return row
    if layer.grid is None or layer.range is None:
        return (*row, "", "", "")
    low, high = layer.range
    return (*row, f"{layer.grid.scale[0]:.4g}", str(layer.grid.zero_point), f"{low:.4g} .. {high:.4g}")


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)


def _show_noise(worst: Sequence[Culprit]) -> None:
    if worst:
        rows = [(item.layer, item.kind, item.part, f"{item.share:.1%}", f"{item.decibels:.1f} dB") for item in worst]
        console.say("")
        console.table("Where most of the noise comes from", ("layer", "kind", "what", ">share", ">alone"), rows)


def _show_pitfalls(verdict: Verdict) -> None:
    console.say(f"\nPitfalls: {len(verdict.findings) or 'none'} found", "bold")
    for finding in verdict.findings:
        console.say(f"  {finding.severity} {finding.rule}: {finding.message}", STYLES[finding.severity])
        if finding.layers:
            console.say(f"    in {_listed(finding.layers)}")
        console.say(f"    {finding.advice}")
    for rule, reason in verdict.unjudged.items():
        console.say(f"  not judged {rule}: {reason}")


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _show_outlook(outlook: Outlook, quantised: bool) -> None:
    state = {True: "every node can be lowered", False: "cannot be lowered", None: ""}[outlook.lowers]
    basis = "" if quantised or not outlook.lowers else " (judged with made-up ranges)"
    console.say(f"\nTarget {outlook.target} ({outlook.engine}): {state}{basis}".rstrip(": "), "bold")
    for refusal in outlook.refusals:
        console.say(f"  {refusal}")
    if outlook.remark:
        console.say(f"  {'Edge TPU pre-flight: ' if outlook.edge_tpu else ''}{outlook.remark}")
    if rows := _remarkable(outlook.edge_tpu):
        console.table("", ("op", "maps", "why", "what to do", "nodes"), rows)


def _remarkable(rows: Sequence[EdgeTpuRow]) -> list[tuple[str, ...]]:
    """Return the Edge TPU rows that say something, nodes with the same reason together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["reason"] or not row["maps"]:
            key = (row["op"], "maybe" if row["maps"] else "no", row["reason"], row["suggestion"])
            groups.setdefault(key, []).append(row["node"])
    return [(*key, _listed(names)) for key, names in groups.items()]
