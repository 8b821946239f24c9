"""Processors without VNNI: 8-bit weights saturate there, the targets made for them give the reference's integers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn.cli import app
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import load_entry, run_frames

PROBE = """
import sys
import numpy as np
from edgecnn.runtime.bundle import Bundle
from edgecnn.runtime.model import choose_entry, load_entry, run_frames
for path in sys.argv[1:]:
    with Bundle.open(path) as bundle, load_entry(bundle, choose_entry(bundle.manifest, "openvino"), 1) as engine:
        (got,) = run_frames(engine, bundle.golden().frames)
        print(int(np.abs(got.astype(int) - bundle.golden().outputs[0]).max()))
"""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, request_line: list[str]) -> Path:
    path = tmp_path_factory.mktemp("narrow") / "stripes"
    line = [*request_line[: request_line.index("--target")], "--recipe", "fast"]
    assert app.main([*line, "--target", "x86", "--target", "intel-avx2", "-o", str(path)]) == 0
    return path


def differences_with_avx2(*bundles: Path) -> list[int]:
    """Run golden frames on OpenVINO as a processor with AVX2 alone does; return the largest difference of each."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", PROBE, *map(str, bundles)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [int(line) for line in done.stdout.split()]


def test_openvino_is_exact_for_intel_avx2_alone(bundle: Path, narrow: Path, weight_bits: int) -> None:
    wide, exact = differences_with_avx2(bundle, narrow)
    assert exact == 0
    # Where this machine itself has no VNNI, the other bundle is narrowed too; see `weight_bits`.
    assert wide > 4 if weight_bits == 8 else wide == 0


def test_the_narrow_bundle_is_exact_here(narrow: Path) -> None:
    with Bundle.open(narrow) as opened:
        assert [entry.target for entry in opened.engines] == ["x86", "intel-avx2"]
        for entry in opened.engines:
            with load_entry(opened, entry, threads=1) as engine:
                assert np.array_equal(run_frames(engine, opened.golden().frames)[0], opened.golden().outputs[0])


def test_onnx_runtimes_own_cure_loads_every_bundle_and_is_exact(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        entry = replace(opened.engines[0], settings={"x64quantprecision": True})
        with load_entry(opened, entry, threads=1) as engine:
            assert np.array_equal(run_frames(engine, opened.golden().frames)[0], opened.golden().outputs[0])
