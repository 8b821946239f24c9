"""Answers to a camera's challenge, against those of RFC 7616, section 3.9.1, and RFC 2069."""

from __future__ import annotations

import re

import pytest

from edgecnn.runtime.address import Address
from edgecnn.runtime.sources import _login
from edgecnn.runtime.sources._login import Challenge, Login

NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OF_RFC = (
    f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={{}}, nonce="{NONCE}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def login(user: str) -> Login:
    return Login(Address.parse(f"http://{user}@camera/"))


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_the_rfc(algorithm: str, response: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr(_login.secrets, "token_hex", lambda count: client)
    mufasa = login("Mufasa:Circle of Life")

    assert mufasa.learn([OF_RFC.format(algorithm)])
    assert mufasa.headers("/dir/index.html")["Authorization"] == (
        f'Digest username="Mufasa", realm="http-auth@example.org", nonce="{NONCE}", uri="/dir/index.html", '
        f'response="{response}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", algorithm={algorithm}, '
        f'qop=auth, nc=00000001, cnonce="{client}"'
    )
    assert "nc=00000002" in mufasa.headers("/dir/index.html")["Authorization"]


def test_a_camera_of_before_1999() -> None:
    mufasa = login("Mufasa:CircleOfLife")

    assert mufasa.learn(
        [
            'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
            'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        ]
    )
    # RFC 2069, section 2.4, as corrected by its erratum 749.
    found = re.search(r'response="(\w+)"', mufasa.headers("/dir/index.html")["Authorization"])
    assert found is not None
    assert found[1] == "1949323746fe6a43ef61f9606e7febea"


def test_digest_comes_before_basic_and_nothing_before_a_challenge() -> None:
    line = login("line:word")
    assert line.headers("/") == {}
    assert line.learn(['Basic realm="camera"', OF_RFC.format("MD5")])
    assert line.headers("/")["Authorization"].startswith("Digest ")
    assert line.learn([OF_RFC.format("SHA-512-256"), 'Basic realm="camera"'])
    assert line.headers("/") == {"Authorization": "Basic bGluZTp3b3Jk"}
    assert line.learn([])
    assert line.headers("/") == {"Authorization": "Basic bGluZTp3b3Jk"}


@pytest.mark.parametrize("text", ["NTLM", 'Digest realm="x"', OF_RFC.format("SHA-512-256"), 'Digest nonce="x', ""])
def test_what_cannot_be_answered(text: str) -> None:
    assert Challenge.parse(text) is None
    assert not login("line:word").learn([text])
    assert not Login(Address.parse("http://camera/")).learn([OF_RFC.format("MD5")])
