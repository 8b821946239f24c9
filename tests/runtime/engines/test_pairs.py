"""The pairs of `edgecnn.exact_sums` are all that there are: no engine adds two other weights in 16 bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn.runtime import processor
from tests.runtime.engines.pairs_probe import LAYERS, asked

PROJECT = Path(__file__).parents[3]


def saturating(engine: str, **environment: str) -> list[set[tuple[int, int]]]:
    """Return the pairs that an engine in a process of its own adds in 16 bits, by layer."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.engines.pairs_probe", engine],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
    )
    return [{(first, second) for first, second in json.loads(line)} for line in done.stdout.splitlines()]


def known() -> list[set[tuple[int, int]]]:
    found = []
    for layer in LAYERS:
        graph, _ = asked(layer)
        shape = graph.spec("weight").shape
        partners = type(layer)(layer.op, layer.group, shape).partners()
        found.append({(place, int(mate)) for mates in partners for place, mate in enumerate(mates) if place < mate})
    return found


@pytest.mark.parametrize(
    ("engine", "instructions"), [("onnxruntime", ""), ("openvino", ""), ("openvino", "AVX2"), ("litert", "")]
)
def test_no_engine_knows_another_pair(engine: str, instructions: str) -> None:
    environment = {"ONEDNN_MAX_CPU_ISA": instructions} if instructions else {}
    found, pairs = saturating(engine, **environment), known()
    assert len(found) == len(pairs)
    beyond = {str(layer): got - allowed for layer, got, allowed in zip(LAYERS, found, pairs, strict=True)}
    assert not any(beyond.values()), beyond
    here = processor.here()
    if engine != "litert" and here.is_x86 and (instructions or not here.vnni):
        # The question was asked: without VNNI these engines do saturate.
        assert sum(map(len, found)) > 50
    elif engine == "litert":
        assert not any(found)
