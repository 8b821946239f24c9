from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn import limits
from edgecnn.arrays import read_npz, write_npz
from edgecnn.errors import BundleError, EngineError
from edgecnn.manifest import Manifest, check_file_name
from edgecnn.runtime import bundle as bundle_module
from edgecnn.runtime.bundle import UNPACKED, Bundle, Content, Golden, write_bundle
from edgecnn.runtime.exchange import exchange
from edgecnn.runtime.scratch import Scratch, sweep

MakeBundle = Callable[..., Path]

FILE_LIMIT = """
import resource, sys
from pathlib import Path
from edgecnn.errors import BundleError
from edgecnn.manifest import Manifest
from edgecnn.runtime import bundle as bundle_module
from edgecnn.runtime.bundle import write_bundle

manifest = Manifest.loads(Path(sys.argv[2]).read_text())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
files = {name: bytes(100) for name in manifest.files} | {"model.onnx": bytes(100_000)}
try:
    write_bundle(Path(sys.argv[1]), manifest, files, overwrite=True)
except BundleError as error:
    print(error)
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_read_back(make_bundle: MakeBundle, files: dict[str, Content], golden: Golden) -> None:
    with Bundle.open(make_bundle()) as opened:
        assert set(opened.manifest.files) == set(files)
        assert opened.path_of("model.onnx").read_bytes() == files["model.onnx"]
        assert opened.engines[0].name == "onnxruntime"
        read = opened.golden()
        assert np.array_equal(read.frames, golden.frames)
        assert np.array_equal(read.outputs[0], golden.outputs[0])
        with pytest.raises(BundleError, match="lists no file 'other'"):
            opened.path_of("other")


def test_a_zip_is_unpacked_and_removed(make_bundle: MakeBundle, files: dict[str, Content]) -> None:
    opened = Bundle.open(make_bundle("tiny.zip"))
    path = opened.path_of("model.onnx")
    assert path.read_bytes() == files["model.onnx"]
    opened.close()
    opened.close()
    assert not path.parent.exists()


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_the_same_content_gives_the_same_bytes(make_bundle: MakeBundle, suffix: str) -> None:
    first, second = make_bundle(f"a{suffix}"), make_bundle(f"b{suffix}")
    if suffix:
        assert first.read_bytes() == second.read_bytes()
    else:
        assert snapshot(first) == snapshot(second)


def test_files_in_folders_and_from_paths(tmp_path: Path, manifest: Manifest, files: dict[str, Content]) -> None:
    (tmp_path / "page").write_bytes(b"<html>")
    sealed = write_bundle(tmp_path / "b", manifest, files | {"report/index.html": tmp_path / "page"})
    assert sealed.files["report/index.html"].size == 6
    with Bundle.open(tmp_path / "b") as opened:
        assert opened.path_of("report/index.html").read_bytes() == b"<html>"


def test_what_exists_is_not_overwritten_unless_asked(make_bundle: MakeBundle, manifest: Manifest) -> None:
    path = make_bundle()
    before = snapshot(path)
    with pytest.raises(BundleError, match="exists already"):
        make_bundle()
    assert snapshot(path) == before
    content = {name: path.joinpath(name).read_bytes() for name in before if name != "manifest.json"}
    write_bundle(path, manifest, content | {"new.txt": b"new"}, overwrite=True)
    assert set(snapshot(path)) == {*before, "new.txt"}
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_what_is_no_bundle_is_never_overwritten(tmp_path: Path, manifest: Manifest, files: dict[str, Content]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name in ("photos", "file", "link"):
        with pytest.raises(BundleError, match="is no bundle and is not overwritten"):
            write_bundle(tmp_path / name, manifest, files, overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"precious"


def test_a_file_that_the_manifest_needs_is_missing(
    tmp_path: Path, manifest: Manifest, files: dict[str, Content]
) -> None:
    with pytest.raises(BundleError, match=r"speaks of golden\.npz"):
        write_bundle(tmp_path / "b", manifest, {k: v for k, v in files.items() if k != "golden.npz"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_what_does_not_pass_its_check_is_not_left(
    tmp_path: Path, manifest: Manifest, files: dict[str, Content], name: str
) -> None:
    def refuse(written: Bundle) -> None:
        assert written.golden().frames.dtype == np.uint8
        raise EngineError("the file cannot be loaded.")

    with pytest.raises(BundleError, match=rf"{name}: what was written does not open and run again: the file cannot"):
        write_bundle(tmp_path / name, manifest, files, check=refuse)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(manifest: Manifest, files: dict[str, Content], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (Path("/proc"), tmp_path / "file"):
        with pytest.raises(BundleError, match=r"cannot be written: .*Nothing was left behind"):
            write_bundle(folder / "bundle", manifest, files)


def test_a_disk_that_fills_up_leaves_the_old_bundle(make_bundle: MakeBundle) -> None:
    path = make_bundle()
    before = snapshot(path)
    command = [sys.executable, "-c", FILE_LIMIT, str(path), str(path / "manifest.json")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be written: File too large" in printed
    assert snapshot(path) == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_rename_that_fails_puts_the_old_bundle_back(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file system cannot exchange two folders."""
    path = make_bundle()
    before = snapshot(path)
    rename = os.rename
    monkeypatch.setattr(bundle_module, "exchange", lambda first, second: False)

    def refuse_the_new_one(source: Path, target: Path) -> None:
        if source.name == "bundle":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(bundle_module.os, "rename", refuse_the_new_one)
    with pytest.raises(BundleError, match="Input/output error"):
        write_bundle(path, manifest, files, overwrite=True)
    assert snapshot(path) == before


def test_a_damaged_file_is_named(make_bundle: MakeBundle) -> None:
    path = make_bundle()
    model = path / "model.onnx"
    data = bytearray(model.read_bytes())
    data[100] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"'model.onnx' is not what the manifest says \(SHA-256 differs\)"):
        Bundle.open(path)
    model.write_bytes(data[:-1])
    with pytest.raises(BundleError, match=r"'model.onnx' has \d+ bytes, the manifest says \d+"):
        Bundle.open(path)
    model.unlink()
    with pytest.raises(BundleError, match=r"'model.onnx' is missing"):
        Bundle.open(path)


def test_a_hand_edited_manifest_is_refused(make_bundle: MakeBundle) -> None:
    path = make_bundle(task="defect") / "manifest.json"
    path.write_text(path.read_text().replace('"scratch": 0.5', '"scratch": 0.9'))
    with pytest.raises(BundleError, match="edited after the bundle was written"):
        Bundle.open(path.parent)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(BundleError, match=r"'manifest.json' is missing"):
        Bundle.open(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match=r"not a readable .zip"):
        Bundle.open(tmp_path / "a.zip")
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(tmp_path)
    with (tmp_path / "manifest.json").open("wb") as stream:
        stream.truncate(limits.MANIFEST.most + 1)
    with pytest.raises(BundleError, match="4194305 bytes are more than the 4194304 that a manifest may have"):
        Bundle.open(tmp_path)


def test_links_are_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    path = make_bundle()
    os.replace(path / "model.onnx", tmp_path / "elsewhere")
    (path / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"'model.onnx' must be a regular file, no link"):
        Bundle.open(path)


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path, manifest: Manifest, files: dict[str, Content]) -> None:
    write_bundle(tmp_path / "b", manifest, files | {"sub/x": b"x"})
    os.rename(tmp_path / "b" / "sub", tmp_path / "elsewhere")
    (tmp_path / "b" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="'sub/x' lies behind a symbolic link"):
        Bundle.open(tmp_path / "b")


def test_a_bundle_larger_than_allowed(make_bundle: MakeBundle) -> None:
    for name in ("tiny", "tiny.zip"):
        with pytest.raises(BundleError, match="more than the 1000 that a bundle may have"):
            Bundle.open(make_bundle(name), largest=1000)


def rezipped(source: Path, target: Path, **members: Any) -> Path:
    """Copy a zip file and add members: name (``ZipInfo`` or text) to content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for member, content in members["extra"]:
            new.writestr(member, content)
    return target


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "C:/evil"])
def test_zip_members_that_leave_the_bundle(make_bundle: MakeBundle, tmp_path: Path, name: str) -> None:
    before = set(Path(tmp_path.parent).iterdir())
    path = rezipped(make_bundle("tiny.zip"), tmp_path / "evil.zip", extra=[(name, b"evil")])
    with pytest.raises(BundleError, match="no plain relative path inside the bundle"):
        Bundle.open(path)
    assert set(Path(tmp_path.parent).iterdir()) == before


def test_zip_members_that_are_links_or_come_twice(make_bundle: MakeBundle, tmp_path: Path) -> None:
    source = make_bundle("tiny.zip")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(BundleError, match="'link' must be a regular file, no link"):
        Bundle.open(rezipped(source, tmp_path / "a.zip", extra=[(link, b"/etc/passwd")]))
    with pytest.raises(BundleError, match="a member is there twice"):
        Bundle.open(rezipped(source, tmp_path / "b.zip", extra=[("MODEL.onnx", b"x")]))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(make_bundle: MakeBundle, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new, new.open("zeros", "w", force_zip64=True) as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(BundleError, match="it unpacks to 67108864 bytes"):
        Bundle.open(bomb, largest=1 << 20)


def test_a_cut_off_or_altered_zip(make_bundle: MakeBundle, tmp_path: Path) -> None:
    data = bytearray(make_bundle("tiny.zip").read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    data[200] ^= 0xFF
    (tmp_path / "bits.zip").write_bytes(data)
    for name in ("cut.zip", "bits.zip"):
        with pytest.raises(BundleError, match=r"not a readable .zip|manifest|SHA-256"):
            Bundle.open(tmp_path / name)


def test_golden_frames_with_code_in_them_are_not_run(make_bundle: MakeBundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", frames=np.asarray([{}], dtype=object))
    path = make_bundle("evil", golden__npz=tmp_path / "evil.npz")
    with pytest.raises(BundleError, match=r"golden.npz: not a readable .npz: Object arrays cannot be loaded"):
        Bundle.open(path).golden()


def test_golden_frames_that_do_not_fit(make_bundle: MakeBundle, tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    cases = [
        ({"frames": frames}, r"'out_0' must be uint8 \('N', 4\), got nothing"),
        ({"frames": frames[:0], "out_0": np.zeros((0, 4), np.uint8)}, "'frames' must be"),
        ({"frames": frames, "out_0": np.zeros((1, 4), np.uint8)}, r"'out_0' must be .*, got uint8 \(1, 4\)"),
        ({"out_0": np.zeros((2, 4), np.uint8)}, "'frames' must be"),
        ({"frames": np.zeros((2, 8, 8, 3), np.int16)}, "got int16"),
    ]
    for index, (arrays, message) in enumerate(cases):
        write_npz(tmp_path / "golden.npz", arrays)
        path = make_bundle(f"b{index}", golden__npz=tmp_path / "golden.npz")
        with pytest.raises(BundleError, match=message):
            Bundle.open(path).golden()


def test_an_npz_bomb_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", frames=np.zeros(1 << 20, np.uint8))
    with pytest.raises(BundleError, match="unpacks to"):
        read_npz(tmp_path / "a.npz", replace(limits.ARRAYS, most=1000), BundleError)


def test_names_are_checked_before_anything_is_written(
    tmp_path: Path, manifest: Manifest, files: dict[str, Content]
) -> None:
    with pytest.raises(BundleError, match="no plain relative path"):
        write_bundle(tmp_path / "b", manifest, files | {"../evil": b""})
    assert list(tmp_path.iterdir()) == []


def test_every_listed_name_is_one_that_may_be_written(make_bundle: MakeBundle) -> None:
    document = json.loads((make_bundle() / "manifest.json").read_text())
    for name in document["files"]:
        check_file_name(name)
    assert Manifest.loads(json.dumps(document)).name == "tiny"


@pytest.mark.parametrize("name", ["model.bin", "weights.data", ".hidden", "sub/deep/x", "MANIFEST.JSON"])
def test_a_file_that_is_not_listed_is_refused(make_bundle: MakeBundle, tmp_path: Path, name: str) -> None:
    path = make_bundle()
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(b"no digest holds this")
    with pytest.raises(BundleError, match=f"it holds '{name.split('/')[0]}', which the manifest does not list"):
        Bundle.open(path)
    zipped = rezipped(make_bundle("tiny.zip"), tmp_path / "more.zip", extra=[(name, b"x")])
    with pytest.raises(BundleError, match=r"which the manifest does not list|is there twice"):
        Bundle.open(zipped)


def test_a_link_or_an_empty_folder_that_is_not_listed_is_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    for number, add in enumerate((Path.mkdir, lambda path: path.symlink_to(tmp_path), os.mkfifo)):
        path = make_bundle(f"b{number}")
        add(path / "more")
        with pytest.raises(BundleError, match="it holds 'more', which the manifest does not list"):
            Bundle.open(path)


def test_an_unpacked_zip_is_removed_without_close(make_bundle: MakeBundle) -> None:
    opened = Bundle.open(make_bundle("tiny.zip"))
    folder = opened.folder
    assert folder.is_dir()
    del opened
    gc.collect()
    assert not folder.exists()


LEFT = """
import sys
from edgecnn.runtime.bundle import Bundle
opened = Bundle.open(sys.argv[1])
print(opened.folder, flush=True)
sys.stdin.readline()
if sys.argv[2] == "raise":
    raise ZeroDivisionError
"""


@pytest.mark.parametrize("end", ["return", "raise", "kill"])
def test_what_a_process_has_unpacked_goes_with_it(make_bundle: MakeBundle, tmp_path: Path, end: str) -> None:
    """At once where the process ends; with the next one that unpacks something where it was killed."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = make_bundle("tiny.zip")
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", LEFT, str(path), end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        assert folder.parent == temporary
        sweep(temporary, UNPACKED, ".scratch")
        assert (folder / "manifest.json").is_file(), "somebody works in it"
        if end == "kill":
            child.kill()
        child.communicate("\n")
    if end == "kill":
        assert folder.exists()
        subprocess.run([sys.executable, "-c", LEFT, str(path), end], input="\n", env=environment, text=True, check=True)
    assert list(temporary.iterdir()) == []


def test_what_a_killed_writer_has_left_is_removed_by_the_next(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content]
) -> None:
    path = make_bundle()
    left, held = path.parent / ".tiny.abc.partial", Scratch(".tiny.", ".partial", path.parent)
    (left / "bundle").mkdir(parents=True)
    (left / "bundle" / "model.onnx").write_bytes(b"half of")
    write_bundle(path, manifest, files, overwrite=True)
    assert not left.exists()
    assert held.folder.is_dir(), "somebody works in it"
    held.close()
    assert [item.name for item in path.parent.iterdir()] == ["tiny"]


def test_a_bundle_is_replaced_in_one_step(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle()
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *paths: pytest.fail(f"two steps: {paths}"))
    write_bundle(path, manifest, files | {"new.txt": b"new"}, overwrite=True)
    monkeypatch.setattr(os, "rename", rename)
    with Bundle.open(path) as opened:
        assert opened.path_of("new.txt").read_bytes() == b"new"


def test_an_exchange_that_is_refused_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_again(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the manifest and the files: half of what was read is the old bundle's."""
    path = make_bundle()
    read, replaced = bundle_module._read_manifest, []

    def read_and_replace(where: Path) -> Manifest:
        found = read(where)
        if where.parent == path and len(replaced) < 3:
            replaced.append(found)
            write_bundle(path, manifest, files | {"new.txt": str(len(replaced)).encode()}, overwrite=True)
        return found

    monkeypatch.setattr(bundle_module, "_read_manifest", read_and_replace)
    with Bundle.open(path) as opened:
        assert opened.path_of("new.txt").read_bytes() == b"3"
    assert len(replaced) == 3


def test_a_model_is_of_one_bundle(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine is not that of a bundle which came after the manifest was read."""
    from edgecnn.runtime import model as model_module

    path, loads = make_bundle(), []
    load_entry = model_module.load_entry

    def replace_and_load(bundle: Bundle, *rest: Any) -> Any:
        loads.append(bundle.manifest.files)
        if len(loads) == 1:
            write_bundle(path, manifest, files | {"new.txt": b"new"}, overwrite=True)
        return load_entry(bundle, *rest)

    monkeypatch.setattr(model_module, "load_entry", replace_and_load)
    with model_module.load(path) as loaded:
        assert "new.txt" in loaded.manifest.files
    assert len(loads) == 2


def test_work_on_a_bundle_that_was_replaced_meanwhile_is_refused(
    make_bundle: MakeBundle, manifest: Manifest, files: dict[str, Content]
) -> None:
    path = make_bundle()
    with Bundle.open(path) as opened:
        opened.check_unchanged()
        write_bundle(path, manifest, files | {"new.txt": b"new"}, overwrite=True)
        with pytest.raises(BundleError, match="was replaced by another bundle meanwhile"):
            opened.check_unchanged()
    with Bundle.open(make_bundle("tiny.zip")) as opened:
        opened.check_unchanged()
