from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files

import cv2
import numpy as np
import pytest

from edgecnn.errors import OptionError, SinkError
from edgecnn.runtime.loop.observation import Part
from edgecnn.runtime.web import page as page_module
from edgecnn.runtime.web.page import Page
from edgecnn.vision.results import Verdict
from tests.clock import Clock
from tests.runtime.web.conftest import Line, ask, port_of
from tests.waiting import until

Serve = Callable[..., Page]
TOKEN = "correct horse battery"
PATHS = ("/", "/page.css", "/page.js", "/state.json", "/live.jpg", "/events/1.jpg", "/metrics", "/healthz", "/nothing")


def picture_of(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_the_page_and_its_files_are_served_with_their_types(serve: Serve) -> None:
    page = serve()
    for path, kind in (
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/plots.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ):
        answer = ask(page, path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        name = "index.html" if path == "/" else path[1:]
        assert answer.body == (files("edgecnn.runtime.web") / name).read_bytes()


def test_every_answer_has_the_headers_of_safety(serve: Serve) -> None:
    page = serve()
    for path in PATHS:
        headers = ask(page, path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_the_page_names_no_other_place_and_has_no_inline_script() -> None:
    html = (files("edgecnn.runtime.web") / "index.html").read_text()
    everything = html + "".join(
        (files("edgecnn.runtime.web") / name).read_text() for name in ("page.css", "page.js", "plots.js")
    )
    assert [part for part in everything.split("http")[1:] if not part.startswith("://www.w3.org/2000/svg")] == []
    assert "<script>" not in html
    assert "style=" not in html
    assert "onclick" not in html
    assert "innerHTML" not in everything


def test_state_follows_the_observations(serve: Serve, line: Line) -> None:
    page = serve()
    assert json.loads(ask(page, "/state.json").body)["now"] is None
    page.send(line.see(Verdict.REJECT, 0.75))
    until(lambda: json.loads(ask(page, "/state.json").body)["now"] is not None, "the news")
    content = json.loads(ask(page, "/state.json").body)
    assert content["now"]["threshold"] == 0.5
    assert content["state"] == "REJECT"
    assert content["source"] == "rtsp://***@cam/1"


def test_the_live_picture_is_the_newest_with_its_number_as_tag(serve: Serve, line: Line) -> None:
    page = serve()
    assert ask(page, "/live.jpg").status == 204
    page.send(line.see(Verdict.PASS))
    answer = ask(page, "/live.jpg")
    assert (answer.status, answer.headers["etag"], answer.headers["content-type"]) == (200, '"1"', "image/jpeg")
    picture = picture_of(answer.body)
    assert picture.shape == (360, 480, 3)
    assert picture[0, 240] == pytest.approx((68, 128, 18), abs=12)
    again = ask(page, "/live.jpg", If_None_Match='"1"')
    assert (again.status, again.body) == (304, b"")


def test_without_a_frame_the_old_picture_is_gone(serve: Serve, line: Line) -> None:
    page = serve()
    line.image = np.full((90, 120, 3), 200, np.uint8)
    page.send(line.see(Verdict.PASS))
    page.send(line.see(Verdict.INVALID, frame=False))
    picture = picture_of(ask(page, "/live.jpg").body)
    assert picture[0, 240] == pytest.approx((0, 196, 255), abs=12)
    assert picture[180, 320].max() < 60


def test_pictures_of_events_are_kept_and_others_are_not_found(serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    page.send(line.see(Verdict.REJECT))
    answer = ask(page, "/events/2.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert picture_of(answer.body)[0, 240] == pytest.approx((32, 24, 196), abs=12)
    for path in ("/events/1.jpg", "/events/3.jpg", f"/events/{'9' * 40}.jpg", f"/events/{'9' * 6000}.jpg"):
        assert ask(page, path).status == 404


def test_metrics_are_those_of_prometheus(serve: Serve) -> None:
    pytest.importorskip("prometheus_client", reason="needs edgecnn[prometheus]")
    answer = ask(serve(), "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert "edgecnn_frames_total 1234.0" in lines
    assert any(line.startswith("edgecnn_info{") and 'bundle="tile"' in line for line in lines)


def test_health_is_bad_before_the_first_turn_and_when_news_stay_away(
    serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(page_module, "time", clock)
    page = serve()
    assert ask(page, "/healthz").status == 503
    page.send(line.see(Verdict.INVALID, frame=False))
    clock.sleep(page_module.STALE_SECONDS)
    answer = ask(page, "/healthz")
    assert answer.status == 200
    assert json.loads(answer.body)["state"] == "INVALID"
    clock.sleep(0.1)
    answer = ask(page, "/healthz")
    assert answer.status == 503
    assert json.loads(answer.body)["alive"] is False


def test_nothing_else_is_served(serve: Serve) -> None:
    page = serve()
    for path in (
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2faccess.py",
        "/page.css/../access.py",
        "//etc/passwd",
        "/access.py",
        "/index.html",
        "/static/page.css",
        "/events/../state.json",
        "/events/-1.jpg",
        "/events/x.jpg",
        "/state.json/",
        "/page.css%00.html",
    ):
        answer = ask(page, path)
        assert answer.status == 404, path
        assert b"root:" not in answer.body


def test_visitors_can_only_look(serve: Serve) -> None:
    page = serve()
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"):
        answer = ask(page, "/", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_a_foreign_name_for_loopback_is_refused(serve: Serve) -> None:
    page = serve()
    port = port_of(page)
    for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "192.168.0.7"):
        for path in PATHS:
            assert ask(page, path, Host=name).status == 421
    for name in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert ask(page, "/", Host=name).status == 200


def test_beyond_loopback_nothing_is_served_without_the_token(serve: Serve, line: Line) -> None:
    page = serve(host="0.0.0.0", token=TOKEN)
    page.send(line.see(Verdict.REJECT))
    for path in PATHS:
        assert ask(page, path).status == 401
        assert ask(page, path, Authorization="Bearer wrong horse battery").status == 401
        assert ask(page, path, Authorization=f"Bearer {TOKEN}").status == (404 if path == "/nothing" else 200)
    for path in ("/state.json", "/live.jpg", "/metrics"):
        assert ask(page, f"{path}?token={TOKEN.replace(' ', '+')}").status == 401
    assert ask(page, "/?token=wrong+horse+battery").status == 401
    assert ask(page, "/?token=").status == 401


def test_the_token_in_the_address_becomes_a_cookie_once(serve: Serve) -> None:
    page = serve(host="0.0.0.0", token=TOKEN)
    answer = ask(page, f"/?token={TOKEN.replace(' ', '+')}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert not any(TOKEN in text for text in answer.headers.values())
    pair = cookie.partition(";")[0]
    assert ask(page, "/state.json", Cookie=pair).status == 200
    assert ask(page, "/state.json", Cookie=f"{pair[:-1]}x").status == 401


def test_a_wrong_token_beside_a_good_cookie_sets_none(serve: Serve) -> None:
    page = serve(token=TOKEN)
    answer = ask(page, "/?token=x", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 303
    assert "set-cookie" not in answer.headers


def test_beyond_loopback_a_page_without_a_token_does_not_exist(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGECNN_TOKEN", raising=False)
    with pytest.raises(OptionError, match="EDGECNN_TOKEN"):
        Page(line.context(), "0.0.0.0")


def test_a_taken_port_and_a_page_that_was_not_started_are_told(serve: Serve, line: Line) -> None:
    port = port_of(serve())
    with pytest.raises(SinkError, match=f"port {port}.*Choose another port"):
        Page(line.context(), port=port, token="").start()
    idle = Page(line.context(), token="")
    with pytest.raises(SinkError, match=r"call start\(\)"):
        _ = idle.url
    idle.close()


def test_a_missing_package_is_told(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edgecnn.runtime.web.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SinkError, match=r"pip install 'edgecnn\[serve\]'"):
        Page(line.context(), token="").start()


def test_a_fault_inside_is_answered_and_prints_nothing(
    serve: Serve, line: Line, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    page = serve()
    page.send(replace(line.see(Verdict.PASS), image=np.zeros((500, 500, 3), np.float32)))
    answer = ask(page, "/live.jpg")
    assert answer.status == 500
    assert b"Traceback" not in answer.body
    assert ask(page, "/healthz").status == 200
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_parts_of_frames_with_other_channels_can_be_shown(serve: Serve, line: Line) -> None:
    page = serve()
    line.image = np.full((80, 80, 5), 120, np.uint8)
    page.send(line.see(Verdict.REJECT, part=Part(1, Verdict.REJECT, 1, 1, 0, 0.9)))
    assert picture_of(ask(page, "/live.jpg").body)[240, 240] == pytest.approx((120, 120, 120), abs=3)


def test_a_picture_says_what_was_decided_about_it(serve: Callable[..., Page], line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.REJECT, 0.75))
    answer = ask(page, "/live.jpg")
    moment = json.loads(answer.headers["x-edgecnn-moment"])

    assert answer.headers["etag"] == '"1"'
    assert (moment["turn"], moment["state"], moment["label"], moment["score"]) == (1, "REJECT", "scratch", 0.75)


def test_a_token_leads_to_the_view_that_was_asked_for(serve: Callable[..., Page]) -> None:
    page = serve(token="correct horse battery")

    assert ask(page, "/?token=correct+horse+battery&kiosk").headers["location"] == "/?kiosk"
    assert ask(page, "/?token=correct+horse+battery").headers["location"] == "/"
