"""Bundles on disk: a folder, or the same as one ``.zip``, written in one piece and checked before anything is used.

Writing goes to a hidden neighbour first and changes places with what was there, so that there is the old bundle or the
new one, never half of one and never none. Reading takes every byte for hostile until its digest was compared: no
pickle, no path that leaves the bundle, no symbolic link, no more bytes and no other files than the manifest says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt

from edgecnn import limits
from edgecnn.arrays import read_npz
from edgecnn.boundary import boundary, read_bytes
from edgecnn.errors import BundleError, EdgecnnError
from edgecnn.limits import Limit
from edgecnn.manifest import FILE_NAME, EngineEntry, FileEntry, Manifest, check_file_name
from edgecnn.runtime import archive
from edgecnn.runtime.closing import Closing
from edgecnn.runtime.exchange import exchange
from edgecnn.runtime.scratch import Scratch

Content = bytes | Path
UNPACKED = "edgecnn-unpacked-"
"""Begins the names of folders that zip files are unpacked to."""
Opened = TypeVar("Opened", bound=Closing)
_BLOCK = 1 << 20
_TRIES = 1000


def write_bundle(
    path: Path,
    manifest: Manifest,
    files: Mapping[str, Content],
    overwrite: bool = False,
    check: Callable[[Bundle], None] = lambda bundle: None,
) -> Manifest:
    """Write a bundle, whole or not at all. The same content gives the same bytes.

    Args:
        path: The bundle's folder itself; a name that ends in ``.zip`` makes one file.
        manifest: The contract; its ``files`` are filled in here.
        files: Content by file name, as bytes or as the path of a file to copy.
        overwrite: Replace a bundle that exists. Anything else than a bundle is never replaced.
        check: Is given what was written, opened as a device will; the bundle takes its place only if it raises nothing.

    Returns:
        The manifest as written, with digests and sizes.

    Raises:
        BundleError: If something is in the way, a file that the manifest speaks of is missing, writing fails (the
            folder cannot be written, the disk is full), or what was written cannot be opened. What was there before is
            still there then.
    """
    path = Path(os.path.abspath(path))
    _check_target(path, overwrite)
    for name in files:
        check_file_name(name)
    missing = [name for name in manifest.needed_files() if name not in files]
    if missing:
        raise BundleError(f"the manifest speaks of {', '.join(missing)}, which the bundle was not given.")
    with _wrapped(path), _scratch_folder(path) as scratch:
        staged = scratch / "bundle"
        sealed = _stage(staged, manifest, files)
        if path.suffix == ".zip":
            staged = archive.pack(staged, scratch / "bundle.zip", (FILE_NAME, *sorted(sealed.files)))
        _open_once(staged, path, check)
        _swap(staged, path, scratch)
    return sealed


class Bundle(Closing):
    """A checked bundle. A context manager: an unpacked ``.zip`` is removed at its end, or with the object.

    Attributes:
        manifest: The contract.
        folder: Where the files lie; all of them were compared with their digests.
    """

    def __init__(self, manifest: Manifest, folder: Path, unpacked: Scratch | None = None) -> None:
        self.manifest = manifest
        self.folder = folder
        self._unpacked = unpacked
        self._seen = _identity(folder)

    @classmethod
    def open(cls, path: str | Path, largest: int = limits.BUNDLE.most) -> Bundle:
        """Open a bundle and check all of it.

        Args:
            path: Its folder or its ``.zip``.
            largest: Most bytes that it may have, unpacked.

        Raises:
            BundleError: If it is missing, damaged, edited, hostile or of another version; the message names the file.
        """
        path, limit = Path(path), replace(limits.BUNDLE, most=largest)
        return whole(path, lambda: cls._open(path, limit))

    @classmethod
    def _open(cls, path: Path, limit: Limit) -> Bundle:
        with boundary(BundleError, f"{path}: cannot be opened"):
            if path.is_dir():
                return cls(_check_folder(path, limit), path)
            if not path.is_file():
                raise BundleError(f"{path}: no such bundle; expected a folder with {FILE_NAME}, or a .zip of one.")
            return cls._open_zip(path, limit)

    @classmethod
    def _open_zip(cls, path: Path, limit: Limit) -> Bundle:
        unpacked = Scratch(UNPACKED)
        try:
            archive.unpack(path, unpacked.folder, limit)
            return cls(_check_folder(unpacked.folder, limit), unpacked.folder, unpacked)
        except BaseException:
            unpacked.close()
            raise

    @property
    def engines(self) -> tuple[EngineEntry, ...]:
        """The artefacts; the first is the bundle's own."""
        return self.manifest.engines

    def path_of(self, name: str) -> Path:
        """Return the path of a file of the bundle.

        Raises:
            BundleError: If the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: the manifest lists no file '{name}'.")
        return self.folder / name

    def golden(self) -> Golden:
        """Read the golden frames and the outputs expected for them.

        Raises:
            BundleError: If they do not fit the manifest.
        """
        return read_golden(self.path_of(self.manifest.golden), self.manifest)

    def check_unchanged(self) -> None:
        """Refuse to go on with a folder that is another by now: files read since then may be of either.

        Raises:
            BundleError: If the bundle was replaced after it was opened.
        """
        if _identity(self.folder) != self._seen:
            raise BundleError(f"{self.folder}: it was replaced by another bundle meanwhile. Repeat the command.")

    def close(self) -> None:
        """Remove what was unpacked. A second call does nothing."""
        if self._unpacked is not None:
            self._unpacked.close()


def whole(path: Path, use: Callable[[], Opened]) -> Opened:
    """Return what ``use`` makes of the bundle at ``path``, all of it out of one and the same bundle.

    A bundle may be replaced while somebody reads it, and half of what is read is then another's. It is read again.

    Raises:
        EdgecnnError: What ``use`` raises of a bundle that was not replaced meanwhile.
        BundleError: If it is replaced again and again.
    """
    for _ in range(_TRIES):
        before = _identity(path)
        try:
            made = use()
        except EdgecnnError:
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:
                return made
            made.close()
    raise BundleError(f"{path}: it is replaced again and again, faster than it can be read.")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what is another for another file or folder at ``path``; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


@dataclass(frozen=True)
class Golden:
    """Golden frames and what the reference engine makes of them.

    Attributes:
        frames: uint8 (N, H, W, C) at the model's size.
        outputs: One array per output of the manifest: (N, ...) where the tensor is (1, ...), (N * k, ...) for (k, ...).
    """

    frames: npt.NDArray[np.uint8]
    outputs: tuple[npt.NDArray[np.generic], ...]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what is stored, by key: ``frames`` and ``out_<i>``."""
        return {"frames": self.frames} | {f"out_{index}": output for index, output in enumerate(self.outputs)}


def read_golden(path: Path, manifest: Manifest) -> Golden:
    """Read golden frames and check them against the manifest.

    Raises:
        BundleError: If the file is no ``.npz``, holds pickled objects, is too large, or an array does not fit.
    """
    arrays = read_npz(path, limits.ARRAYS, BundleError)
    specs = [("frames", manifest.input.tensor)]
    specs += [(f"out_{index}", output.tensor) for index, output in enumerate(manifest.outputs)]
    count = len(arrays["frames"]) if arrays.get("frames", np.empty(())).ndim else 0
    for key, spec in specs:
        # Outputs without a batch axis stand one below the other.
        expected = (count * spec.shape[0], *spec.shape[1:])
        array = arrays.get(key)
        if array is None or count == 0 or array.shape != expected or array.dtype.name != spec.dtype:
            came = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise BundleError(f"{path.name}: '{key}' must be {spec.dtype} {('N', *spec.shape[1:])}, got {came}.")
    return Golden(arrays["frames"].astype(np.uint8, copy=False), tuple(arrays[key] for key, _ in specs[1:]))


def digest_of(path: Path) -> FileEntry:
    """Return digest and size of a file, read in blocks."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileEntry(digest, stream.tell())


def _check_target(path: Path, overwrite: bool) -> None:
    """Refuse to write over anything, or with ``overwrite`` over anything but a bundle."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise BundleError(f"{path} exists already. Give another output, or allow it to be overwritten.")
    is_bundle = path.suffix == ".zip" if path.is_file() else (path / FILE_NAME).is_file() or _is_empty(path)
    if path.is_symlink() or not is_bundle:
        raise BundleError(f"{path} is no bundle and is not overwritten. Give another output.")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    """Turn what the system says into a `BundleError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BundleError(f"{path}: cannot be written: {reason}. Nothing was left behind or replaced.") from error


@contextmanager
def _scratch_folder(path: Path) -> Iterator[Path]:
    """Make a hidden folder beside ``path``, on the same file system, and remove it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Scratch(f".{path.name}.", ".partial", path.parent) as scratch:
        yield scratch.folder


def _stage(folder: Path, manifest: Manifest, files: Mapping[str, Content]) -> Manifest:
    """Write all files and the manifest to ``folder`` and flush them to the disk."""
    folder.mkdir()
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            _copy(content, stream)
            _flush(stream)
    sealed = replace(manifest, files={name: digest_of(folder / name) for name in sorted(files)})
    with (folder / FILE_NAME).open("wb") as stream:
        stream.write(sealed.dumps().encode())
        _flush(stream)
    return sealed


def _open_once(staged: Path, path: Path, check: Callable[[Bundle], None]) -> None:
    """Open what is to become the bundle at ``path``, and let it be checked."""
    try:
        with Bundle.open(staged) as written:
            check(written)
    except EdgecnnError as error:
        raise BundleError(
            f"{path}: what was written does not open and run again: {error} Nothing was left behind or replaced. This "
            "is a fault of edgecnn: please report it with the model."
        ) from error


def _copy(content: Content, stream: IO[bytes]) -> None:
    if isinstance(content, bytes):
        stream.write(content)
        return
    with content.open("rb") as source:
        shutil.copyfileobj(source, stream, _BLOCK)


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _swap(staged: Path, path: Path, scratch: Path) -> None:
    """Put ``staged`` at ``path`` in one step; what was there goes with ``scratch``.

    Where a folder stands and the file system cannot exchange two, it takes two renames: a process that is killed
    between them leaves no bundle at ``path``, and the old one in ``scratch`` until the next one is written.
    """
    if staged.is_file() or not path.exists():
        os.replace(staged, path)
    elif not exchange(staged, path):
        _swap_in_two_steps(staged, path, scratch / "old")
    _sync_folder(path.parent)


def _swap_in_two_steps(staged: Path, path: Path, old: Path) -> None:
    os.rename(path, old)
    try:
        os.rename(staged, path)
    except OSError:
        os.rename(old, path)
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check_folder(folder: Path, limit: Limit) -> Manifest:
    manifest = _read_manifest(folder / FILE_NAME)
    limit.check(sum(entry.size for entry in manifest.files.values()), folder, BundleError)
    missing = [name for name in manifest.needed_files() if name not in manifest.files]
    if missing:
        raise BundleError(f"{folder}: the manifest does not list '{missing[0]}', which the bundle needs.")
    _check_nothing_else(folder, manifest)
    for name, entry in sorted(manifest.files.items()):
        _check_file(folder, name, entry)
    return manifest


def _check_nothing_else(folder: Path, manifest: Manifest) -> None:
    """Refuse what the manifest does not list: no digest holds it, and an engine may read it all the same.

    The weights that an ONNX file keeps beside itself are such a thing: they could be edited afterwards.
    """
    files = {FILE_NAME, *manifest.files}
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for place, below, names in os.walk(folder):
        where = Path(place).relative_to(folder)
        found = {(where / name).as_posix() for name in names} - files
        found |= {(where / name).as_posix() for name in below} - folders
        if found:
            raise BundleError(
                f"{folder}: it holds '{min(found)}', which the manifest does not list. A bundle holds what is listed "
                "and nothing else: remove it, or fetch the bundle again."
            )


def _read_manifest(path: Path) -> Manifest:
    _check_regular(path, FILE_NAME)
    content = read_bytes(path, limits.MANIFEST, BundleError)
    with boundary(BundleError, f"{path}: cannot be read"):
        text = content.decode()
    try:
        return Manifest.loads(text)
    except BundleError as error:
        raise BundleError(f"{path.parent}: {error}") from error


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Compare one file with the manifest, its size first because that costs nothing."""
    path = folder
    for part in Path(name).parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise BundleError(f"{folder}: '{name}' lies behind a symbolic link; a bundle has none.")
    path = folder / name
    _check_regular(path, name)
    size = path.stat().st_size
    if size != entry.size:
        raise BundleError(f"{folder}: '{name}' has {size} bytes, the manifest says {entry.size}: damaged or edited.")
    try:
        found = digest_of(path).sha256
    except OSError as error:
        raise BundleError(f"{folder}: '{name}' cannot be read: {error.strerror or error}.") from error
    if found != entry.sha256:
        raise BundleError(f"{folder}: '{name}' is not what the manifest says (SHA-256 differs): damaged or edited.")


def _check_regular(path: Path, name: str) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise BundleError(f"{path.parent}: '{name}' is missing: this is no bundle, or not all of it.") from error
    if not stat.S_ISREG(mode):
        raise BundleError(f"{path.parent}: '{name}' must be a regular file, no link, folder or device.")
