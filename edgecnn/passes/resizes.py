"""Spell every resampling of pictures as Resize to a static size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecnn.passes.rewrite import NodePass, array, constant, graph_of, operand, optional, shape_of, substitute

COORDINATES = ("half_pixel", "asymmetric", "align_corners")
Positions = npt.NDArray[np.float64]


class ExplicitResize(NodePass):
    """Bring Resize into the form with sizes, one of three coordinate modes, and no region of interest.

    Given::

        x [1, C, 20, 20] -> Resize(scales = 1, 1, 2, 2; pytorch_half_pixel) -> y

    Result::

        x [1, C, 20, 20] -> Resize(sizes = 1, C, 40, 40; half_pixel) -> y

    Rules:
        U1. Scales become sizes where both put every output pixel at the same place of the input.
        U2. Coordinate modes that put every output pixel at the same place are the same: pytorch_half_pixel and
            half_pixel_symmetric become half_pixel where they agree with it on these sizes.
        U3. Only height and width are resampled, by nearest or linear, without antialiasing. What differs stays, and is
            refused later with the reason.

    Source: ONNX Resize-19, table of coordinate_transformation_mode.
    """

    def rewrite(self, node: ir.Node) -> bool:
        """Apply U1 to U3 to one node."""
        if node.op_type != "Resize" or why_not_normal(node) is not None:
            return False
        wanted = _canonical(node)
        sizes = tuple(shape_of(node.outputs[0]))
        if dict(_plain(node)) == wanted and optional(node, 3) is not None and optional(node, 1) is None:
            return False
        target = constant(graph_of(node), f"{node.name}/sizes", np.asarray(sizes, np.int64))
        substitute(node, "Resize", [operand(node, 0), None, None, target], wanted)
        return True


def why_not_normal(node: ir.Node) -> str | None:
    """Return why a Resize cannot be lowered; None if it can (U1 to U3)."""
    source, target = shape_of(operand(node, 0)), shape_of(node.outputs[0])
    mode = _text(node, "mode", "nearest")
    if len(source) != 4 or source[:2] != target[:2]:
        return f"it resamples {source} to {target}; only height and width of pictures can be."
    if mode not in ("nearest", "linear"):
        return f"its mode is '{mode}'; nearest and linear can be lowered."
    if node.attributes.get_int("antialias", 0):
        return "it filters against aliasing."
    if _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch" and optional(node, 3) is not None:
        return "it keeps the aspect ratio."
    return (
        None
        if _coordinates(node)
        else (
            f"coordinates '{_text(node, 'coordinate_transformation_mode', 'half_pixel')}' have no equal on sizes "
            f"{source[2:]} to {target[2:]}."
        )
    )


def _canonical(node: ir.Node) -> dict[str, str]:
    mode = _text(node, "mode", "nearest")
    wanted = {"mode": mode, "coordinate_transformation_mode": _coordinates(node) or ""}
    return wanted | {"nearest_mode": _text(node, "nearest_mode", "round_prefer_floor")} if mode == "nearest" else wanted


def _plain(node: ir.Node) -> dict[str, object]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes.get_string(name, default)


def _coordinates(node: ir.Node) -> str | None:
    """Return the coordinate mode, with sizes, that agrees with this node's everywhere; its own where possible."""
    own = _text(node, "coordinate_transformation_mode", "half_pixel")
    source, target, scales = shape_of(operand(node, 0))[2:], shape_of(node.outputs[0])[2:], _scales(node)
    places = [_positions(own, *item) for item in zip(source, target, scales, strict=True)]
    exact = [size / length for length, size in zip(source, target, strict=True)]
    for mode in sorted(COORDINATES, key=lambda name: name != own):
        candidates = [_positions(mode, *item) for item in zip(source, target, exact, strict=True)]
        if all(_agree(node, a, b, length) for a, b, length in zip(places, candidates, source, strict=True)):
            return mode
    return None


def _scales(node: ir.Node) -> Sequence[float]:
    """Return the scales of height and width that ONNX calculates with."""
    source, target = shape_of(operand(node, 0))[2:], shape_of(node.outputs[0])[2:]
    scales = array(optional(node, 2))
    if scales is None or not scales.size:
        return [size / length for length, size in zip(source, target, strict=True)]
    axes = [axis % 4 for axis in node.attributes.get_ints("axes", range(4))]
    by_axis = dict(zip(axes, scales.astype(np.float64).tolist(), strict=True))
    return [by_axis.get(axis, 1.0) for axis in (2, 3)]


def _positions(mode: str, length: int, size: int, scale: float) -> Positions | None:
    """Return where in the input each output pixel lies."""
    index = np.arange(size, dtype=np.float64)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and size > 1):
        return (index + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        centre = (length / 2) * (1 - size / (length * scale))
        return centre + (index + 0.5) / scale - 0.5
    if mode in ("asymmetric", "pytorch_half_pixel"):
        return index / scale if mode == "asymmetric" else np.zeros(size)
    return index * (length - 1) / max(size - 1, 1) if mode == "align_corners" else None


def _agree(node: ir.Node, a: Positions | None, b: Positions | None, length: int) -> bool:
    if a is None or b is None:
        return False
    if _text(node, "mode", "nearest") == "linear":
        return bool(np.allclose(np.clip(a, 0, length - 1), np.clip(b, 0, length - 1), rtol=0, atol=1e-5))
    rounding = _text(node, "nearest_mode", "round_prefer_floor")
    return bool((_nearest(rounding, a, length) == _nearest(rounding, b, length)).all())


def _nearest(rounding: str, places: Positions, length: int) -> Positions:
    rounded = {
        "floor": np.floor(places),
        "ceil": np.ceil(places),
        "round_prefer_floor": np.ceil(places - 0.5),
        "round_prefer_ceil": np.floor(places + 0.5),
    }[rounding]
    return np.clip(rounded, 0, length - 1)
