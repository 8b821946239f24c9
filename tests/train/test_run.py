"""A whole training: from a folder to a trained file that exports with no further options."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import pytest
import torch

from edgecnn import plugins
from edgecnn.errors import DataError, ModelError, OptionError
from edgecnn.models.trained import read_trained
from edgecnn.train.job import Plan
from edgecnn.train.run import Request, run
from tests.train import tiny

PLAN = Plan(steps=4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("data") / "parts")


@pytest.fixture(autouse=True)
def _tiny_job(monkeypatch: pytest.MonkeyPatch) -> None:
    load = plugins.load
    monkeypatch.setattr(
        plugins, "load", lambda package, name: tiny if package == "edgecnn.train.jobs" else load(package, name)
    )


@pytest.fixture
def request_of(parts: Path, tmp_path: Path) -> Callable[..., Request]:
    def make(**changes: object) -> Request:
        return replace(Request("defect", parts, tmp_path / "dots.safetensors", PLAN, device="cpu"), **changes)

    return make


Requests = Callable[..., Request]


def test_all_files_are_written_and_say_what_was_done(request_of: Requests, parts: Path) -> None:
    warnings: list[str] = []
    checked: list[int] = []
    result = run(request_of(), checking=lambda done, count: checked.append(done), warn=warnings.append)
    found = json.loads((result.folder / "training.json").read_text())

    assert read_trained(result.output).card.labels == ("good", "dot")
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "checkpoint.pt",
        "confusion.svg",
        "curves.svg",
        "training.json",
    ]
    assert found == result.document
    assert found["steps"] == {"planned": 4, "done": 4, "every": 1}
    assert found["best"] == max(found["history"], key=lambda row: (row["score"], row["step"]))
    assert found["data"]["training"]["labels"] == {"good": 6, "dot": 6}
    assert found["data"]["training"]["warnings"] == warnings != []
    assert found["plan"]["seed"] == 0
    assert found["versions"]["torch"]
    assert max(checked) == 12
    for name in ("curves.svg", "confusion.svg"):
        ElementTree.parse(result.folder / name)


def test_the_same_training_gives_the_same_bytes(request_of: Requests, tmp_path: Path) -> None:
    first = run(request_of()).output.read_bytes()
    second = run(request_of(output=tmp_path / "again.safetensors")).output.read_bytes()
    other = run(request_of(output=tmp_path / "other.safetensors", plan=replace(PLAN, seed=3))).output.read_bytes()

    assert first == second != other


def test_an_interrupted_training_writes_the_same_bytes(request_of: Requests, tmp_path: Path) -> None:
    whole = run(request_of()).output.read_bytes()
    cut, steps = request_of(output=tmp_path / "cut.safetensors"), iter([False, False, False, True])
    with pytest.raises(KeyboardInterrupt):
        run(cut, stop=lambda: next(steps))
    assert [path.name for path in tmp_path.glob("cut.*")] == ["cut.train"]
    assert [path.name for path in cut.folder.iterdir()] == ["checkpoint.pt"]
    resumed = run(replace(cut, resume="resume")).output.read_bytes()

    assert resumed == whole


def test_a_training_that_is_done_writes_its_file_again(request_of: Requests) -> None:
    first = run(request_of())
    before = first.output.read_bytes()
    first.output.unlink()

    assert run(request_of()).output.read_bytes() == before


def test_other_data_do_not_go_on_with_a_checkpoint(request_of: Requests, parts: Path, tmp_path: Path) -> None:
    run(request_of())
    others = tiny.write(tmp_path / "others", seed=1)
    with pytest.raises(OptionError, match=r"checkpoint of another training: data \w{12} instead of \w{12}\."):
        run(request_of(data=others))
    with pytest.raises(OptionError, match=r"another training: seed 0 instead of 2, steps 4 instead of 5"):
        run(request_of(plan=Plan(steps=5, seed=2)))
    with pytest.raises(OptionError, match=r"another training: validation data None instead of \w{12}\."):
        run(request_of(validation=others))
    before = request_of().output.read_bytes()
    run(request_of(plan=Plan(steps=4, seed=2), resume="fresh"))

    assert request_of().output.read_bytes() != before


def test_data_that_moved_as_a_whole_are_the_same(request_of: Requests, tmp_path: Path) -> None:
    run(request_of(data=tiny.write(tmp_path / "here")))
    (tmp_path / "here").rename(tmp_path / "there")

    assert run(request_of(data=tmp_path / "there", resume="resume")).output.is_file()


def test_what_is_there_is_not_overwritten_unasked(request_of: Requests) -> None:
    request = request_of()
    request.output.write_bytes(b"precious")
    with pytest.raises(OptionError, match=r"dots\.safetensors exists already\. Give another --output, or --fresh"):
        run(request)
    with pytest.raises(OptionError, match=r"no checkpoint in .*dots\.train to go on with"):
        run(replace(request, resume="resume"))

    assert request.output.read_bytes() == b"precious"


def test_requests_that_are_refused(request_of: Requests, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"the output must end in \.safetensors"):
        request_of(output=tmp_path / "dots.onnx")
    with pytest.raises(OptionError, match="resume must be one of auto, resume, fresh"):
        request_of(resume="maybe")
    with pytest.raises(OptionError, match="the device must be one of auto, cpu, cuda, got 'tpu'"):
        run(request_of(device="tpu"))
    with pytest.raises(ModelError, match=r"missing does not exist\. Make it first"):
        run(request_of(output=tmp_path / "missing" / "x.safetensors"))
    with pytest.raises(DataError, match="expected a folder of pictures to learn from"):
        run(request_of(data=tmp_path / "missing"))
    with pytest.raises(ModelError, match=r"none\.pth: cannot be read"):
        run(request_of(plan=replace(PLAN, backbone=tmp_path / "none.pth")))


def test_a_network_that_no_file_can_hold_is_refused_before_training(
    request_of: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wide(tiny.TinyJob):
        @property
        def arguments(self) -> dict[str, int]:
            return {"height": 64, "width": 64, "classes": 300}

        @arguments.setter
        def arguments(self, value: dict[str, int]) -> None:
            pass

        def batch(self, step: int) -> NoReturn:
            pytest.fail("it was trained")

    monkeypatch.setattr(tiny, "TinyJob", Wide)
    monkeypatch.setattr(tiny.surface, "network", lambda height, width, classes: torch.nn.Conv2d(3, 1, 1))
    with pytest.raises(ModelError, match=r"'classes' must be in 0 \.\. 256, got 300"):
        run(request_of())
