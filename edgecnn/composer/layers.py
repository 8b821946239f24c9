"""Where it hurts: measure every layer of what was built, for as long as it stays cheap."""

from __future__ import annotations

from edgecnn.composer.request import Progress, Rung, Work
from edgecnn.quant.saturation import activation_fits, weight_fits
from edgecnn.quant.sensitivity import measure
from edgecnn.report.document import Report
from edgecnn.report.layer_sections import sensitivity_section, tensor_section
from edgecnn.report.layers import LayerTable, integer_layers

MOST_FRAMES, FEWEST_FRAMES = 8, 2
CHEAP, MOST = 10**11, 10**12
"""Multiply-accumulates: up to the first, more frames are taken; beyond the second nothing is measured.

Two cores do some 2 to 4 times 10**10 a second.
"""

TUNED = (
    "Where it hurts: fine-tuning moved the weights of all layers together, and each makes up for errors of others. "
    "What the weights of one layer do alone is as a rule more than what they add to the noise of the whole."
)


def measure_layers(report: Report, work: Work, rung: Rung, progress: Progress) -> Report:
    """Return ``report`` with the sections on layers; what is too expensive is left out, and a note says so.

    Args:
        report: The report so far; its notes are those of ``work``.
        work: The folded model.
        rung: What the bundle is made of.
        progress: Told of every layer.
    """
    graph, quantised = rung.quantised.graph, rung.quantised
    report |= {"tensors": tensor_section(graph, activation_fits(graph, quantised.statistics), weight_fits(graph))}
    frames = rung.golden[: affordable_frames(integer_layers(graph))]
    if not frames:
        work.notes.append("Which layers make the noise was not measured: on a model of this size it takes too long.")
        return report
    if quantised.tuned:
        work.notes.append(TUNED)
    corrected, nodes = quantised.corrected or quantised.tuned, len(graph.nodes)
    found = measure(rung.model, graph, frames, corrected, lambda: progress("measuring layers", nodes))
    return report | {"sensitivity": sensitivity_section(found, graph)}


def affordable_frames(layers: LayerTable) -> int:
    """Return on how many frames layers are measured: for each of them what lies behind it runs again, twice at most."""
    macs = [layer.macs for layer in layers.layers]
    once = sum(sum(macs[index:]) * (2 if own else 1) for index, own in enumerate(macs))
    if FEWEST_FRAMES * once > MOST:
        return 0
    return max(FEWEST_FRAMES, min(MOST_FRAMES, CHEAP // max(once, 1)))
