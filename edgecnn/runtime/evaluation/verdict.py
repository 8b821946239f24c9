"""An evaluation in plain words. What too few pictures cannot carry is not said."""

from __future__ import annotations

from edgecnn.runtime.evaluation.inspection import FEW_PARTS
from edgecnn.runtime.evaluation.section import (
    DecisionsSection,
    Interval,
    LabelMaskSection,
    LaneSection,
    MaskSection,
    Paired,
    PictureRow,
)
from edgecnn.runtime.evaluation.statistics import FEW_IMAGES, images_needed, wilson_interval

SHOWN_DROP = 0.01
"""The drop for which it is said how many pictures would show that it is not exceeded."""
CHANCE = 0.05
"""Splits that are less probable by chance than this are called worse or better."""


def verdict(found: DecisionsSection) -> str:
    """Return what follows from the numbers, in one to three sentences."""
    if (lanes := found.get("lanes")) is not None:
        return _lanes(found, lanes)
    if not any(row["int8"]["decision"] for row in found["pictures"]):
        return _noise_alone(found)
    beside = _beside_labels(found.get("label_masks"))
    if found["masks"] is not None:
        return f"{_masks(found, found['masks'])}{beside}"
    if beside:
        return f"{beside.lstrip()} {_no_float()}"
    if found["paired"] is not None:
        return _pairs(found["paired"])
    if found["agreement"] is not None:
        return _agreement(found, found["agreement"])
    return _int8_alone(found)


def _lanes(found: DecisionsSection, lanes: LaneSection) -> str:
    share, before = lanes["int8"]["f1"], lanes["float"]
    text = (
        f"INT8 finds the lane markings of {_pictures(lanes['images'])} with an F1 of {share['value']:.4f} (95 % "
        f"interval {share['low']:.3f} to {share['high']:.3f} over {lanes['over']}, {lanes['tolerance']:g} px at 640 "
        "wide)"
    )
    if before is None:
        return f"{text}. {_no_float()}"
    lost = before["f1"]["value"] - share["value"]
    same = found["compared"] - sum(_other_lines(row) for row in found["pictures"])
    return (
        f"{text}, float with {before['f1']['value']:.4f}: {_points(abs(lost))} {'more' if lost > 0 else 'less'}. Both "
        f"see the same lines on {same} of {_pictures(found['compared'])}."
    )


def _other_lines(row: PictureRow) -> bool:
    return row["float"] is not None and row["float"]["decision"] != row["int8"]["decision"]


def _noise_alone(found: DecisionsSection) -> str:
    text = f"The task '{found['task']}' decides nothing that could be counted"
    ratios = [item["sqnr_db"] for item in found["noise"] if item["sqnr_db"] is not None]
    if ratios:
        return f"{text}: what is known is the signal-to-noise ratio of its outputs, {min(ratios):.1f} dB at least."
    if found["noise"]:
        return f"{text}. Its outputs do not differ from float's."
    return f"{text}. To learn the signal-to-noise ratio of its outputs, name the source model (--float)."


def _masks(found: DecisionsSection, masks: MaskSection) -> str:
    count = found["compared"]
    below = sum(row["overlap"] is not None and row["overlap"]["iou"] < masks["limit"] for row in found["pictures"])
    text = (
        f"the masks of INT8 and float overlap by {masks['iou']:.3f} on average (intersection over union), by "
        f"{masks['lowest']:.3f} at least; {below} of {count} pictures are below {masks['limit']:.2f}."
    )
    if count < FEW_IMAGES:
        return (
            f"Too few pictures to say how alike the masks are: {count}, at least {FEW_IMAGES} are needed. Here {text}"
        )
    return f"T{text[1:]}"


def _beside_labels(found: LabelMaskSection | None) -> str:
    if found is None:
        return ""
    before = "" if found["float"] is None else f", float {found['float']:.3f}"
    return (
        f" Beside the label masks of {_pictures(found['images'])} INT8 reaches {found['int8']:.3f}{before} "
        "(intersection over union, mean over the classes)."
    )


def _pairs(paired: Paired) -> str:
    count, lost, gained = paired["images"], paired["lost"], paired["gained"]
    if count < FEW_IMAGES:
        return (
            f"Too few pictures to say whether INT8 is worse: {_pictures(count)} with a label, at least {FEW_IMAGES} "
            f"are needed. {_would_show(paired)}"
        )
    sure = f"With 95 % confidence its loss is between {_ends(paired['drop'])}."
    if lost + gained == 0:
        return f"INT8 is right and wrong on the same pictures as float, all {count} of them. {sure}"
    judged = f"of {count} pictures it has {lost} wrong that float had right, and {gained} right that float had wrong"
    return f"{_compared(paired)}: {judged}. {sure}"


def _compared(paired: Paired) -> str:
    drop = paired["drop"]["value"]
    chance = f"(McNemar p = {paired['p']:.2g})"
    if paired["p"] < CHANCE:
        return f"INT8 is {'worse' if drop > 0 else 'better'} by {_points(abs(drop))} {chance}"
    return f"INT8 is not shown to be worse or better {chance}"


def _would_show(paired: Paired) -> str:
    """Say how many pictures would do, if what they decide differently stays as frequent and balances out."""
    half = (paired["lost"] + paired["gained"]) / paired["images"] / 2
    needed = images_needed(SHOWN_DROP, half, half)
    return f"About {needed} would show that it is worse by less than {_points(SHOWN_DROP)}, if it is as good as float."


def _agreement(found: DecisionsSection, share: Interval) -> str:
    count = found["compared"]
    same = f"{round(share['value'] * count)} of {count} pictures"
    if count < FEW_IMAGES:
        return (
            f"Too few pictures to say how often INT8 decides as float does: {_pictures(count)}, at least {FEW_IMAGES} "
            f"are needed. Here it does on {same}."
        )
    return (
        f"INT8 decides as float does on {same} ({_interval(share)}). Which of them is right cannot be said without "
        "labels."
    )


def _int8_alone(found: DecisionsSection) -> str:
    if found["accuracy"] is None:
        return f"Nothing can be said: the pictures have no labels. {_no_float()}"
    share, count = found["accuracy"]["int8"], found["accuracy"]["images"]
    right = f"{round(share['value'] * count)} of {count} pictures ({_interval(share)})"
    few = f"Too few pictures to judge by, at least {FEW_IMAGES} are needed. " if count < FEW_IMAGES else ""
    return f"{few}INT8 is right on {right}. {_no_float()}"


def _no_float() -> str:
    return (
        "What float decides on these pictures is not known: name the source model (--float), or evaluate the pictures "
        "that the export was given (--eval)."
    )


def remarks(found: DecisionsSection) -> list[str]:
    """Return what a reader must know beside the verdict."""
    notes = []
    if 0 < found["compared"] < found["images"]:
        notes.append(
            f"Float's decisions are known for {found['compared']} of {found['images']} pictures; comparisons are on "
            "these alone."
        )
    paired = found["paired"]
    if paired is not None and paired["images"] >= FEW_IMAGES and paired["drop"]["high"] > SHOWN_DROP:
        notes.append(_more_pictures(paired))
    if found["inspection"] is not None:
        notes += _few_parts(found["inspection"]["defective"], "defective", "escaping")
        notes += _few_parts(found["inspection"]["good"], "good", "rejected")
    if found["skipped"]:
        notes.append(f"{len(found['skipped'])} picture(s) could not be used, the first: {found['skipped'][0]}")
    return notes


def _more_pictures(paired: Paired) -> str:
    count, limit = paired["images"], _points(SHOWN_DROP)
    needed = images_needed(SHOWN_DROP, paired["lost"] / count, paired["gained"] / count)
    if needed is None:
        return f"More pictures like these would not show that INT8 is worse by less than {limit}."
    return f"About {needed} pictures like these would show that INT8 is worse by less than {limit}."


def _few_parts(count: int, kind: str, wrong: str) -> list[str]:
    if count >= FEW_PARTS:
        return []
    most = f"{wilson_interval(0, count)[1]:.0%}" if count else "any share"
    return [
        f"Too few {kind} parts ({count}) to speak of the share of them {wrong}: with none, {most} still may be. "
        f"Give at least {FEW_PARTS}."
    ]


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _points(share: float) -> str:
    """Return a difference of shares in percentage points, e.g. ``0.50 points``."""
    return f"{100 * share:.2f} points"


def _ends(drop: Interval) -> str:
    return f"{100 * drop['low']:.2f} and {_points(drop['high'])}"


def _interval(share: Interval) -> str:
    return f"{share['value']:.2%}, 95 % interval {share['low']:.1%} to {share['high']:.1%}"
