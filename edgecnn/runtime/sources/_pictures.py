"""Pictures out of a stream of JPEGs or PNGs, whatever lies between them.

Cameras get the frame around their pictures wrong in many ways: boundaries that differ from the announced one, missing
or false lengths, bytes left over. A picture itself says where it begins and ends (JPEG: ITU-T T.81, annex B; PNG:
ISO/IEC 15948, chapter 5), so only that is believed.
"""

from __future__ import annotations

import re

from edgecnn import limits
from edgecnn.errors import SourceError

LARGEST = limits.JPEG.most
"""Bytes of one picture above which the stream is taken for broken: a photograph of 100 megapixels has less."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_START = re.compile(rb"\xff\xd8\xff[^\x00\xd8\xff]")
_START = re.compile(_JPEG_START.pattern + b"|" + re.escape(_PNG))
_CHUNK_TYPE = re.compile(rb"[A-Za-z]{4}")
# Within the coded data 0xFF is followed by 0 (stuffing), by a restart marker, or by more 0xFF (fill).
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_IMAGE, _END_OF_IMAGE = 0xD8, 0xD9


class PictureSplitter:
    """Cuts a stream of bytes into pictures. Holds no more than one that is not complete.

    Args:
        name: What to call the stream in messages.
        largest: Longest picture, in bytes.
    """

    def __init__(self, name: str, largest: int = LARGEST) -> None:
        self._name = name
        self._largest = largest
        self._data = bytearray()
        self._place = 0  # where to look on, so that no byte is looked at twice
        self._ready: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take more of the stream.

        Raises:
            SourceError: If a picture is longer than allowed.
        """
        self._data += data
        while (picture := self._cut()) is not None:
            self._ready.append(picture)
        if len(self._data) > self._largest:
            raise SourceError(f"{self._name}: expected pictures of up to {self._largest >> 20} MiB, got a longer one.")

    def take(self) -> bytes | None:
        """Return the oldest picture that is complete, or was cut off by the next one; None if there is none."""
        return self._ready.pop(0) if self._ready else None

    def take_newest(self) -> bytes | None:
        """Return the newest picture, and forget the older ones."""
        newest = self._ready[-1] if self._ready else None
        self._ready.clear()
        return newest

    @property
    def rest(self) -> int:
        """Bytes of a picture that has begun and not ended."""
        return len(self._data) if _START.match(self._data) else 0

    def _cut(self) -> bytes | None:
        """Cut the first picture off the data; None if it is not complete."""
        if not _START.match(self._data) and not self._skip_to_start():
            return None
        end = self._end_of_png() if self._data.startswith(_PNG) else self._end()
        if end is None:
            return None
        picture = bytes(self._data[:end])
        del self._data[:end]
        self._place = 0
        return picture

    def _skip_to_start(self) -> bool:
        """Drop what lies before the next picture. Tell whether one begins."""
        found = _START.search(self._data)
        # The last bytes may be the beginning of a start.
        del self._data[: found.start() if found else max(0, len(self._data) - len(_PNG) + 1)]
        self._place = 0
        return found is not None

    def _end(self) -> int | None:
        """Walk a JPEG from marker to marker; return where the picture ends, or where another one begins inside it."""
        self._place = max(self._place, 2)
        while found := _MARKER.search(self._data, self._place):
            marker, after = self._data[found.end() - 1], found.end()
            if marker == _END_OF_IMAGE:
                return after
            if marker == _START_OF_IMAGE:
                return found.start()
            # Every other marker begins a segment with a length of its own, which may hold a thumbnail's markers.
            following = after + int.from_bytes(self._data[after : after + 2], "big")
            if not _holds_anything(marker) and (start := _JPEG_START.search(self._data, after, following + 3)):
                return start.start()
            if len(self._data) < max(after + 2, following):
                return None
            self._place = following
        self._place = max(self._place, len(self._data) - 1)
        return None

    def _end_of_png(self) -> int | None:
        """Walk a PNG from chunk to chunk; return where it ends, or where it cannot go on."""
        self._place = max(self._place, len(_PNG))
        while len(self._data) >= self._place + 8:
            kind = bytes(self._data[self._place + 4 : self._place + 8])
            if not _CHUNK_TYPE.fullmatch(kind):
                return self._place
            # Length and type before, a checksum behind.
            following = self._place + 12 + int.from_bytes(self._data[self._place : self._place + 4], "big")
            if len(self._data) < following:
                return None
            self._place = following
            if kind == b"IEND":
                return following
        return None


def _holds_anything(marker: int) -> bool:
    """Tell whether a segment is for applications or a comment: a thumbnail in it is no sign of damage."""
    return 0xE0 <= marker <= 0xEF or marker == 0xFE
