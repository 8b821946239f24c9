"""Inspect parts in front of a camera and act on every verdict.

    python examples/inspect_parts.py BUNDLE SOURCE

SOURCE is anything that ``edgecnn run --source`` takes: a camera's number, an address, a video, a folder.
"""

from __future__ import annotations

import sys

import edgecnn
from edgecnn import LoopSettings, PartSettings, Rules, Verdict


def main(bundle: str, source: str) -> int:
    # Two of the last three frames must say REJECT; INVALID (black, frozen, blurred, no frame ...) counts at once.
    rules = Rules(parts=PartSettings(reject=2, window=3))
    rejected = 0
    with edgecnn.load(bundle) as model:
        for seen in model.watch(source, sinks=["jsonl:verdicts.jsonl"], settings=LoopSettings(rules=rules)):
            if not seen.changed:
                continue
            if seen.state is Verdict.REJECT:
                rejected += 1
                print(f"reject: {seen.label} {seen.score:.2f}", file=sys.stderr)
            elif seen.state is Verdict.INVALID:
                print(f"look after the camera: {seen.findings[0].reason}", file=sys.stderr)
    return rejected


if __name__ == "__main__":
    print(f"{main(*sys.argv[1:3])} times rejected")
