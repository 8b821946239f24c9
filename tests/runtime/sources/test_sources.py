"""What holds for every kind of source."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecnn import plugins
from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime import sources
from edgecnn.runtime.address import Address
from tests.runtime.sources.addresses import made
from tests.servers.mjpeg import MjpegServer
from tests.waiting import until

KINDS = sources.kinds()


def test_all_kinds_are_there() -> None:
    assert KINDS == ["camera", "conveyor", "csi", "folder", "http", "pipe", "road", "rtsp", "video"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_keeps_its_promises(kind: str) -> None:
    module = plugins.load(sources.PACKAGE, kind)
    address = Address.parse(module.EXAMPLE)
    source = module.source(address)

    assert module.__doc__
    assert isinstance(module.LIVE, bool)
    assert sources.module_for(address) is module
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read()
    source.close()


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://{user}:{word}@127.0.0.1:9/live?token={word}",
        "rtsps://{user}:{word}@127.0.0.1:9/live",
        "http://{user}:{word}@127.0.0.1:9/live?password={word}&x=1",
        "https://{user}:{word}@127.0.0.1:9/live?key={word}",
        "http://{user}:{word}@127.0.0.1:9/a b\u00e4?token={word}",
    ],
)
@pytest.mark.parametrize("is_variable", [True, False], ids=["variable", "plain"])
def test_no_error_tells_a_secret(text: str, is_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_WORD", "s3cr3t-w0rd")
    word = "${SECRET_WORD}" if is_variable else "s3cr3t-w0rd"
    source = made(text.format(user="line-operator", word=word))
    with pytest.raises(SourceError) as raised:
        source.open()

    told = "".join(traceback.format_exception(raised.value)) + repr(source)
    assert "s3cr3t-w0rd" not in told
    assert "line-operator" not in told
    assert "127.0.0.1:9" in str(raised.value)


def test_plain_paths_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    os.mkfifo(tmp_path / "fifo")
    found = {
        text: sources.module_for(Address.parse(text)).__name__.rpartition(".")[2]
        for text in ("0", "/dev/v4l/by-id/usb-Cam", "-", str(tmp_path), f"{tmp_path}/clip.mp4", f"{tmp_path}/fifo")
    }

    assert list(found.values()) == ["camera", "camera", "pipe", "folder", "video", "pipe"]


def test_what_is_no_source() -> None:
    with pytest.raises(OptionError, match="no such file, folder or camera"):
        made("gone.mp4")
    with pytest.raises(OptionError, match=r"unknown source 'rstp:'.*Did you mean 'rtsp:'"):
        made("rstp://camera/1")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_no_descriptor_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("folder", "pipe"):
        monkeypatch.setattr(plugins.load(sources.PACKAGE, kind), "WAIT_SECONDS", 0.05)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "no.mp4").write_bytes(b"no video")
    os.mkfifo(tmp_path / "fifo")
    with MjpegServer() as server:
        addresses = [
            server.url,
            server.url_of("/snapshot.jpg"),
            server.url_of("/nothing"),
            f"folder:{tmp_path}?watch=1",
        ]
        addresses += [
            f"{tmp_path}/fifo",
            f"{tmp_path}/no.mp4",
            "http://127.0.0.1:9/",
            "rtsp://127.0.0.1:9/",
            "camera:97",
        ]

        def use_all() -> None:
            for address in addresses:
                source = made(address)
                with suppress(SourceError):
                    source.open()
                    source.read()
                source.close()

        use_all()
        # The server's own ends close a little later.
        until(lambda: server.streams == 0, "the streams' end")
        before = descriptors()
        for _ in range(3):
            use_all()
        until(lambda: server.streams == 0 and descriptors() <= before, "as few descriptors as before")
