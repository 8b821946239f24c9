# %% [markdown]
# # Inspect a surface: from a folder of images to a verdict
#
# A network learns from pictures of good and of defective parts, becomes an INT8 bundle for a Raspberry Pi, is judged on
# pictures that it has never seen, and then says PASS or REJECT, and where the defect is.
#
# Run all of it with `python examples/inspect_a_surface.py`, or cell by cell in an editor that knows `# %%`. Without
# pictures of your own it draws some. With your own:
#
#     python examples/inspect_a_surface.py --data parts/ --test parts-of-june/

# %%
"""Inspect a surface: train, export, evaluate, look. ``--help`` lists the options."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

import edgecnn
from edgecnn.cli.app import main
from edgecnn.vision.draw import overlay
from edgecnn.vision.read import read_image
from edgecnn.vision.synthetic.surfaces import surfaces

parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
parser.add_argument("--data", type=Path, help="labelled pictures to learn from; default: drawn ones")
parser.add_argument("--test", type=Path, help="other labelled pictures, to be judged on")
parser.add_argument("--good", help="folder of good parts, where it is not called good")
parser.add_argument("--output", type=Path, default=Path("surface-example"), help="folder for all that is written")
parser.add_argument("--pictures", type=int, default=400, help="how many to draw; half as many to be judged on")
parser.add_argument("--size", default="256", help="side of the network's picture, in pixels")
parser.add_argument("--steps", help="training steps; default: as many as fit into 10 minutes")
# In a notebook, the command line is the notebook's own: unknown options are left alone. Change the defaults instead.
options, _ = parser.parse_known_args()
output: Path = options.output

# %% [markdown]
# ## The pictures
#
# One folder for each class below `images`, and for defects the same names below `masks`: white where the defect is.
# Masks are worth drawing, but pictures without one are learned from too. `docs/training-data.md` lists other layouts.
#
# The second folder holds pictures that are kept back: what a network says about pictures that it was trained on
# proves nothing.


# %%
def draw(folder: Path, first: int, count: int) -> Path:
    """Draw surfaces, about every second one with a defect, and their masks."""
    for index, drawn in enumerate(surfaces(count, seed=5, stream="evaluation", start=first, size=256)):
        for kind, picture in (("images", drawn.frame), ("masks", drawn.mask)):
            path = folder / kind / drawn.kind / f"{index:04}.png"
            if kind == "images" or drawn.kind != "good":
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture)
    return folder


if options.data is None:
    data = draw(output / "parts", 0, options.pictures)
    test = draw(output / "new-parts", options.pictures, options.pictures // 2)
else:
    data, test = options.data, options.test or options.data
    if options.test is None:
        print("Without --test the figures below are of pictures that were trained on: they flatter.")
good = [] if options.good is None else ["--good", options.good]


# %% [markdown]
# ## Train
#
# A fifth of the pictures is held out to choose the best weights and the thresholds. Ctrl-C keeps a checkpoint, and the
# same command goes on with it. `surface.train/curves.svg` shows how it went.


# %%
def command(*words: object) -> None:
    """Run one command as the terminal would, and stop if it fails."""
    print("\n$ edgecnn", *words, flush=True)
    if code := main([str(word) for word in words]):
        raise SystemExit(code)


amount = ["--time", "10m"] if options.steps is None else ["--steps", options.steps]
trained = output / "surface.safetensors"
output.mkdir(parents=True, exist_ok=True)
command("train", "--task", "defect", "--data", data, *good, "--size", options.size, *amount, "-o", trained)

# %% [markdown]
# ## Export
#
# The trained file knows labels, thresholds and calibration pictures: nothing else has to be said. The bundle is proven
# on the engine of its target, integer by integer.

# %%
bundle = output / "bundle"
command("export", trained, "--target", "rpi", "--overwrite", "-o", bundle)

# %% [markdown]
# ## Evaluate
#
# What INT8 decides about pictures that were never trained on: how many defects escape, how many good parts are
# rejected, how much of the defects is marked. `evaluation/report.html` shows the worst mistakes; with the option
# `--float surface.safetensors` the float network stands beside it.

# %%
command("evaluate", bundle, "--data", test, *good, "-o", output / "evaluation")

# %% [markdown]
# ## Look
#
# This is all that runs on the device: a frame in, a verdict out. The regions are in pixels of the frame, whatever its
# size. One picture of each class is written with what was found drawn on it.

# %%
(output / "verdicts").mkdir(exist_ok=True)
pictures = test / "images" if (test / "images").is_dir() else test
with edgecnn.load(bundle) as model:
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir()):
        frame = read_image(min(folder.rglob("*.*")))
        result = model(frame)
        print(f"{folder.name}: {result.verdict.value}, {result.label}, score {result.score:.2f}")
        for region in result.decision.regions:
            left, top, right, bottom = (round(side) for side in region.box)
            print(f"    {region.label} {region.score:.2f} from ({left}, {top}) to ({right}, {bottom})")
        limit = model.manifest.threshold_of(result.label)
        shown = overlay(frame, result.verdict, result.decision, (), geometry=model.geometry(frame), threshold=limit)
        cv2.imwrite(str(output / "verdicts" / f"{folder.name}.png"), shown)

print(f"\nPictures: {output / 'verdicts'}. Next: edgecnn run {bundle} --source 0 --serve 127.0.0.1:8080")
