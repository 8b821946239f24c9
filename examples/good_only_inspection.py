# %% [markdown]
# # Inspect with pictures of good parts alone
#
# A line that runs well has thousands of good parts and next to no defects. So the network learns from good parts: it is
# shown what was put on them, drawn flaws and pieces of other pictures, and learns to find what does not belong there.
# The threshold is set so that a share of the good parts of your choice is rejected.
#
# Run all of it with `python examples/good_only_inspection.py`, or cell by cell in an editor that knows `# %%`. Without
# pictures of your own it draws some. With your own:
#
#     python examples/good_only_inspection.py --data parts/ --test parts-of-june/ --false-rejects 0.005

# %%
"""Inspect with pictures of good parts alone: train, export, evaluate, look. ``--help`` lists the options."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

import edgecnn
from edgecnn.cli.app import main
from edgecnn.vision.draw import overlay
from edgecnn.vision.read import read_image
from edgecnn.vision.synthetic.surfaces import damaged
from edgecnn.vision.synthetic.textures import brushed, noise

parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
parser.add_argument("--data", type=Path, help="pictures of good parts to learn from; default: drawn ones")
parser.add_argument("--test", type=Path, help="other labelled pictures, good and defective, to be judged on")
parser.add_argument("--good", help="folder of good parts, where it is not called good")
parser.add_argument("--output", type=Path, default=Path("good-only-example"), help="folder for all that is written")
parser.add_argument("--false-rejects", default="0.02", help="share of good parts that may be rejected")
parser.add_argument("--pictures", type=int, default=200, help="good parts to draw; half as many to be judged on")
parser.add_argument("--size", default="256", help="side of the network's picture, in pixels")
parser.add_argument("--steps", help="training steps; default: as many as fit into 10 minutes")
# In a notebook, the command line is the notebook's own: unknown options are left alone. Change the defaults instead.
options, _ = parser.parse_known_args()
output: Path = options.output

# %% [markdown]
# ## The pictures
#
# One folder of good parts is enough to learn from. Without defective ones, though, nobody knows how many escape: the
# second folder holds a few of them, and other good ones, in the layout of MVTec AD.
#
#     plates/000.png
#     new-plates/test/good/000.png
#     new-plates/test/scratch/001.png
#     new-plates/ground_truth/scratch/001_mask.png
#
# The drawn part is a brushed plate with two holes. It lies in a fixture: the holes are always in the same places.


# %%
def plate(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Return the brightness of a plate, float32 (size, size), around 0..1."""
    picture = 0.5 + 0.03 * brushed(rng, size) + 0.02 * noise(rng, size, (size / 6, size / 6))
    for x in (0.28, 0.72):
        cv2.circle(picture, (round(x * size), size // 2), size // 11, 0.08, cv2.FILLED, cv2.LINE_AA)
    return np.asarray(picture * rng.uniform(0.9, 1.1), np.float32)


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture, and its folder if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def photograph(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Return brightness as a camera gives it, uint8, with a little noise."""
    return np.clip(255 * picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def draw_good(folder: Path, count: int) -> Path:
    """Draw good plates to learn from."""
    rng = np.random.default_rng(8)
    for index in range(count):
        save(folder / f"{index:04}.png", photograph(rng, plate(rng)))
    return folder


def draw_test(folder: Path, count: int) -> Path:
    """Draw good and damaged plates to be judged on, by turns, and masks of the damage."""
    rng = np.random.default_rng(9)
    for index in range(count):
        sound = plate(rng)
        picture, mask, kind = (index % 2 and damaged(rng, sound)) or (sound, None, "good")
        save(folder / "test" / kind / f"{index:04}.png", photograph(rng, picture))
        if mask is not None:
            save(folder / "ground_truth" / kind / f"{index:04}_mask.png", mask)
    return folder


if options.data is None:
    data, test = draw_good(output / "plates", options.pictures), draw_test(output / "new-plates", options.pictures // 2)
else:
    data, test = options.data, options.test or options.data
    if options.test is None:
        print("Without --test, good parts below are those that were learned from: their figures flatter.")


# %% [markdown]
# ## Train
#
# A fifth of the good parts is held out for the threshold: a share of 0.02 needs fifty of them to be more than a guess.
# While it trains, the score is that of made defects, never of yours: those are only measured.


# %%
def command(*words: object) -> None:
    """Run one command as the terminal would, and stop if it fails."""
    print("\n$ edgecnn", *words, flush=True)
    if code := main([str(word) for word in words]):
        raise SystemExit(code)


amount = ["--time", "10m"] if options.steps is None else ["--steps", options.steps]
good = [] if options.good is None else ["--good", options.good]
how = [*good, "--false-rejects", options.false_rejects, "--size", options.size, *amount]
trained = output / "good-only.safetensors"
output.mkdir(parents=True, exist_ok=True)
command("train", "--task", "anomaly", "--data", data, *how, "-o", trained)

# %% [markdown]
# ## Export and evaluate
#
# Escapes and false rejects are at the threshold; the area under the ROC curve (AUROC) says how well good and defective
# parts are told apart at any. If the former are bad and the latter is good, `--false-rejects` is the thing to change.
# All folders but that of good parts hold defective ones.

# %%
bundle = output / "bundle"
command("export", trained, "--target", "rpi", "--overwrite", "-o", bundle)
command("evaluate", bundle, "--data", test, "--good", options.good or "good", "-o", output / "evaluation")

# %% [markdown]
# ## Look
#
# One picture of each kind is written with what was found drawn on it.

# %%
(output / "verdicts").mkdir(exist_ok=True)
pictures = test / "test" if (test / "test").is_dir() else test
with edgecnn.load(bundle) as model:
    limit = model.manifest.threshold_of("anomaly")
    for folder in sorted(path for path in pictures.iterdir() if path.is_dir()):
        frame = read_image(min(folder.rglob("*.*")))
        result = model(frame)
        print(f"{folder.name}: {result.verdict.value}, score {result.score:.2f}, threshold {limit:.2f}")
        shown = overlay(frame, result.verdict, result.decision, (), geometry=model.geometry(frame), threshold=limit)
        cv2.imwrite(str(output / "verdicts" / f"{folder.name}.png"), shown)

print(f"\nPictures: {output / 'verdicts'}. Next: edgecnn run {bundle} --source 0 --serve 127.0.0.1:8080")
