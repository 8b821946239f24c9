"""How much anything that comes from outside may have: the one place that says so.

A file of a few kilobytes can ask for gigabytes, or for hours. Every reader checks here before it allocates or computes,
and the message names what may have no more. The numbers are far above what a CNN and its pictures need.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.errors import EdgecnnError


@dataclass(frozen=True)
class Limit:
    """The most of something.

    Attributes:
        name: What may have no more, with its article.
        most: How much is still allowed.
        unit: Of what.
    """

    name: str
    most: int
    unit: str = "bytes"

    def check(self, found: int, where: object, kind: type[EdgecnnError]) -> None:
        """Refuse more than the limit.

        Args:
            found: How much there is, or is asked for.
            where: What asks for it, for the message: a file, as a rule.
            kind: The error to raise.

        Raises:
            EdgecnnError: Of ``kind``, if ``found`` is above the limit.
        """
        if found > self.most:
            raise kind(f"{where}: {found} {self.unit} are more than the {self.most} that {self.name} may have.")


BUNDLE = Limit("a bundle", 1 << 30)
MEMBERS = Limit("a bundle", 4096, "files")
MANIFEST = Limit("a manifest", 4 << 20)
REPORT = Limit("a report", 64 << 20)
ZIP_DIRECTORY = Limit("the directory of a .zip", 4 << 20)
ARRAYS = Limit("an .npz", 1 << 30)
GRAPH = Limit("an integer graph", 1 << 29)
HEALTH = Limit("a description of calibration frames", 1 << 20)
TENSOR = Limit("a tensor", 1 << 28, "elements")
NODES = Limit("a graph", 1 << 16, "nodes")

PICTURE = Limit("a picture", 1 << 26, "pixels")
"""8192 x 8192: above the largest sensors of machine vision, 192 MiB in colour."""
PICTURE_FILE = Limit("a picture file", 1 << 28)
FRAME = Limit("a frame", 1 << 28)
STREAM = Limit("a stream of frames", 1 << 40)
"""One frame of it is in memory at a time."""
JPEG = Limit("a JPEG in a stream", 32 << 20)

SETTINGS = Limit("a TOML file", 1 << 20)
TABLE = Limit("a table of labels", 256 << 20)
EVENT = Limit("the record of an event", 64 << 20)
EVENT_FRAMES = Limit("the frames of an event", 4 << 30)

MODEL = Limit("a model file", 2 << 30)
CONSTANT = Limit("a computed constant", 1 << 28)
CONSTANTS = Limit("the computed constants of a model", 1 << 30)
DOCUMENT = Limit("a document inside a .pt2", 256 << 20)
TRAINED = Limit("a trained file", 1 << 29)
METADATA = Limit("the metadata of a trained file", 1 << 20, "characters")
"""What the file's text may have, before it is read as JSON."""

TRIAL_MEMORY = Limit("an engine in its trial", 2 << 30)
TRIAL_SECONDS = Limit("an engine in its trial", 120, "seconds")
