"""Classification: the label with the highest score."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgecnn.errors import DataError
from edgecnn.manifest import Manifest
from edgecnn.vision.results import Decision, Output, Scores
from edgecnn.vision.tasks import Decode


def decoder(manifest: Manifest) -> Decode:
    """Return `decode` for a bundle."""
    return functools.partial(decode, manifest=manifest)


def decode(outputs: Sequence[Output], manifest: Manifest) -> Decision:
    """Return the most probable class of the first output.

    Raises:
        DataError: If the output is not one vector of scores, or has another length than the labels.
    """
    scores = probabilities(outputs[0])
    names = label_names(manifest, scores.size)
    best = int(np.argmax(scores))
    return Decision(label=names[best], score=float(scores[best]), scores=Scores(names, scores))


def probabilities(output: Output) -> npt.NDArray[np.float64]:
    """Return the scores of one vector output as probabilities, shape (classes,).

    Logits become a softmax, or a sigmoid where there is only one; probabilities stay as they are.

    Raises:
        DataError: If the output is not one vector, or is said to be neither logits nor probabilities.
    """
    values = output.real.astype(np.float64).ravel()
    if values.size != max(output.integers.shape):
        raise DataError(f"output '{output.name}' must be one vector of scores, got shape {output.integers.shape}.")
    if output.contract.meaning == "raw":
        raise DataError(f"output '{output.name}' must be logits or probabilities to be read as scores; it is raw.")
    if output.contract.meaning == "probabilities":
        return values
    if values.size == 1:
        return np.asarray(1.0 / (1.0 + np.exp(-values)))
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def label_names(manifest: Manifest, count: int) -> tuple[str, ...]:
    """Return the labels, or the indices as text where the bundle has none.

    Raises:
        DataError: If there are labels, but not ``count`` of them.
    """
    if manifest.labels and len(manifest.labels) != count:
        raise DataError(f"the bundle has {len(manifest.labels)} labels, its output has {count} scores.")
    return manifest.labels or _numbered(count)


@functools.cache
def _numbered(count: int) -> tuple[str, ...]:
    """Return "0", "1", ...: made once, for a thousand names a frame would cost more than all else beside the engine."""
    return tuple(map(str, range(count)))
