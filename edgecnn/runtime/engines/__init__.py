"""The seam between a bundle and whatever executes its model.

An engine is one file in this package, found by its name. It has

- ``NAME``: the name shown to people, e.g. ``"ONNX Runtime"``;
- ``REQUIREMENT``: what ``pip install`` needs to be given, e.g. ``"edgecnn[rpi]"``;
- ``load(path, inputs, outputs, threads=None, wide_pairs=False) -> Engine``.

The file imports its package inside ``load``, so that it can be found and described where the package is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from edgecnn import plugins
from edgecnn.boundary import boundary
from edgecnn.errors import BundleError, EngineError, MissingEngineError
from edgecnn.exact_sums import broken_pairs
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime import processor
from edgecnn.runtime.closing import Closing
from edgecnn.tensor import TensorSpec

Array = npt.NDArray[np.generic]
Found = TypeVar("Found")


class Engine(AbstractContextManager["Engine"], Protocol):
    """A loaded model: integers in, integers out. Decoding lives in tasks, never here. A context manager."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, in the order in which `run` takes them."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, in the order in which `run` returns them."""
        ...

    @property
    def exact(self) -> bool:
        """Whether it must give the integers of the reference engine; False for accelerators that round otherwise."""
        ...

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Execute the model once.

        Args:
            arrays: One array per input, of exactly its shape and dtype (see `check_inputs`). They are not written to.

        Returns:
            One array per output, of exactly its shape and dtype. They are the caller's: a later call changes none.

        Raises:
            EngineError: On a wrong input, or if the engine fails.
        """
        ...

    def close(self) -> None:
        """Give everything back. A second call does nothing."""
        ...


class EngineModule(Protocol):
    """What a file in this package provides."""

    NAME: str
    REQUIREMENT: str

    def load(
        self,
        path: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        threads: int | None = None,
        wide_pairs: bool = False,
    ) -> Engine:
        """Load the model file at ``path``.

        Args:
            path: The model file.
            inputs: What the model is expected to take; a file that takes something else is refused.
            outputs: What the model is expected to return, in this order.
            threads: Threads for one inference, None for one per usable processor.
            wide_pairs: Whether products of the file's weights can saturate on this processor, see `wide_pairs`: an
                engine that would let them takes an exact way, or refuses.

        Raises:
            MissingEngineError: If the engine's package is not installed; the message says how to get it.
            EngineError: If the file cannot be loaded or is not what was expected.
        """
        ...


class EngineBase(Closing):
    """The parts of an engine that are the same everywhere: specs, the context manager, a `close` that does nothing."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], exact: bool = True) -> None:
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._exact = exact

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the inputs, in the order in which `run` takes them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Specs of the outputs, in the order in which `run` returns them."""
        return self._outputs

    @property
    def exact(self) -> bool:
        """Whether it must give the integers of the reference engine."""
        return self._exact

    def close(self) -> None:
        """Give everything back. A second call does nothing."""


def names() -> list[str]:
    """Return the names of all engines there are, installed or not, in alphabetical order."""
    return sorted(plugins.discover("edgecnn.runtime.engines"))


def module(name: str) -> EngineModule:
    """Return the engine file called ``name``.

    Raises:
        OptionError: If there is none; near names are suggested.
    """
    return cast(EngineModule, plugins.load("edgecnn.runtime.engines", name))


def load(
    name: str,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    threads: int | None = None,
    wide_pairs: bool = False,
) -> Engine:
    """Load ``path`` with the engine called ``name``; see `EngineModule.load`.

    Raises:
        OptionError: If there is no engine of this name.
        EngineError: If the file cannot be loaded.
        MissingEngineError: If the engine is not installed.
    """
    if threads is not None and threads < 1:
        raise EngineError(f"threads must be at least 1, got {threads}.")
    with boundary(EngineError, f"{path.name}: {name} cannot load it"):
        return module(name).load(path, inputs, outputs, threads=threads, wide_pairs=wide_pairs)


def wide_pairs(graph: Callable[[], IntegerGraph]) -> bool:
    """Say whether weights break rule 1 of `edgecnn.exact_sums` on a processor where that matters.

    Args:
        graph: Gives the integer graph; not called where it does not matter.

    Raises:
        BundleError: If the graph makes no sense.
    """
    with boundary(BundleError, "the integer graph is not one that can run"):
        return processor.here().saturates and bool(broken_pairs(graph()))


def usable_processors() -> int:
    """Return how many processors this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing(engine: str, requirement: str, error: Exception) -> MissingEngineError:
    """Build the error for an engine whose package cannot be imported.

    Args:
        engine: The engine's name as people know it.
        requirement: What to give to ``pip install``.
        error: What importing raised.
    """
    return MissingEngineError(f"{engine} is not installed ({error}). Install it: pip install '{requirement}'")


def check_inputs(arrays: Sequence[Array], specs: Sequence[TensorSpec]) -> None:
    """Check that ``arrays`` are what an engine takes.

    Raises:
        EngineError: If number, shape or dtype is another; the message says what was expected and what came.
    """
    if len(arrays) != len(specs):
        wanted = ", ".join(spec.name for spec in specs)
        raise EngineError(f"the model takes {len(specs)} input(s) ({wanted}), got {len(arrays)}.")
    for array, spec in zip(arrays, specs, strict=True):
        if array.shape != spec.shape or array.dtype.name != spec.dtype:
            raise EngineError(
                f"input '{spec.name}' must be {spec.dtype} of shape {spec.shape}, "
                f"got {array.dtype} of shape {tuple(array.shape)}."
            )


def pair_by_name(
    path: Path, kind: str, specs: Sequence[TensorSpec], found: Mapping[str, Found]
) -> list[tuple[TensorSpec, Found]]:
    """Pair each spec with the tensor of the same name in a model file.

    Args:
        path: The model file, for the message.
        kind: ``"input"`` or ``"output"``.
        specs: What the bundle says.
        found: What the file has, by name.

    Raises:
        EngineError: If the names are not the same.
    """
    if {spec.name for spec in specs} != set(found):
        wanted = ", ".join(spec.name for spec in specs)
        raise EngineError(f"{path.name}: must have the {kind}s {wanted}; the file has {', '.join(found)}.")
    return [(spec, found[spec.name]) for spec in specs]


def check_tensor(kind: str, spec: TensorSpec, shape: Sequence[object], dtype: str, path: Path) -> None:
    """Check that a tensor of a model file is what the bundle says.

    Args:
        kind: ``"input"`` or ``"output"``.
        spec: What the bundle says.
        shape: The shape in the file; a dimension that is not an integer is dynamic.
        dtype: The numpy name of the dtype in the file.
        path: The model file, for the message.

    Raises:
        EngineError: If shape or dtype is another.
    """
    if tuple(shape) != spec.shape or dtype != spec.dtype:
        raise EngineError(
            f"{path.name}: {kind} '{spec.name}' must be {spec.dtype} of shape {spec.shape}, "
            f"the file has {dtype} of shape {tuple(shape)}."
        )
