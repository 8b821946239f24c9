"""Folders of pictures as people have them, small."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np

from edgecnn.train.data import Dataset

HEIGHT, WIDTH = 48, 64


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a picture of its own: smooth noise, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def mask(height: int = HEIGHT, width: int = WIDTH, value: int = 255) -> np.ndarray:
    """Return a mask that marks 10 x 20 pixels."""
    drawn = np.zeros((height, width), np.uint8)
    drawn[5:15, 10:30] = value
    return drawn


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def save_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def turned(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    """Save a JPEG that asks its viewer to turn it."""
    jpeg = bytes(cv2.imencode(".jpg", pixels)[1])
    tag = struct.pack(">HHHLHH", 1, 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">L", 8) + tag + struct.pack(">L", 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:])
    return path


def class_folders(folder: Path, counts: dict[str, int], start: int = 0) -> Path:
    """Fill folders named like the classes with different pictures ``0.png``, ``1.png``, ..."""
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            save(folder / label / f"{index}.png", picture(start + index))
        start += count
    return folder


def image_masks(folder: Path, good: int = 4, scratch: int = 3) -> Path:
    """Fill ``images/<class>`` and ``masks/scratch``."""
    class_folders(folder / "images", {"good": good, "scratch": scratch})
    for index in range(scratch):
        save(folder / "masks" / "scratch" / f"{index}.png", mask())
    return folder


def lane_table(folder: Path, sources: dict[str, int]) -> Path:
    """Write frames, masks with a left dashed and a right solid line, and their table."""
    rows = ["image,mask,source"]
    for source, count in sources.items():
        for index in range(count):
            name = f"{source}-{index}"
            save(folder / "images" / f"{name}.jpg", picture(len(rows)))
            lines = np.zeros((HEIGHT, WIDTH), np.uint8)
            lines[20:, 10:14], lines[20:, 50:54] = 1, 4
            save(folder / "masks" / f"{name}.png", lines)
            rows.append(f"images/{name}.jpg,masks/{name}.png,{source}")
    save_text(folder / "labels.csv", "\n".join(rows) + "\n")
    return folder


def tusimple(folder: Path, names: list[str], file: str = "label_data_1.json") -> Path:
    """Write label lines of four lanes, and the frames."""
    for index, name in enumerate(names):
        save(folder / name, picture(index))
    heights = [20, 30, 40]
    lanes = [[-2, 4, 0], [26, 22, 18], [38, 42, 46], [50, 60, -2]]
    lines = [json.dumps({"lanes": lanes, "h_samples": heights, "raw_file": name}) for name in names]
    save_text(folder / file, "\n".join(lines) + "\n")
    return folder


def culane(folder: Path, names: list[str]) -> Path:
    """Write frames and their files of lines, two lines each."""
    for index, name in enumerate(names):
        save(folder / name, picture(index))
        save_text((folder / name).with_suffix(".lines.txt"), "18 40 22 30 26 20\n46 40 42 30 38 20 \n")
    return folder


def names(dataset: Dataset, folder: Path) -> list[str]:
    return [sample.image.relative_to(folder).as_posix() for sample in dataset.samples]
