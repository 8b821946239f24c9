"""Open what was written as a device will, before export says that it is done.

All that was proven before was proven in memory. What stands on the disk is another matter: a digest, a shape that the
file format changed, a name that JSON spells differently, and `edgecnn verify` fails where export had succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.errors import BundleError, MissingEngineError
from edgecnn.integer_graph import Array
from edgecnn.manifest import EngineEntry
from edgecnn.report.document import EngineProof
from edgecnn.runtime.bundle import Bundle, Golden
from edgecnn.runtime.compare import check_contract
from edgecnn.runtime.health.reference import Reference
from edgecnn.runtime.model import load_entry, reference_entry, run_frames
from edgecnn.vision.results import Output
from edgecnn.vision.tasks import decoder


def read_back(bundle: Bundle, proofs: Sequence[EngineProof]) -> None:
    """Run one golden frame on every engine that is installed, from the bundle's files, and decode what comes out.

    Args:
        bundle: What was written, opened: its digests were compared.
        proofs: What the engines gave in memory: from the files they must come as near to the golden outputs.

    Raises:
        BundleError: If the golden frames cannot be read, or an engine gives something else than it gave in memory.
        EdgecnnError: If an engine cannot load its file, or the task cannot read the outputs.
    """
    golden, manifest = bundle.golden(), bundle.manifest
    if manifest.health is not None:
        Reference.load(bundle.path_of(manifest.health))
    allowed = {proof["engine"]: proof["max_lsb"] for proof in proofs}
    reference = reference_entry(manifest)
    for entry in (reference, *bundle.engines):
        limit = allowed.get(entry.name, 0)
        if limit is not None:  # an engine that did not run in memory is FAILED, which the report says
            _run(bundle, entry, golden, limit)
    contracts = zip(manifest.outputs, first_of(golden), strict=True)
    decoder(manifest)([Output(contract, array) for contract, array in contracts])


def first_of(golden: Golden) -> list[Array]:
    """Return the outputs of the first golden frame; one without a batch axis has several rows a frame."""
    return [output[: len(output) // len(golden.frames)] for output in golden.outputs]


def _run(bundle: Bundle, entry: EngineEntry, golden: Golden, allowed: int) -> None:
    try:
        with load_entry(bundle, entry, tried=True) as engine:
            got = run_frames(engine, golden.frames[:1])
    except MissingEngineError:
        return  # nothing was proven on it in memory either, and a note says so
    check_contract(bundle.manifest, got)
    pairs = zip(first_of(golden), got, strict=True)
    off = max(int(np.abs(b.astype(np.int64) - a.astype(np.int64)).max()) for a, b in pairs)
    if off > allowed:
        raise BundleError(
            f"{entry.name} is {off} steps off the golden outputs when it runs {entry.files[0]} as written; before "
            f"writing it was {allowed} off."
        )
