# %% [markdown]
# # Lane keeping: from frames of a road to where the car is in its lane
#
# A network learns the two lines of the own lane, becomes an INT8 bundle for a Raspberry Pi, is judged on roads that it
# has never seen, and then follows a video: how far the car is from the middle, and how the road bends.
#
# Run all of it with `python examples/lane_keeping.py`, or cell by cell in an editor that knows `# %%`. Without frames
# of your own it draws some. With your own:
#
#     python examples/lane_keeping.py --data roads/ --test other-roads/ --video drive.mp4

# %%
"""Lane keeping: train, export, evaluate, follow a video. ``--help`` lists the options."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

import edgecnn
from edgecnn import LoopSettings, Rules
from edgecnn.cli.app import main
from edgecnn.runtime.loop.lanes import LaneSettings
from edgecnn.vision.synthetic.roads import FOCAL, LANE, Road

parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
parser.add_argument("--data", type=Path, help="frames and masks to learn from; default: drawn ones")
parser.add_argument("--test", type=Path, help="frames and masks of other roads, to be judged on")
parser.add_argument("--video", type=Path, help="a drive to follow; default: a drawn one")
parser.add_argument("--output", type=Path, default=Path("lane-example"), help="folder for all that is written")
parser.add_argument("--roads", type=int, default=24, help="how many to draw; a quarter as many to be judged on")
parser.add_argument("--seconds", type=float, default=12.0, help="of the drive to draw")
parser.add_argument("--size", default="192x320", help="rows x columns of the network's picture")
parser.add_argument("--steps", help="training steps; default: as many as fit into 10 minutes")
parser.add_argument("--lane-width", type=float, default=LANE, help="metres from line to line")
parser.add_argument("--focal", type=float, default=FOCAL, help="focal length as a share of the frame's width")
# In a notebook, the command line is the notebook's own: unknown options are left alone. Change the defaults instead.
options, _ = parser.parse_known_args()
output: Path = options.output

# %% [markdown]
# ## The frames
#
# Masks say which pixel is which line: 1 left dashed, 2 left solid, 3 right dashed, 4 right solid, 0 everything else.
# The source is the road, or the video: frames of one are never both learned from and held out, because they look alike.
# TuSimple's and CULane's files are read as well, see `docs/training-data.md`.
#
#     labels.csv           image,mask,source
#     images/503-01.jpg    images/503-01.jpg,masks/503-01.png,road 503
#     masks/503-01.png


# %%
def draw(folder: Path, first: int, count: int, views: int = 12) -> Path:
    """Draw views of roads, and masks of the lines of the own lane."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    table = ["image,mask,source"]
    for seed in range(first, first + count):
        road = Road(seed=seed)
        for view in range(views):
            image, mask = f"images/{seed}-{view:02}.jpg", f"masks/{seed}-{view:02}.png"
            scene = road.at(31.0 * view)
            cv2.imwrite(str(folder / image), scene.frame)
            cv2.imwrite(str(folder / mask), scene.mask)
            table.append(f"{image},{mask},road {seed}")
    (folder / "labels.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    return folder


def draw_drive(path: Path, seed: int, seconds: float, rate: int = 20, speed: float = 20.0) -> Path:
    """Draw a drive, with so many frames and metres a second."""
    road, size = Road(seed=seed), (640, 360)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for number in range(round(seconds * rate)):
        writer.write(road.at(number * speed / rate, labels=False).frame)
    writer.release()
    return path


output.mkdir(parents=True, exist_ok=True)
if options.data is None:
    data = draw(output / "roads", 500, options.roads)
    test = draw(output / "other-roads", 700, max(1, options.roads // 4))
else:
    data, test = options.data, options.test or options.data
    if options.test is None:
        print("Without --test the figures below are of frames that were trained on: they flatter.")


# %% [markdown]
# ## Train
#
# Whole roads are held out to choose the weights. A quarter of what is learned from are drawn roads, whose lines are
# known exactly.


# %%
def command(*words: object) -> None:
    """Run one command as the terminal would, and stop if it fails."""
    print("\n$ edgecnn", *words, flush=True)
    if code := main([str(word) for word in words]):
        raise SystemExit(code)


amount = ["--time", "10m"] if options.steps is None else ["--steps", options.steps]
trained = output / "lane.safetensors"
command("train", "--task", "lane", "--data", data, "--size", options.size, *amount, "-o", trained)

# %% [markdown]
# ## Export and evaluate
#
# The figures are of markings: how many of those that were found are there (precision), and how many of those that are
# there were found (recall), up to 7 pixels beside the line in a picture of 640 x 360.

# %%
bundle = output / "bundle"
command("export", trained, "--target", "rpi", "--overwrite", "-o", bundle)
command("evaluate", bundle, "--data", test, "-o", output / "evaluation")

# %% [markdown]
# ## Follow a video
#
# Lines are followed from frame to frame, so that they do not flicker. With the width of the lane and the focal length
# of the camera, `1 / (2 * tan(horizontal angle of view / 2))`, places are in metres. Above 0 means right of the lane's
# middle, and a bend to the right.

# %%
video = options.video or draw_drive(output / "drive.mp4", 900, options.seconds)
lanes = LaneSettings(lane_width=options.lane_width, focal=options.focal)
with edgecnn.load(bundle) as model:
    clip = output / "lanes.mp4"
    settings = LoopSettings(rules=Rules(lanes=lanes))
    second = 0
    for seen in model.watch(video, sinks=[f"video:{clip}"], settings=settings):
        if seen.timestamp < second:
            continue
        second += 1
        for finding in seen.findings:
            print(f"{seen.timestamp:5.1f} s  {finding.reason}")
        place = None if seen.result is None else seen.result.decision.ego
        if place is None:
            print(f"{seen.timestamp:5.1f} s  the lane is not seen")
            continue
        kinds = "/".join(lane.kind for lane in seen.result.decision.lanes)
        bend = "-" if place.curvature is None else f"{1000 * place.curvature:+.2f} /km"
        print(f"{seen.timestamp:5.1f} s  {kinds:13}  offset {place.offset_m:+.2f} m  curvature {bend}")

print(f"\nThe clip: {clip}. Next: edgecnn run {bundle} --source 0 --lane departure=0.25 --serve 127.0.0.1:8080")
