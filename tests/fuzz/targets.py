"""The parsers, one target each: seeds, and a function that reads one input in an empty folder.

A target may raise errors of edgecnn and nothing else. Engines are native code that edgecnn tries in a child process
first; of those targets (``tried``) a crash or hang is what the trial is there for, and counted apart.
"""

from __future__ import annotations

import functools
import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgecnn import limits
from edgecnn.arrays import read_npy, read_npz, write_npz
from edgecnn.errors import BundleError, DataError
from edgecnn.integer_graph import IntegerGraph
from edgecnn.manifest import Manifest
from edgecnn.profile import read_target
from edgecnn.recipe import read_recipe
from edgecnn.runtime import engines
from edgecnn.runtime.bundle import Bundle, digest_of, read_golden, write_bundle
from edgecnn.runtime.engines import _onnx_file, _tflite_file
from edgecnn.runtime.evaluation import labelled
from edgecnn.runtime.health.gatherer import Gatherer
from edgecnn.runtime.health.reference import Reference
from edgecnn.runtime.loop.event import SCHEMA
from edgecnn.runtime.loop.replay import Recording
from edgecnn.runtime.model import REFERENCE, run_frames
from edgecnn.runtime.sources._pictures import PictureSplitter
from edgecnn.vision.frames import Frames
from edgecnn.vision.preprocess import Preprocess
from edgecnn.vision.read import decode_image
from edgecnn.vision.tasks import decoder
from tests.fuzz.mutations import mutated
from tests.runtime.conftest import tiny_golden, tiny_graph, tiny_manifest

ROOT = Path(__file__).parent.parent.parent
Read = Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        seeds: Good inputs.
        read: Reads one input; the folder is its own.
        mutate: Makes a hostile input of a good one.
        tried: Whether edgecnn runs this in a child process.
        share: How often it is drawn beside the others: fast ones more often.
    """

    seeds: Sequence[bytes]
    read: Read
    mutate: Callable[[bytes, random.Random], bytes] = mutated
    tried: bool = False
    share: int = 1


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def members_mutated(data: bytes, chance: random.Random) -> bytes:
    """Mutate a zip file as bytes, or one of its members behind sizes and checksums that are right."""
    if chance.random() < 0.4:
        return mutated(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = chance.choice(sorted(members))
    members[chosen] = mutated(members[chosen], chance)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def resealed(document: bytes) -> str:
    """Return a manifest as an enemy writes it: whatever was changed, its seal is right."""
    from edgecnn.manifest import _seal

    try:
        fields = json.loads(document)
        fields["seal"] = _seal({key: value for key, value in fields.items() if key != "seal"})
        return json.dumps(fields)
    except Exception:
        return document.decode("utf-8", "surrogateescape")


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def manifest_target(work: Path) -> Target:
    def read(data: bytes, folder: Path) -> None:
        manifest = Manifest.loads(resealed(data))
        Preprocess.for_input(manifest.input)(np.zeros((9, 7, manifest.input.channels), np.uint8))
        decoder(manifest)

    text = tiny_manifest(tiny_graph(), "defect").dumps().encode()
    return Target([text, text.replace(b'"stretch"', b'"crop"')], read, share=4)


def toml_target(work: Path, folder: str, reader: Callable[[Path], object]) -> Target:
    seeds = {path.stem: path.read_bytes() for path in sorted((ROOT / folder).glob("*.toml"))}

    def read(data: bytes, where: Path) -> None:
        reader(written(where, f"{next(iter(seeds))}.toml", data))

    return Target([content.replace(name.encode(), next(iter(seeds)).encode()) for name, content in seeds.items()], read)


def graph_target(work: Path) -> Target:
    tiny_graph().save(work / "graph.npz")
    frame = np.zeros((1, 8, 8, 3), np.uint8)

    def read(data: bytes, folder: Path) -> None:
        graph = IntegerGraph.load(written(folder, "graph.npz", data))
        spec = [tiny_graph().spec("frame")]
        with engines.load(
            REFERENCE, folder / "graph.npz", spec, [graph.spec(name) for name in graph.outputs]
        ) as engine:
            engine.run([frame])

    return Target([(work / "graph.npz").read_bytes()], read, members_mutated)


def golden_target(work: Path) -> Target:
    write_npz(work / "golden.npz", tiny_golden(tiny_graph(), 1).arrays())
    manifest = tiny_manifest(tiny_graph())

    def read(data: bytes, folder: Path) -> None:
        read_golden(written(folder, "golden.npz", data), manifest)

    return Target([(work / "golden.npz").read_bytes()], read, members_mutated, share=4)


def health_target(work: Path) -> Target:
    gatherer = Gatherer()
    for seed in range(40):
        gatherer.add(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8), (32, 32, 3))
    found = gatherer.reference()
    assert found is not None
    write_npz(work / "health.npz", found.arrays())
    return Target(
        [(work / "health.npz").read_bytes()],
        lambda data, folder: Reference.load(written(folder, "health.npz", data)),
        members_mutated,
    )


def npz_target(work: Path) -> Target:
    return Target(
        [npz(frames=np.zeros((2, 4, 4, 3), np.uint8)), npz(a=np.zeros(3), b=np.ones((2, 2), np.int64))],
        lambda data, folder: read_npz(written(folder, "a.npz", data), limits.ARRAYS, BundleError),
        members_mutated,
        share=4,
    )


def npy_target(work: Path) -> Target:
    return Target(
        [npy(np.zeros((4, 4, 3), np.uint8)), npy(np.asfortranarray(np.zeros((4, 5), np.float32)))],
        lambda data, folder: read_npy(written(folder, "a.npy", data), limits.FRAME, DataError),
        share=8,
    )


def frames_target(work: Path) -> Target:
    def read(data: bytes, folder: Path) -> None:
        frames = Frames(written(folder, "a.npz" if data.startswith(b"P") else "a.npy", data))
        len(frames)
        for _ in frames:
            pass

    stack = np.zeros((3, 4, 4, 3), np.uint8)
    mutate = lambda data, chance: (members_mutated if data.startswith(b"PK") else mutated)(data, chance)  # noqa: E731
    return Target([npz(frames=stack), npy(stack)], read, mutate, share=4)


def bundle_target(work: Path) -> Target:
    """A whole bundle in a zip file; half of the time with digests and seal that are right again."""
    graph = tiny_graph()
    graph.save(work / "graph.npz")
    write_npz(work / "golden.npz", tiny_golden(graph, 1).arrays())
    files = {name: (work / name).read_bytes() for name in ("graph.npz", "golden.npz")} | {"model.onnx": b"no matter"}
    write_bundle(work / "bundle.zip", tiny_manifest(graph), files)

    def mutate(data: bytes, chance: random.Random) -> bytes:
        return _sealed(members_mutated(data, chance), work) if chance.random() < 0.5 else mutated(data, chance)

    def read(data: bytes, folder: Path) -> None:
        with Bundle.open(written(folder, "a.zip", data)) as bundle:
            bundle.golden()
            IntegerGraph.load(bundle.path_of(bundle.manifest.graph))

    return Target([(work / "bundle.zip").read_bytes()], read, mutate)


def _sealed(data: bytes, work: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        document = json.loads(members["manifest.json"])
        for name in document["files"]:
            entry = digest_of(written(work, "member", members[name]))
            document["files"][name] = {"sha256": entry.sha256, "size": entry.size}
        members["manifest.json"] = resealed(json.dumps(document).encode()).encode()
    except Exception:
        return data
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def picture_target(work: Path) -> Target:
    picture = np.random.default_rng(1).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    suffixes = (".png", ".jpg", ".bmp", ".webp", ".tiff", ".pgm", ".ppm")
    seeds = [cv2.imencode(suffix, picture)[1].tobytes() for suffix in suffixes if suffix != ".pgm"]
    seeds.append(cv2.imencode(".pgm", picture[..., 0])[1].tobytes())
    return Target(seeds, lambda data, folder: decode_image(data, "x"), share=8)


def stream_target(work: Path) -> Target:
    """An MJPEG camera: pictures between multipart headers, in pieces of any size."""
    jpeg = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)

    def read(data: bytes, folder: Path) -> None:
        splitter = PictureSplitter("camera", 1 << 16)
        for at in range(0, len(data), 700):
            splitter.feed(data[at : at + 700])
            while (picture := splitter.take()) is not None:
                decode_image(picture, "camera")

    return Target([part * 3, jpeg * 2], read, share=8)


def event_target(work: Path) -> Target:
    def read(data: bytes, folder: Path) -> None:
        written(folder, "event.json", data)
        Recording.read(folder)

    rules = {"health": {}, "parts": {}, "lanes": {}}
    return Target(
        [json.dumps({"schema": SCHEMA, "rules": rules, "moments": [], "bundle": {"name": "x"}}).encode()], read
    )


def table_target(work: Path) -> Target:
    return Target(
        [b"path,label,mask\na.png,good,\nb.png,scratch,m.png\n", "pfad;ä\n1;2\n".encode()],
        lambda data, folder: labelled._rows(written(folder, "labels.csv", data)),
    )


def tflite_seed(work: Path) -> bytes:
    from edgecnn.export import tflite

    tflite.write(tiny_graph(), work / "model.tflite")
    return (work / "model.tflite").read_bytes()


def tflite_target(work: Path) -> Target:
    return Target([tflite_seed(work)], lambda data, folder: _tflite_file.check(data, "x"), share=2)


def engine_target(work: Path, engine: str, name: str) -> Target:
    from edgecnn.export import artefact

    graph = tiny_graph()
    artefact.write(engine, graph, work)
    beside = {path.name: path.read_bytes() for path in work.iterdir() if path.suffix == ".bin"}
    frames = np.zeros((2, 8, 8, 3), np.uint8)

    def read(data: bytes, folder: Path) -> None:
        for other, content in beside.items():
            written(folder, other, content)
        path, specs = written(folder, name, data), ([graph.spec("frame")], [graph.spec("logits")])
        with engines.load(engine, path, *specs, threads=1) as loaded:
            run_frames(loaded, frames)

    return Target([(work / name).read_bytes()], read, tried=True)


def onnx_structure_target(work: Path) -> Target:
    from edgecnn.export import onnx

    onnx.write(tiny_graph(), work / "model.onnx")
    seed = (work / "model.onnx").read_bytes()
    return Target([seed], lambda data, folder: _onnx_file.check(data, "x"))


def onnx_import_target(work: Path) -> Target:
    from edgecnn.graph import import_onnx
    from tests.composer import onnx_files

    seed = onnx_files.write(work / "net.onnx").read_bytes()
    return Target([seed], lambda data, folder: import_onnx(written(folder, "a.onnx", data)))


def state_dict_target(work: Path, suffix: str) -> Target:
    import torch
    from safetensors.torch import save_file
    from torch import nn

    from edgecnn.models.checkpoint import load_checkpoint

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    save = torch.save if suffix == ".pt" else save_file
    save(network.state_dict(), work / f"a{suffix}")

    def read(data: bytes, folder: Path) -> None:
        load_checkpoint(network, written(folder, f"a{suffix}", data))

    mutate = members_mutated if suffix == ".pt" else mutated
    return Target([(work / f"a{suffix}").read_bytes()], read, mutate)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "manifest": manifest_target,
    "target": functools.partial(toml_target, folder="targets", reader=read_target),
    "recipe": functools.partial(toml_target, folder="calibration/recipes", reader=read_recipe),
    "graph": graph_target,
    "golden": golden_target,
    "health": health_target,
    "npz": npz_target,
    "npy": npy_target,
    "frames": frames_target,
    "bundle": bundle_target,
    "picture": picture_target,
    "mjpeg": stream_target,
    "event": event_target,
    "labels": table_target,
    "tflite": tflite_target,
    "onnx-structure": onnx_structure_target,
    "onnx-import": onnx_import_target,
    "safetensors": functools.partial(state_dict_target, suffix=".safetensors"),
    "pt": functools.partial(state_dict_target, suffix=".pt"),
    "engine-onnxruntime": functools.partial(engine_target, engine="onnxruntime", name="model.onnx"),
    "engine-openvino": functools.partial(engine_target, engine="openvino", name="model.xml"),
    "engine-litert": functools.partial(engine_target, engine="litert", name="model.tflite"),
}

__all__ = ["TARGETS", "Target"]
