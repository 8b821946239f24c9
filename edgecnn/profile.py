"""What a target is: engine, artefact, limits. Read from ``targets/*.toml``; data, not code.

All targets share the canonical grid, which is exact on every processor: no profile changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn import settings
from edgecnn.errors import OptionError, unknown_name
from edgecnn.plugins import check_identifier, data_files, discover
from edgecnn.proof import Limits

ENGINES = "edgecnn.runtime.engines"


@dataclass(frozen=True)
class EdgeTpu:
    """What maps on an Edge TPU, for a pre-flight. Sizes are warnings, not refusals: the compiler has the last word.

    Attributes:
        sram_bytes: On-chip memory.
        weight_bytes: Weights up to this size are cached on chip for sure; the rest streams over USB.
        softmax_elements: Largest Softmax that maps.
        resize_bilinear_pixels: Largest output (height * width) of a bilinear Resize that was seen to map.
        mean_pixels: Spatial mean over more pixels (height * width) than this was seen to fail.
        unmapped: Operators that never map, each with what to use instead.
        min_runtime: Operators that map only from an Edge TPU runtime version on.
    """

    sram_bytes: int
    weight_bytes: int
    softmax_elements: int
    resize_bilinear_pixels: int
    mean_pixels: int
    unmapped: Mapping[str, str] = field(default_factory=dict)
    min_runtime: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetProfile:
    """One device family and the engine that runs there.

    Attributes:
        name: The file's name, as given to ``--target``.
        title: One line for people.
        engine: Name of a plug-in in `edgecnn.runtime.engines`.
        artefact: File name of the model in the bundle, e.g. ``"model.onnx"``.
        requirements: Lines of the bundle's ``requirements.txt``.
        sources: Where the numbers come from.
        opset: ONNX opset of the artefact; None where the artefact is not ONNX.
        ir_version: ONNX IR version of the artefact; None where the artefact is not ONNX.
        edge_tpu: Limits of the Edge TPU, None elsewhere.
        equivalent: What suffices where the engine cannot be exact; None where it always must be.
    """

    name: str
    title: str
    engine: str
    artefact: str
    requirements: tuple[str, ...]
    sources: tuple[str, ...]
    opset: int | None = None
    ir_version: int | None = None
    edge_tpu: EdgeTpu | None = None
    equivalent: Limits | None = None


def targets() -> list[str]:
    """Return the names of all targets, sorted."""
    return list(data_files("targets"))


def load_target(name: str) -> TargetProfile:
    """Read the profile of a target by its name.

    Raises:
        OptionError: If there is no such target (near names suggested), or its file is wrong.
    """
    check_identifier("target", name)
    files = data_files("targets")
    if name not in files:
        raise unknown_name("target", name, files)
    return read_target(files[name])


def read_target(path: Path) -> TargetProfile:
    """Read and check one profile.

    Raises:
        OptionError: On an unknown or missing key, or a value that cannot be.
    """
    profile = settings.read(path, TargetProfile)
    for problem in _problems(profile):
        raise OptionError(f"{path}: {problem}")
    return profile


def _problems(profile: TargetProfile) -> Iterator[str]:
    """Yield what is wrong with the values of a profile."""
    if Path(profile.artefact).name != profile.artefact:
        yield f"artefact must be a plain file name, got '{profile.artefact}'"
    if profile.artefact.endswith(".onnx") and (profile.opset is None or profile.ir_version is None):
        yield "an .onnx artefact needs opset and ir_version"
    if not profile.requirements:
        yield "requirements must name what the device installs"
    if not profile.sources:
        yield "sources must say where the numbers come from"
    engines = discover(ENGINES)
    if profile.engine not in engines:
        yield str(unknown_name("engine", profile.engine, engines))
