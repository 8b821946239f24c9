"""Small data sets that are drawn: surfaces with masks, roads with lane masks."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgecnn.train.data import Dataset, read
from edgecnn.vision.synthetic.roads import Road
from edgecnn.vision.synthetic.surfaces import surfaces


def inspected(folder: Path, task: str = "defect", count: int = 60, masks: bool = True) -> Dataset:
    """Write surfaces as ``images/<kind>`` and ``masks/<kind>`` and read them; pits and stains alone are defects."""
    for index, drawn in enumerate(surfaces(count, 7, "evaluation", size=64)):
        if drawn.kind not in ("good", "pit", "stain"):
            continue
        for root, picture in (("images", drawn.frame), ("masks", drawn.mask)):
            if root == "images" or (drawn.kind != "good" and masks):
                (folder / root / drawn.kind).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / root / drawn.kind / f"{index:03}.png"), picture)
    return read(folder if masks else folder / "images", task)


def roads(folder: Path, sources: int = 3, views: int = 4) -> Dataset:
    """Write roads as a table with images, masks and sources, and read them."""
    for root in ("images", "masks"):
        (folder / root).mkdir(parents=True)
    rows = ["image,mask,source"]
    for source in range(sources):
        road = Road((320, 180), seed=source)
        for view in range(views):
            scene, name = road.at(40.0 * view), f"{source}-{view}.png"
            assert cv2.imwrite(str(folder / "images" / name), scene.frame)
            assert cv2.imwrite(str(folder / "masks" / name), scene.mask)
            rows.append(f"images/{name},masks/{name},road{source}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return read(folder, "lane")
