"""The artefacts: the integer graph in every target's format."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn import __version__
from edgecnn.composer.request import Work
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph


def lower(work: Work, graph: IntegerGraph, scratch: Path) -> dict[str, list[Path]]:
    """Write one artefact per engine, each in its own folder, and return the files by engine."""
    files = {}
    for engine in dict.fromkeys(profile.engine for profile in work.profiles):
        folder = scratch / engine
        folder.mkdir()
        files[engine] = lower_for(work, engine, graph, folder)
    for profile in work.profiles:
        if profile.edge_tpu is not None:
            files[profile.engine] = _compiled(work, files[profile.engine])
    return files


def lower_for(work: Work, engine: str, graph: IntegerGraph, folder: Path) -> list[Path]:
    """Write the artefact of one engine and return its files, the one that the engine is given first."""
    labels = "\n".join(work.request.expects.labels)
    metadata = {"producer": f"edgecnn {__version__}", "model": work.request.source.name, "labels": labels}
    with _stream_errors():
        return artefact.write(engine, graph, folder, metadata)


@contextmanager
def _stream_errors() -> Iterator[None]:
    """Turn what a C++ stream says about a full disk (OpenVINO's serialiser has one) into what Python says."""
    try:
        yield
    except RuntimeError as error:
        if "iostream" not in str(error):
            raise
        raise OSError(errno.EIO, "a model file could not be written, perhaps because the disk is full") from error


def _compiled(work: Work, files: list[Path]) -> list[Path]:
    """Put the model compiled for the Edge TPU in front of ``files``, or say that there is no compiler here."""
    # Inside, because it comes with LiteRT's schema, which other targets do without.
    from edgecnn.export.tflite.compiler import ABSENT, compile_model

    compilation = compile_model(files[0], files[0].parent)
    if compilation is None:
        work.notes.append(ABSENT)
        return files
    return [compilation.path, *sorted(item for item in files[0].parent.iterdir() if item != compilation.path)]
