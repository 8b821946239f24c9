"""Ask an engine which weights of a layer it adds in 16 bits: one output channel for every two weights, both at 127.

Run as a script, so that the processor it may use can be chosen by the environment: ``pairs_probe.py ENGINE`` prints one
line of JSON a layer, the places in a row of the two weights of every pair whose products saturated.
"""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np

from edgecnn.exact_sums import Rows
from edgecnn.export import artefact
from edgecnn.integer_graph import IntegerGraph
from edgecnn.runtime.engines.reference import run_graph
from tests.ops.single import convolution, uint8

SIZE = 6
LAYERS = [
    Rows("Conv", 1, (0, inputs, *kernel))
    for inputs, kernel in [(1, (3, 3)), (1, (5, 5)), (2, (3, 3)), (3, (3, 3)), (4, (3, 3)), (5, (3, 3)), (6, (2, 2))]
]
LAYERS += [Rows("Conv", 1, (0, inputs, 1, 1)) for inputs in (3, 7, 8, 9, 16, 17, 40)]
LAYERS += [Rows("Conv", group, (0, inputs, 3, 3)) for inputs, group in [(1, 4), (1, 8), (2, 4), (3, 2), (4, 4)]]
LAYERS += [Rows("ConvTranspose", 1, (inputs, 0, 3, 3)) for inputs in (1, 2, 3, 4)]
LAYERS += [Rows("Gemm", 1, (0, columns)) for columns in (2, 3, 17, 64)]


def asked(layer: Rows) -> tuple[IntegerGraph, list[tuple[int, int]]]:
    """Return the graph of a layer with an output channel of every group for each two weights, and these."""
    transposed = layer.op == "ConvTranspose"
    inputs = layer.shape[0] if transposed else layer.shape[1]
    taps = layer.shape[2:]
    pairs = list(itertools.combinations(range(inputs * int(np.prod(taps))), 2))
    rows = np.zeros((layer.group, len(pairs), inputs * int(np.prod(taps))), np.int8)
    for row, pair in enumerate(pairs):
        rows[:, row, list(pair)] = 127
    outputs = len(pairs) * layer.group
    shape = (inputs, len(pairs), *taps) if transposed else (outputs, inputs, *taps)
    weight = Rows(layer.op, layer.group, shape).join(rows)
    x = (1, inputs * layer.group, SIZE, SIZE) if taps else (1, inputs)
    grow = 1 if transposed else -1
    y = (1, outputs, *(SIZE + grow * (kernel - 1) for kernel in taps))
    given = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": layer.group}
    given |= {"output_padding": (0, 0)} if transposed else {}
    # 255 * 127 * 2 is the last step of the output's grid.
    grids = uint8("x", x, 1.0, 0), uint8("y", y, 254.0, 0)
    bias = np.zeros(outputs, np.int32)
    scales = [1.0] * outputs
    return convolution(
        layer.op, grids[0], weight, bias, scales, grids[1], wide_pairs=True, **(given if taps else {})
    ), pairs


def saturating(engine: str, layer: Rows) -> list[tuple[int, int]]:
    """Return the pairs of places that ``engine`` adds in 16 bits."""
    graph, pairs = asked(layer)
    bright = np.full(graph.spec("x").shape, 255, np.uint8)
    with artefact.opened(engine, graph) as opened:
        (got,) = opened.run([bright])
    off = (
        np.abs(got.astype(int) - run_graph(graph, [bright])["y"]).reshape(layer.group, len(pairs), -1).max(axis=(0, 2))
    )
    return [pairs[index] for index in np.flatnonzero(off > 1)]


if __name__ == "__main__":
    artefact.engines.wide_pairs = lambda graph: False  # these weights break the rule on purpose
    for item in LAYERS:
        print(json.dumps(saturating(sys.argv[1], item)), flush=True)
