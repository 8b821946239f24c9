"""``edgecnn run``: watch a camera, stream, file or folder with a bundle."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecnn.cli import console, watching
from edgecnn.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from edgecnn.runtime.health.settings import HealthSettings
    from edgecnn.runtime.loop.lanes import LaneSettings
    from edgecnn.runtime.loop.loop import LoopSettings
    from edgecnn.runtime.loop.parts import PartSettings

EXAMPLES = (
    "edgecnn run tile-rpi --source 0",
    "edgecnn run tile-rpi --source /dev/v4l/by-id/usb-Cam-video-index0 --serve 127.0.0.1:8080",
    "edgecnn run tile-rpi --source 'rtsp://${CAM_USER}:${CAM_PASSWORD}@cam/1' --sink mqtt://broker/line-3",
    "edgecnn run tile-rpi --source photos/ --sink jsonl:verdicts.jsonl --json",
    "edgecnn run tile-rpi --source conveyor: --sink 'recorder:events?budget_mb=500' --seconds 30",
)

_part = partial(typer.Option, rich_help_panel="Parts and states")
_trust = partial(typer.Option, rich_help_panel="What cannot be trusted")
_model = partial(typer.Option, rich_help_panel="Model")
_end = partial(typer.Option, rich_help_panel="End")


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle: a folder or a .zip.")],
    source: Annotated[
        str,
        typer.Option(
            help="Camera number or /dev/v4l/by-id path, csi://0, rtsp://..., http://..., a video, a folder, - for "
            "stdin, conveyor: or road:. ${NAME} stands for an environment variable."
        ),
    ],
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Where verdicts go, any number of them: jsonl:FILE, recorder:FOLDER (events with clips), "
            "video:FILE.mp4, mqtt://HOST/TOPIC, webhook:URL, modbus://HOST/coil/N, gpio://PIN, prometheus:."
        ),
    ] = None,
    alarm: Annotated[
        list[str] | None,
        typer.Option(
            help="A sink that is told of no verdicts, but PASS while camera and sinks work and INVALID while one is "
            "lost: any address that --sink takes."
        ),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Show a web page there. Beyond loopback it needs EDGECNN_TOKEN."),
    ] = None,
    station: Annotated[str, typer.Option(help="Name of this place in all records; default: the host's name.")] = "",
    every: Annotated[
        str | None,
        typer.Option(
            help="'latest': only the newest frame counts; 'frame': every one. Default: cameras latest, files frame."
        ),
    ] = None,
    parts: Annotated[
        str, _part(help="'none'; 'frame': each frame is a part; 'gap': parts with the empty place between.")
    ] = "none",
    empty: Annotated[
        Path | None, _part(help="Picture of the empty place, needed for --parts gap; any frame of it will do.")
    ] = None,
    fill: Annotated[float, _part(help="Share of the picture that a part covers when it can be judged.")] = 0.8,
    clear: Annotated[float, _part(help="Share up to which the place counts as empty, below --fill.")] = 0.1,
    shortest: Annotated[int, _part(help="Frames to be trusted that a part needs; with fewer it is INVALID.")] = 1,
    reject: Annotated[int, _part(help="Frames that must say REJECT before it counts ...")] = 1,
    window: Annotated[int | None, _part(help="... out of the last so many; default: as --reject.")] = None,
    release: Annotated[int, _part(help="PASS frames in a row that end REJECT and INVALID.")] = 1,
    margin: Annotated[float, _part(help="How far below the threshold a score must fall to end REJECT.")] = 0.0,
    silence: Annotated[float, _trust(help="Seconds without a frame that are INVALID.")] = 1.0,
    stale: Annotated[float, _trust(help="Seconds from frame to verdict above which it is INVALID.")] = 1.0,
    stuck: Annotated[float, _trust(help="Seconds without a sign of life that end the process.")] = 10.0,
    check: Annotated[
        list[str] | None,
        _trust(
            metavar="NAME=VALUE",
            help="Change or switch off a check of the picture: black, saturated, size, frozen_seconds, detail, shift, "
            "likeness, light, margin, persist_seconds; e.g. frozen_seconds=2, shift=off.",
        ),
    ] = None,
    lane: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of lane bundles: departure (widths of the lane from its middle that are REJECT), lane_width (m), "
            "focal (of the frame's width), smoothing, hold (s), jump; e.g. departure=0.25.",
        ),
    ] = None,
    engine: Annotated[str | None, _model(help="Another engine than the bundle's own.")] = None,
    threads: Annotated[int | None, _model(help="Threads for one inference; default: all processors.")] = None,
    self_test: Annotated[str, _model(help="'on': the proof must hold on golden frames first, or 'off'.")] = "on",
    frames: Annotated[int | None, _end(help="End after so many turns, those without a frame included.")] = None,
    seconds: Annotated[float | None, _end(help="End after so many seconds.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Watch a source, decide about every picture or part, and tell sinks and a web page.

    Every verdict is PASS, REJECT or INVALID. Black, white, stale and missing pictures are INVALID at once, frozen ones
    of a camera's stream after 0.5 s; blurred, noisy, shifted or strange ones after 0.3 s, as far as the calibration
    frames tell: what they do is said at the start. A lost camera is tried again for ever. SIGTERM, SIGHUP and Ctrl-C
    end it cleanly; systemd's watchdog is served.
    """
    from edgecnn.runtime.loop.parts import PartSettings
    from edgecnn.runtime.model import load

    window = reject if window is None else window
    how = PartSettings(parts, reject, window, release, margin, fill, clear, shortest)
    settings = _settings(how, empty, (silence, stale, stuck), check or [], lane or [])
    settings = dataclasses.replace(settings, station=station)
    with (
        load(bundle, engine, threads, self_test) as model,
        model.watch(source, every=every, sinks=sink or (), alarms=alarm or (), settings=settings) as loop,
    ):
        watching.serve_page(loop, serve)
        interrupted = watching.drive(loop, as_json, frames, seconds)
        figures = loop.snapshot()
    if as_json:
        console.emit_json(dataclasses.asdict(figures))
    else:
        watching.summarise(figures)
    if interrupted:
        raise typer.Exit(console.INTERRUPTED)


def _settings(
    parts: PartSettings, empty: Path | None, times: tuple[float, float, float], checks: list[str], lane: list[str]
) -> LoopSettings:
    from edgecnn.runtime.loop.loop import LoopSettings
    from edgecnn.runtime.loop.rules import Rules
    from edgecnn.vision.read import read_image

    silence, stale, stuck = times
    return LoopSettings(
        silence=silence,
        stale=stale,
        stuck=stuck,
        rules=Rules(_health(checks), parts, None if empty is None else read_image(empty), _lanes(lane)),
        on_stuck=watching.give_up,
        on_alive=watching.alive,
    )


def _health(checks: list[str]) -> HealthSettings:
    """Read ``name=value`` texts; ``off`` switches a check off.

    Raises:
        OptionError: If there is no such check, or the value is none that it takes.
    """
    from edgecnn.runtime.health.settings import HealthSettings

    defaults = dataclasses.asdict(HealthSettings())
    values: dict[str, Any] = {}
    for text in checks:
        name, _, value = text.partition("=")
        if name not in defaults:
            raise unknown_name("check", name, defaults)
        values[name] = _value(text, value, isinstance(defaults[name], bool))
    return HealthSettings(**values)


def _lanes(texts: list[str]) -> LaneSettings:
    """Read ``name=value`` texts.

    Raises:
        OptionError: If there is no such setting, or the value is none that it takes.
    """
    from edgecnn.runtime.loop.lanes import LaneSettings

    names = [field.name for field in dataclasses.fields(LaneSettings)]
    values: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise unknown_name("setting of lanes", name, names)
        try:
            values[name] = float(value)
        except ValueError:
            raise OptionError(f"--lane {text}: expected a number.") from None
    return LaneSettings(**values)


def _value(text: str, value: str, is_switch: bool) -> bool | float | None:
    """Read what stands behind ``name=``."""
    if is_switch and value in ("on", "off"):
        return value == "on"
    if not is_switch and value == "off":
        return None
    with suppress(ValueError):
        if not is_switch:
            return float(value)
    raise OptionError(f"--check {text}: expected {'on or off' if is_switch else 'a number or off'}.")
