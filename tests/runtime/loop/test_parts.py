from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import OptionError
from edgecnn.runtime.loop.observation import Part
from edgecnn.runtime.loop.parts import Debounce, Parts, PartSettings, Presence
from edgecnn.vision.results import Verdict

VERDICTS = {"P": Verdict.PASS, "R": Verdict.REJECT, "I": Verdict.INVALID, ".": None}
LETTERS = {verdict: letter for letter, verdict in VERDICTS.items()}


def states(settings: PartSettings, verdicts: str) -> str:
    debounce = Debounce(settings)
    seen = []
    for letter in verdicts:
        debounce.update(VERDICTS[letter])
        seen.append(LETTERS[debounce.state])
    return "".join(seen)


@pytest.mark.parametrize(
    ("settings", "verdicts", "expected"),
    [
        (PartSettings(), "PRPIP", "PRPIP"),
        (PartSettings(), "..P.R.", "..PPRR"),
        (PartSettings(reject=2, window=3), "PRPRPPP", "PPPRPPP"),
        (PartSettings(reject=2, window=3), "RRP", "IRR"),
        (PartSettings(release=3), "PPPRPPPP", "IIPRRRPP"),
        (PartSettings(release=2), "PPIPRPP", "IPIIRRP"),
    ],
)
def test_state(settings: PartSettings, verdicts: str, expected: str) -> None:
    assert states(settings, verdicts) == expected


@given(st.text("PRI.", max_size=40), st.integers(1, 4), st.integers(0, 3), st.integers(1, 4))
def test_the_state_is_never_better_than_what_was_seen(verdicts: str, reject: int, more: int, release: int) -> None:
    seen = states(PartSettings(reject=reject, window=reject + more, release=release), verdicts)

    for turn, (verdict, state) in enumerate(zip(verdicts, seen, strict=True)):
        assert state == "I" if verdict == "I" else True
        decided = verdicts[: turn + 1].replace(".", "")
        assert decided.endswith("P" * release) or "P" in seen[:turn] if state == "P" else True
        assert verdicts[: turn + 1].count("R") >= reject if state == "R" else True


def test_hysteresis_of_the_score() -> None:
    debounce = Debounce(PartSettings(margin=0.2))
    debounce.update(Verdict.REJECT)

    assert debounce.strict(Verdict.PASS, 0.45, 0.5) is Verdict.REJECT
    assert debounce.strict(Verdict.PASS, 0.25, 0.5) is Verdict.PASS
    debounce.update(Verdict.PASS)
    assert debounce.strict(Verdict.PASS, 0.45, 0.5) is Verdict.PASS


@pytest.mark.parametrize(
    ("settings", "verdicts", "expected"),
    [
        (PartSettings(), "PPP", Verdict.PASS),
        (PartSettings(), "PRP", Verdict.REJECT),
        (PartSettings(reject=2, window=2), "PRP", Verdict.PASS),
        (PartSettings(reject=2, window=2), "R", Verdict.REJECT),
        (PartSettings(), "PII", Verdict.INVALID),
        (PartSettings(), "RII", Verdict.REJECT),
        (PartSettings(), "I", Verdict.INVALID),
        (PartSettings(shortest=3), "PP", Verdict.INVALID),
    ],
)
def test_verdict_of_a_part(settings: PartSettings, verdicts: str, expected: Verdict) -> None:
    parts = Parts(settings)
    for letter in verdicts:
        parts.see(VERDICTS[letter], None if letter == "I" else 0.25)

    part = parts.gap()

    assert part == Part(
        1, expected, len(verdicts), verdicts.count("R"), verdicts.count("I"), None if verdicts == "I" else 0.25
    )
    assert parts.gap() is None


def test_presence() -> None:
    empty = np.full((64, 64, 3), 30, np.uint8)
    presence = Presence(empty, PartSettings(fill=0.8, clear=0.1))
    half, full = empty.copy(), np.full((1, 64, 64, 3), 120, np.uint8)
    half[:, :32] = 120

    shares = [presence.share(picture) for picture in (empty[None], half[None], full)]

    assert shares == [0.0, 0.5, 1.0]
    assert [presence.is_empty(share) for share in shares] == [True, False, False]
    assert [presence.is_full(share) for share in shares] == [False, False, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "gaps"}, "parts must be one of none, frame, gap, got 'gaps'"),
        ({"reject": 3, "window": 2}, r"reject must be 1 .. window \(2\), got 3"),
        ({"release": 0}, "at least 1"),
        ({"fill": 0.1, "clear": 0.5}, "0 <= clear < fill <= 1"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PartSettings(**values)
