"""The page in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from edgecnn.runtime.loop.observation import Observation, Part
from edgecnn.runtime.loop.statistics import SinkFigures
from edgecnn.runtime.web import page as page_module
from edgecnn.runtime.web import pictures as pictures_module
from edgecnn.runtime.web.page import Page
from edgecnn.vision.results import Decision, Finding, Result, Verdict
from tests.clock import Clock
from tests.runtime.web.browser import PROGRAM, Browser
from tests.runtime.web.conftest import Line, port_of

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

Serve = Callable[..., Page]
LIVE, LOST = "document.body.dataset.link === 'live'", "document.body.dataset.link === 'lost'"
TOKEN = "correct horse battery"


@pytest.fixture(autouse=True)
def never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a page was told stay news, however long this machine takes to look at it."""
    monkeypatch.setattr(page_module, "time", Clock())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(shared: Browser) -> Iterator[Browser]:
    """The browser, with nothing open and nothing reported."""
    shared.look(1280, 800)
    yield shared
    shared.open("about:blank")
    shared.wait("location.href === 'about:blank'")
    shared.events.clear()


@pytest.fixture
def feed() -> Iterator[Callable[[Page, Callable[[], Observation]], None]]:
    """Return a function that gives a page observations until the test ends."""
    stopping = threading.Event()
    threads: list[threading.Thread] = []

    def start(page: Page, make: Callable[[], Observation]) -> None:
        def work() -> None:
            while not stopping.wait(0.05):
                page.send(make())

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    stopping.set()
    for thread in threads:
        thread.join()


def show(browser: Browser, page: Page) -> None:
    browser.open(page.url)
    browser.wait(LIVE)


def test_verdicts_are_shown_by_word_symbol_and_reason(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS, 0.2))
    show(browser, page)
    assert browser.text("#word") == "PASS"
    assert browser.text("#value") == "0.20"
    assert browser.text("#limit") == "rejects from 0.50 on"
    visible = (
        "[...document.querySelectorAll('.symbol path')].filter(e => getComputedStyle(e).display !== 'none').length"
    )
    assert browser.value(visible) == 1
    page.send(line.see(Verdict.REJECT, 0.9))
    browser.wait("document.getElementById('word').textContent === 'REJECT'")
    assert browser.value("getComputedStyle(document.getElementById('verdict')).backgroundColor") == "rgb(196, 24, 32)"
    page.send(line.see(Verdict.INVALID))
    browser.wait("document.getElementById('word').textContent === 'INVALID'")
    assert browser.text("#why") == "the picture is almost black: mean 2 of 255"
    # What a screen reader says.
    assert browser.text("#spoken") == "INVALID. the picture is almost black: mean 2 of 255"
    assert browser.value("document.title").startswith("INVALID")
    assert browser.complaints() == []


def test_a_sink_or_a_camera_that_is_lost_is_larger_than_a_pass(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    show(browser, page)
    hidden = "document.getElementById('broken').hidden"
    assert browser.value(hidden) is True

    dead = SinkFigures("modbus://plc/coil/0", 9, 3, 0, "no answer", failing=True)
    line.figures = replace(line.figures, sinks=(dead,))
    browser.wait(f"!{hidden}")
    assert browser.text("#broken-word") == "NOT DELIVERED"
    assert browser.text("#broken-why") == "modbus://plc/coil/0: no answer"
    size = "parseFloat(getComputedStyle(document.getElementById('{}')).fontSize)"
    assert browser.value(size.format("broken-word")) >= browser.value(size.format("word"))
    assert browser.value("document.getElementById('broken').getBoundingClientRect().bottom < innerHeight") is True
    assert browser.value("document.title").startswith("⚠ PASS")

    line.figures = replace(line.figures, source_failing=True, source_error="no frame for 3 s")
    browser.wait("document.getElementById('broken-word').textContent.startsWith('CAMERA LOST')")
    assert "rtsp://***@cam/1: no frame for 3 s" in browser.text("#broken-why")
    line.figures = replace(line.figures, sinks=(), source_failing=False)
    browser.wait(hidden)
    assert browser.complaints() == []


def test_figures_plots_health_and_the_picture_are_shown(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    show(browser, page)
    shown = {name: browser.text(f"#{name}") for name in ("pass", "reject", "invalid", "frames", "dropped", "uptime")}
    assert shown == {
        "pass": "90",
        "reject": "8",
        "invalid": "2",
        "frames": "1,234",
        "dropped": "34",
        "uptime": "2h 1m",
    }
    assert "lost 200" in browser.text("#health")
    assert "the broker does not answer" in browser.text("#health")
    assert browser.text("#problems") == "✕ 1 problem"
    assert browser.text("#age-text") == "median 5 ms, 99 % 19 ms"
    assert browser.value("document.querySelectorAll('#age rect').length") == 13
    browser.wait("document.getElementById('picture').naturalWidth === 480")


def test_the_picture_and_the_turn_move_on(
    browser: Browser, serve: Serve, line: Line, feed: Callable[..., None]
) -> None:
    page = serve()
    feed(page, lambda: line.see(Verdict.PASS))
    show(browser, page)
    browser.wait("document.getElementById('picture').src")
    first = browser.value("document.getElementById('picture').src")
    browser.wait(f"document.getElementById('picture').src !== '{first}'")
    turn = browser.text("#caption")
    browser.wait(f"document.getElementById('caption').textContent !== '{turn}'")
    assert browser.complaints() == []


def test_the_browser_asks_nobody_else_for_anything(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    page.send(line.see(Verdict.REJECT))
    show(browser, page)
    browser.wait("document.querySelector('#strip img')?.complete")
    asked = {url.removeprefix("blob:") for url in browser.requests()}
    assert len(asked) > 6
    assert [url for url in asked if not url.startswith(page.url)] == []


def test_a_page_without_a_server_says_so_and_comes_back(
    browser: Browser, serve: Serve, line: Line, feed: Callable[..., None]
) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    show(browser, page)
    port = port_of(page)
    page.close()
    browser.wait(LOST)
    assert "No connection since" in browser.text("#alarm")
    assert browser.text("#word") == "NO CONNECTION"
    assert browser.text("#why") == "Last known: PASS"
    assert browser.value("getComputedStyle(document.getElementById('live')).filter") == "grayscale(1)"
    assert browser.value("getComputedStyle(document.getElementById('verdict')).backgroundColor") != "rgb(18, 128, 74)"
    again = serve(port=port)
    feed(again, lambda: line.see(Verdict.REJECT, 0.9))
    browser.wait(LIVE)
    browser.wait("document.getElementById('word').textContent === 'REJECT'")
    assert browser.value("document.getElementById('alarm').hidden") is True


def test_a_server_whose_loop_is_silent_is_no_good_news(
    browser: Browser, serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = serve()
    page.send(line.see(Verdict.PASS))
    monkeypatch.setattr(page, "_silence", lambda: 60.0)
    browser.open(page.url)
    browser.wait("document.body.dataset.link === 'silent'")
    assert browser.text("#word") == "NO NEWS"
    assert browser.text("#alarm").startswith("No news from the loop since")


def test_what_comes_from_elsewhere_is_only_ever_text(browser: Browser, serve: Serve, line: Line) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    page = serve()
    line.figures = replace(line.figures, source_error=evil, findings={evil: 3})
    observation = line.see(Verdict.REJECT)
    result = Result(Decision(evil, 0.9, {}, Verdict.REJECT), ())
    page.send(replace(observation, name=evil, result=result))
    page.send(replace(line.see(Verdict.INVALID), findings=(Finding(evil, evil),)))
    show(browser, page)
    browser.wait("document.querySelectorAll('#strip li').length === 2")
    assert evil in browser.text("#why")
    assert browser.value("document.querySelectorAll('img[src=x], main script').length") == 0
    assert "owned" not in browser.value("document.title").replace(evil, "")
    assert browser.complaints() == []


def test_events_open_and_close_by_keyboard(browser: Browser, serve: Serve, line: Line) -> None:
    line.parts = True
    page = serve()
    for number, verdict in enumerate((Verdict.REJECT, Verdict.PASS), 1):
        page.send(line.see(verdict, 0.7, Part(number, verdict, 5, 4, 0, 0.7)))
    show(browser, page)
    browser.wait("document.querySelectorAll('#strip button').length === 2")
    assert browser.text("#strip li:nth-child(2)").split("\n")[0].startswith("REJECT")
    browser.value("document.querySelectorAll('#strip button')[0].focus()")
    press(browser, "Enter", "\r")
    browser.wait("document.getElementById('large').open")
    assert "part 2" in browser.text("#large-title")
    press(browser, "ArrowRight")
    browser.wait("document.getElementById('large-title').textContent.includes('part 1')")
    assert browser.text("#large-why") == "4 of 5 frames rejected"
    browser.wait("document.getElementById('large-picture').naturalWidth === 480")
    press(browser, "Escape")
    browser.wait("!document.getElementById('large').open")


def press(browser: Browser, key: str, text: str = "") -> None:
    """Press and release a key."""
    code = {"Enter": 13, "ArrowRight": 39, "Escape": 27}[key]
    named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    browser.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **named)


def test_nothing_sticks_out_at_the_side(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    long = "rtsp://***@a-camera-with-a-very-long-name.factory.example.com/stream/main?profile=high"
    line.figures = replace(line.figures, source_error=f"{long}: no answer", frames=987_654_321)
    page.send(line.see(Verdict.INVALID))
    show(browser, page)
    for width in (320, 360, 390, 768, 1280):
        browser.look(width, 800, mobile=width < 500)
        browser.wait(f"innerWidth === {width}")
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.getElementById('verdict').getBoundingClientRect().top") < 200


def test_verdicts_are_one_line_at_every_width(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    page.send(line.see(Verdict.INVALID))
    show(browser, page)
    lines = "(e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight))"
    for width in (320, 390, 639, 640, 959, 960, 1000, 1100, 1280, 1920):
        browser.look(width, 800, mobile=width < 500)
        browser.wait(f"innerWidth === {width}")
        assert browser.value(f"{lines}(document.getElementById('word'))") == pytest.approx(1, abs=0.1), width


def test_a_browser_is_let_in_by_the_token_once(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve(token=TOKEN)
    page.send(line.see(Verdict.PASS))
    browser.open(page.url)
    browser.wait("document.body?.textContent.includes('?token=')")
    browser.open(f"{page.url}?token={TOKEN.replace(' ', '+')}")
    browser.wait(LIVE)
    assert browser.value("location.search") == ""
    assert browser.value("document.cookie") == ""
    browser.open(page.url)
    browser.wait(LIVE)


def test_score_and_verdict_are_those_of_the_picture_that_is_seen(
    browser: Browser, serve: Serve, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(pictures_module, "time", clock)
    page = serve()
    page.send(line.see(Verdict.PASS, 0.2))
    show(browser, page)
    browser.wait("document.querySelector('#caption').textContent.startsWith('turn 1 ')")
    # The next picture is not due yet, but the figures go on.
    line.figures = replace(line.figures, frames=4321)
    page.send(line.see(Verdict.REJECT, 0.9))
    browser.wait("document.querySelector('#frames').textContent === '4,321'")
    assert (browser.text("#word"), browser.text("#value")) == ("PASS", "0.20")
    clock.sleep(1.0)
    browser.wait("document.querySelector('#caption').textContent.startsWith('turn 2 ')")
    assert (browser.text("#word"), browser.text("#value")) == ("REJECT", "0.90")


@pytest.mark.parametrize(("score", "text"), [(0.625, "0.62"), (0.875, "0.88")])
def test_scores_are_rounded_as_in_the_pictures(
    browser: Browser, serve: Serve, line: Line, score: float, text: str
) -> None:
    page = serve()
    page.send(line.see(Verdict.REJECT, score))
    show(browser, page)

    assert browser.text("#value") == text
    browser.wait("document.querySelector('#strip .score') !== null")
    assert browser.text("#strip .score") == text


def test_a_lost_camera_is_not_live(browser: Browser, serve: Serve, line: Line) -> None:
    page = serve()
    line.figures = replace(line.figures, connected=False, source_error="cable pulled")
    page.send(line.see(Verdict.PASS))
    show(browser, page)

    assert browser.text("#link-text") == "no camera"
    assert browser.value("getComputedStyle(document.querySelector('.dot')).animationName") == "none"
    line.figures = replace(line.figures, connected=True)
    browser.wait("document.querySelector('#link-text').textContent.startsWith('live')")


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (1080, 1920)])
def test_the_large_view_is_read_from_three_metres(
    browser: Browser, serve: Serve, line: Line, size: tuple[int, int]
) -> None:
    browser.look(*size)
    page = serve()
    line.figures = replace(line.figures, verdicts={"PASS": 987654, "REJECT": 12345, "INVALID": 678}, parts={})
    finding = Finding("blurred", "sharpness of the picture: 0.21; good pictures lie in 0.62 .. 1.31; clean the lens")
    page.send(replace(line.see(Verdict.INVALID), findings=(finding,)))
    browser.open(f"{page.url}?kiosk")
    browser.wait(LIVE)
    browser.wait("document.querySelector('#word').textContent === 'INVALID'")

    def height(selector: str) -> float:
        style = f"getComputedStyle(document.querySelector('{selector}'))"
        return float(browser.value(f"parseFloat({style}.fontSize) / Math.min(innerWidth, innerHeight)"))

    # 54 pixels of 1080 are 15 mm on a screen of 24 inches; three metres want 3000 / 200 mm.
    assert height("#word") > 0.15
    assert min(height("#why"), height("#pass"), height("#reject"), height("#invalid")) >= 0.05
    assert browser.text("#why") == finding.reason
    assert browser.text("#pass") == "987,654"
    cut = (
        "[...document.querySelectorAll('#word, #why, dd')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert browser.value(cut) == 0
    inside = "(one => one.top >= 0 && one.bottom <= innerHeight)"
    for selector in ("#word", "#why", "#picture", "#invalid"):
        assert browser.value(f"{inside}(document.querySelector('{selector}').getBoundingClientRect())"), selector
    assert browser.complaints() == []
