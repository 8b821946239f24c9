from __future__ import annotations

import pytest

from edgecnn.errors import OptionError
from edgecnn.runtime.web.access import Access, cookie_name, is_loopback

TOKEN = "correct horse battery"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Access(host).admits({}, 80)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "raspberrypi.local", "", "localhost.evil.example"])
def test_any_other_address_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(OptionError, match="EDGECNN_TOKEN"):
        Access(host)
    assert not Access(host, TOKEN).admits({}, 80)


def test_a_short_token_is_refused_and_not_repeated() -> None:
    with pytest.raises(OptionError, match="at least 16 characters") as caught:
        Access("0.0.0.0", "hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_token_comes_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_TOKEN", TOKEN)
    assert Access.of("0.0.0.0", None).token == TOKEN
    assert Access.of("127.0.0.1", "").token == ""
    monkeypatch.delenv("EDGECNN_TOKEN")
    with pytest.raises(OptionError, match="EDGECNN_TOKEN"):
        Access.of("[::]", None)


def test_the_token_opens_as_bearer_and_as_cookie_and_nothing_else_does() -> None:
    access = Access("0.0.0.0", TOKEN)
    cookie = f"other=1; {cookie_name(80)}={access.cookie}"
    assert access.admits({"authorization": f"Bearer {TOKEN}"}, 80)
    assert access.admits({"authorization": f"bearer  {TOKEN}"}, 80)
    assert access.admits({"cookie": cookie}, 80)
    assert not access.admits({"cookie": cookie}, 81)
    assert not access.admits({"cookie": f"{cookie_name(80)}={TOKEN}"}, 80)
    for wrong in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer ü"):
        assert not access.admits({"authorization": wrong}, 80), wrong
    assert not access.admits({"cookie": '"; edgecnn_80'}, 80)


def test_the_cookie_does_not_tell_the_token_and_stays_the_same() -> None:
    assert Access("0.0.0.0", TOKEN).cookie == Access("::", TOKEN).cookie
    assert Access("0.0.0.0", TOKEN).cookie != Access("0.0.0.0", TOKEN + "x").cookie
    assert TOKEN not in Access("0.0.0.0", TOKEN).cookie


def test_an_empty_token_is_never_right() -> None:
    assert not Access("127.0.0.1").is_token("")


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:8080", "[::1]"])
def test_names_of_this_machine_are_known(name: str) -> None:
    assert Access("127.0.0.1").knows(name)


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::2]:80", "10.0.0.1"]
)
def test_other_names_are_not_known_on_loopback(name: str) -> None:
    assert not Access("127.0.0.1").knows(name)
    assert Access("0.0.0.0", TOKEN).knows(name)
