"""What people have, read as labelled pictures: found out, checked, and split so that nothing leaks.

`read` looks at a folder, says which layout it is (one file each in `edgecnn.train.data.layouts`) and returns a
`Dataset`; `split`, `split_folds`, `split_groups` and `without_copies` part it; `load_image`, `load_mask` and
`load_lanes` bring one sample's pixels, by the same reader that the device and the evaluation use.
"""

from __future__ import annotations

from edgecnn.train.data.loading import load_image, load_lanes, load_mask
from edgecnn.train.data.reading import read
from edgecnn.train.data.samples import GOOD, Dataset, Line, Sample, Skipped
from edgecnn.train.data.splitting import split, split_folds, split_groups, without_copies

__all__ = [
    "GOOD",
    "Dataset",
    "Line",
    "Sample",
    "Skipped",
    "load_image",
    "load_lanes",
    "load_mask",
    "read",
    "split",
    "split_folds",
    "split_groups",
    "without_copies",
]
