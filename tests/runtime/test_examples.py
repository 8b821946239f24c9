"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import edgecnn


def good_frames(count: int) -> list[np.ndarray]:
    """Return noise, which the tiny network finds nothing in."""
    return [np.random.default_rng(seed).integers(40, 220, (8, 8, 3), np.uint8) for seed in range(count)]


def bad_frame(bundle: Path) -> np.ndarray:
    """Change noise, pixel by pixel, until the network sees a scratch in it."""
    rng = np.random.default_rng(0)
    with edgecnn.load(bundle) as model:
        frame = good_frames(1)[0]
        result = model(frame)
        while result.verdict is not edgecnn.Verdict.REJECT:
            changed = frame.copy()
            changed.flat[rng.integers(0, frame.size, 8)] = rng.choice([30, 220], 8)
            if model(changed).score >= result.score:
                frame, result = changed, model(changed)
    return frame


def test_inspect_parts(project_root: Path, defect_bundle: Path, tmp_path: Path) -> None:
    good, bad = good_frames(11), bad_frame(defect_bundle)
    black = np.zeros((8, 8, 3), np.uint8)
    # One bad frame among good ones is not enough, two are; the black one counts at once.
    for number, frame in enumerate([*good[:3], bad, *good[3:6], bad, bad, *good[6:9], black, *good[9:11]]):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), frame)
    command = [sys.executable, str(project_root / "examples" / "inspect_parts.py"), str(defect_bundle), str(tmp_path)]

    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout == "1 times rejected\n"
    assert done.stderr.splitlines()[0].startswith("reject: scratch 0.")
    assert done.stderr.splitlines()[1].startswith("look after the camera: all but 2% of the picture is at 20")
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) >= 4
