"""A complete report, for the tests of what reads one."""

from __future__ import annotations

from typing import Literal

from edgecnn.report.document import EngineProof, LayerRow, Report
from edgecnn.runtime.evaluation.decisions import MODEL, decisions
from edgecnn.runtime.evaluation.section import DecisionsSection, PictureRow
from tests.runtime.conftest import tiny_graph, tiny_manifest
from tests.runtime.evaluation.rows import part


def layer(name: str, macs: int = 1000, low: float | None = -1.0, high: float | None = 4.1) -> LayerRow:
    gridded = low is not None and high is not None
    return {
        "name": name,
        "op": "Conv",
        "output": f"{name}/y",
        "shape": [1, 8, 16, 16],
        "parameters": 216,
        "macs": macs,
        "scale": 0.02 if gridded else None,
        "zero_point": 50 if gridded else None,
        "low": low,
        "high": high,
    }


def proof(engine: str = "onnxruntime", status: Literal["exact", "equivalent", "failed"] = "exact") -> EngineProof:
    """Return the proof of an engine: one output that is equal, and one that differs unless the engine is exact."""
    same = status == "exact"
    return {
        "engine": engine,
        "version": "1.2.3",
        "status": status,
        "reason": "" if same else "output 'map' differs in 100 of 1000 integers, by up to 2",
        "max_lsb": 0 if same else 2,
        "outputs": [
            {"name": "best", "equal": 1.0, "max_lsb": 0, "histogram": [10, 0, 0, 0], "sqnr_db": None},
            {
                "name": "map",
                "equal": 1.0 if same else 0.9,
                "max_lsb": 0 if same else 2,
                "histogram": [1000, 0, 0, 0] if same else [900, 90, 10, 0],
                "sqnr_db": None if same else 31.25,
            },
        ],
        "judgements": [{"of": "best", "by": "top-1", "value": 1.0}, {"of": "map", "by": "mask", "value": 1.0}],
    }


def not_run(engine: str = "openvino") -> EngineProof:
    """Return the proof of an engine that could not load its file."""
    return {
        "engine": engine,
        "version": "1.2.3",
        "status": "failed",
        "reason": "cannot load it",
        "max_lsb": None,
        "outputs": [],
        "judgements": [],
    }


def parts() -> list[PictureRow]:
    """60 defective parts and 60 good ones; INT8 lets three pass that float rejects, and rejects one more."""
    rows = [part(True, 0.9, 0.9)] * 57 + [part(True, 0.6, 0.4)] * 3 + [part(False, 0.1, 0.2)] * 59
    named = [*rows, part(False, 0.4, 0.6)]
    return [row | {"picture": f"{row['label']}/{index:03d}.jpg"} for index, row in enumerate(named)]


def evaluated(rows: list[PictureRow] | None = None, task: str = "defect") -> DecisionsSection:
    """An evaluation of an inspection, or of what ``rows`` say."""
    manifest, noise = tiny_manifest(tiny_graph(), task), [{"output": "logits", "sqnr_db": 21.5}]
    return decisions(manifest, "onnxruntime", parts() if rows is None else rows, noise, MODEL)


def layers_measured() -> Report:
    """The sections on layers: four of them, the first of which makes most of the noise."""
    rows = [
        ("dw1", "depthwise convolution", 24.3, 0.37, 32.0, 0.063),
        ("dw2", "depthwise convolution", 28.2, 0.15, 34.0, 0.04),
        ("sum", "addition", None, 0.0, 25.2, 0.3),
        ("best", "fully connected layer", 45.0, 0.003, 31.3, 0.074),
    ]
    bins = [0.02, 0.05, 0.4, 0.5, 0.02, 0.01]
    return {
        "schema": 1,
        "sensitivity": {
            "frames": 8,
            "outputs": ["best"],
            "sum_db": [20.0],
            "whole_db": [20.5],
            "layers": [
                {
                    "layer": name,
                    "kind": kind,
                    "weights_db": None if weights is None else [weights],
                    "output_db": [output],
                    "weights_share": weights_share,
                    "output_share": output_share,
                }
                for name, kind, weights, weights_share, output, output_share in rows
            ],
        },
        "tensors": {
            "activations": [
                {
                    "tensor": f"{name}/out",
                    "layer": name,
                    "observed": [-1.5, 4.5],
                    "chosen": [-1.5, 3.0],
                    "below": 0.0,
                    "above": 0.0421,
                    "codes": 250,
                    "effective_codes": 93.5,
                    "histogram": bins,
                }
                for name, *_ in rows
            ],
            "weights": [{"layer": "dw1", "at_ends": 0.12, "channels": 32, "dead": 3, "scale_ratio": 85.0}],
        },
    }


def full() -> Report:
    """Every section, nothing missing and nothing wrong."""
    return layers_measured() | {
        "schema": 1,
        "model": {
            "name": "tiles",
            "source": "tiles.onnx",
            "digest": "ab" * 32,
            "task": "classify",
            "parameters": 11_689_512,
            "macs": 1_814_073_344,
            "input": {
                "shape": [224, 192, 3],
                "color": "rgb",
                "resize": "crop",
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
        },
        "targets": ["rpi"],
        "folds": {
            "folded": [{"batch_norm": "bn1", "into": "conv1", "kind": "Conv"}],
            "unfolded": [],
            "float_difference": 2.5e-7,
        },
        "frame": {"zero_point": 124, "exact": False, "border_effect": 0.004, "fallback": None},
        "calibration": {
            "recipe": "default",
            "observer": "mse",
            "biases_corrected": True,
            "images": 300,
            "skipped": [],
            "digest": "cd" * 32,
            "seconds": 41.0,
        },
        "layers": [layer("conv1", 3000), layer("conv2"), layer("best", 0, None, None)],
        "accuracy": {
            "images": 400,
            "agreement": {"value": 0.985, "low": 0.9677, "high": 0.9931},
            "sqnr_db": 23.44,
            "top1": {"float": 0.7925, "int8": 0.79},
            "per_engine": [{"engine": "onnxruntime", "agreement": 0.985, "sqnr_db": 23.44, "top1": 0.79}],
        },
        "decisions": evaluated(),
        "engines": [proof()],
        "processor": "x86_64, avx_vnni",
        "artefacts": [{"file": "model.onnx", "engine": "onnxruntime", "target": "rpi", "bytes": 4_812_345}],
        "notes": ["calibrated on daylight only"],
    }
