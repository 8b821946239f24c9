"""A complete report, for the tests of what reads one."""

from __future__ import annotations

from edgecnn.report.document import EngineProof, LayerRow, Report


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


def proof(engine: str = "onnxruntime", passed: bool = True) -> EngineProof:
    return {
        "engine": engine,
        "version": "1.2.3",
        "equal": 0.9,
        "max_lsb": 2,
        "histogram": {"0": 900, "1": 90, "2": 10, ">2": 0},
        "sqnr_db": 31.25,
        "decisions": 1.0,
        "passed": passed,
    }


def full() -> Report:
    """Every section, nothing missing and nothing wrong."""
    return {
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
        "engines": [proof()],
        "artefacts": [{"file": "model.onnx", "engine": "onnxruntime", "target": "rpi", "bytes": 4_812_345}],
        "notes": ["calibrated on daylight only"],
    }
