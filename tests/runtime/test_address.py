"""Addresses: taken apart and decoded in one place, and shown without a secret."""

from __future__ import annotations

import pytest

from edgecnn.errors import OptionError, SourceError
from edgecnn.runtime.address import Address, redacted, safe_text

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("line:p%40ss%2Fw%3Ard%25", ("line", "p@ss/w:rd%")),
        ("factory%5Cline:pw", ("factory\\line", "pw")),
        ("line:p@ss", ("line", "p@ss")),
        ("line:a:b+c", ("line", "a:b+c")),
        ("line:100%", ("line", "100%")),
        ("%C3%BCser:", ("\u00fcser", "")),
        ("token", ("token", None)),
        ("line:${CAMERA_PASSWORD}", ("line", "p%40ss@/?#")),
        ("line:%24${CAMERA_PASSWORD}%24", ("line", "$p%40ss@/?#$")),
    ],
)
def test_user_and_password_are_decoded_once(
    user: str, expected: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "p%40ss@/?#")
    address = Address.parse(f"rtsp://{user}@cam:554/1?x=2")

    assert (address.username, address.password) == expected
    assert (address.host, address.port, address.path, address.query) == ("cam", 554, "/1", {"x": "2"})
    assert Address.parse(address.url).url == address.url
    assert str(address) == "rtsp://***@cam:554/1?x=***"


def test_the_parts_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_HOST", "Cam-7.example")
    monkeypatch.setenv("CAM_PORT", "8554")
    named = Address.parse("rtsp://${CAM_HOST}:${CAM_PORT}/1")
    numbered = Address.parse("http://[fe80::1]:81?a=b")

    assert (named.host, named.port, named.url) == ("Cam-7.example", 8554, "rtsp://Cam-7.example:8554/1")
    assert (numbered.host, numbered.port, numbered.target()) == ("fe80::1", 81, "/?a=b")
    assert Address.parse("webhook:https://me:pw@host/a b?c=\u00e4").target() == "/a%20b?c=%C3%A4"
    assert Address.parse("https://cam/1?a=b&ca=${CAM_PORT}&c").target(["ca"]) == "/1?a=b&c"
    assert Address.parse("https://cam?ca=x").target(["ca"]) == "/"
    assert Address.parse("jsonl:logs/a@b%20c.jsonl").path == "logs/a@b%20c.jsonl"
    assert Address.parse("gpio://17?invalid=27").host == "17"


def test_a_variable_may_hold_all_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA", f"rtsp://line:{SECRET}@cam/1")
    address = Address.parse("${CAMERA}")

    assert (address.scheme, address.password) == ("rtsp", SECRET)
    assert str(address) == "rtsp://***@cam/1"


LEAKS = [
    "mqtt://admin:{}@ss@host/topic",
    "mqtt://admin:p@{}@host/topic",
    "http://admin:p%2F{}@host/1",
    "http://{}@host/1",
    "webhook:https://{}@host/1",
    "webhook:https://me:p {}@host/1",
    "HTTPS://admin:{}@host/1",
    *(
        f"http://host/video.cgi?{name}={{}}&channel=1"
        for name in ("loginpas", "psw", "pwd", "usr", "user", "sid", "PASSWORD", "api_key", "sig", "x", "camera_pin")
    ),
    "http://host/video.cgi?channel=1;pw={}",
    "http://host/video.cgi?{}",
    "http://host/video.cgi?channel=1_password={}",
    "rtsp://host:554/user=admin_password={}_channel=1_stream=0.sdp?real_stream",
    "rtsp://host/user=admin&password={}&channel=1/0",
    "rtsp://host/live;user=admin;pwd={}",
    "webhook:https://hooks.example/services/T01/B02/{}abcdefghij0123456789",
    "webhook:https://api.example/bot123456:AAF-{}_abcdefghij0123456789/send",
    "webhook:https://host/hook/3f2a77aa-1b2c-{}-aaaa-0123456789ab".replace("-{}-", "-4d5e-{}"),
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_form_of_an_address_shows_a_secret(text: str) -> None:
    address = Address.parse(text.format(SECRET))
    message = redacted(f"{text.format(SECRET).replace(' ', '')}: cannot be opened. Is it on?")

    for shown in (str(address), repr(address), f"{[address]}", message, redacted(str(address))):
        assert SECRET not in shown
        assert "admin" not in shown.replace("user=admin", "")
    assert message.endswith(": cannot be opened. Is it on?")
    assert redacted(message) == message


@pytest.mark.parametrize(
    "text",
    [
        "http://admin:p/{}@host/1",
        "http://admin:p?{}@host/1",
        "http://admin:p#{}@host/1",
        "http://to/{}@host/1",
        "http://admin:{}/1",
        "mqtt://host:{}",
        "http://host/?to=me@{}.example".replace("@{}", "{}@there"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(OptionError, match=r"%2F|a port is a number") as raised:
        Address.parse(text.format(SECRET))

    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("text", ["rtsp:admin:{}@host/1", "rtsp:/admin:{}@host/1", "//admin:{}@host/1"])
def test_an_address_with_too_few_slashes_shows_nothing_either(text: str) -> None:
    assert SECRET not in str(Address.parse(text.format(SECRET)))
    assert SECRET not in redacted(f"no such file: {text.format(SECRET)}")


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:554/Streaming/Channels/101",
        "rtsp://cam/cam/realmonitor?channel=2&subtype=1",
        "http://[fe80::1]:81/axis-cgi/mjpg/video.cgi?resolution=640x480&fps=10",
        "rtsp://cam/h264Preview_01_main",
        "mqtt://broker:1883/factory/line-3?qos=1&every=turn",
        "modbus://plc/coil/0?heartbeat=2",
        "gpio://17?invalid=27&active=low",
        "prometheus://127.0.0.1:9464",
        "jsonl:logs/verdicts@line3.jsonl?max_mb=10",
        "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_0123456789ABCDEF-video-index0",
        "conveyor:?seed=3&faults=black,lost",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert str(Address.parse(text)) == text
    assert redacted(f"{text}: no answer.") == f"{text}: no answer."


def test_errors_of_others_are_shown_with_their_type() -> None:
    assert safe_text(ValueError("http://a:b@c/x?k=v, twice")) == "ValueError: http://***@c/x?k=***, twice"
    assert safe_text(SourceError("rtsp://a:b@c: lost.")) == "rtsp://***@c: lost."
