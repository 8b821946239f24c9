"""What a plug-in of each kind must provide; walks over whatever files there are."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from edgecnn import plugins
from edgecnn.cli.app import command_names
from edgecnn.ops import op_file
from edgecnn.profile import load_target, targets
from edgecnn.recipe import load_recipe, recipes
from edgecnn.runtime.address import Address
from edgecnn.train.job import Job

OPS = plugins.discover("edgecnn.ops")
ENGINES = plugins.discover("edgecnn.runtime.engines")
OBSERVERS = plugins.discover("edgecnn.quant.observers")
TASKS = plugins.discover("edgecnn.vision.tasks")
SOURCES = plugins.discover("edgecnn.runtime.sources")
SINKS = plugins.discover("edgecnn.runtime.sinks")
JOBS = plugins.discover("edgecnn.train.jobs")
LAYOUTS = plugins.discover("edgecnn.train.data.layouts")


def test_there_is_something_to_walk_over() -> None:
    assert {"conv", "gemm", "add", "concat", "max_pool", "resize", "sigmoid", "arg_max"} <= set(OPS)
    assert {"litert", "onnxruntime", "openvino", "reference"} <= set(ENGINES)
    assert {"doctor", "targets"} <= set(command_names())
    assert {"camera", "rtsp", "http", "video", "folder", "conveyor"} <= set(SOURCES)
    assert {"jsonl", "mqtt", "webhook", "modbus", "gpio", "recorder", "prometheus", "video"} <= set(SINKS)
    assert {"defect", "anomaly", "lane"} <= set(JOBS)
    assert {"class_folders", "image_masks", "mvtec", "good_pictures", "lane_masks", "tusimple", "culane"} <= set(
        LAYOUTS
    )


@pytest.mark.parametrize("name", OPS)
def test_operator(name: str) -> None:
    module = plugins.load("edgecnn.ops", name)

    assert module.__doc__
    assert module.GRID in ("own", "shared", "fixed", "none")
    assert hasattr(module, "FIXED") == (module.GRID == "fixed")
    assert module.OPERANDS is None or module.OPERANDS >= 1
    assert {
        kind: list(inspect.signature(getattr(module, kind)).parameters)
        for kind in ("reference", "to_onnx", "to_tflite")
    } == {
        "reference": ["node", "inputs", "output"],
        "to_onnx": ["node", "writer"],
        "to_tflite": ["node", "writer"],
    }
    assert list(inspect.signature(module.attributes).parameters) == ["node", "grid"]


def test_operator_file_names() -> None:
    assert op_file("MaxPool") == "max_pool"
    assert [name for name in OPS if op_file("".join(word.capitalize() for word in name.split("_"))) != name] == []


@pytest.mark.parametrize("name", ENGINES)
def test_engine(name: str) -> None:
    module = plugins.load("edgecnn.runtime.engines", name)

    assert module.__doc__
    assert module.NAME
    assert module.REQUIREMENT
    assert list(inspect.signature(module.load).parameters)[:4] == ["path", "inputs", "outputs", "threads"]


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    module = plugins.load("edgecnn.vision.tasks", name)

    assert module.__doc__
    assert list(inspect.signature(module.decoder).parameters) == ["manifest"]


@pytest.mark.parametrize("name", SOURCES)
def test_source(name: str) -> None:
    module = plugins.load("edgecnn.runtime.sources", name)

    assert module.__doc__
    assert isinstance(module.LIVE, bool)
    assert list(inspect.signature(module.source).parameters) == ["address"]
    source = module.source(Address.parse(module.EXAMPLE))
    assert [name for name in ("open", "read", "close") if not callable(getattr(source, name))] == []


@pytest.mark.parametrize("name", SINKS)
def test_sink(name: str) -> None:
    module = plugins.load("edgecnn.runtime.sinks", name)

    assert module.__doc__
    assert Address.parse(module.EXAMPLE).scheme.removesuffix("s") == name.removesuffix("s")
    assert list(inspect.signature(module.sink).parameters) == ["address", "context"]


@pytest.mark.parametrize("name", JOBS)
def test_job(name: str) -> None:
    module = plugins.load("edgecnn.train.jobs", name)
    wanted = {member for member in vars(Job) if not member.startswith("_")}
    kinds = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == module.__name__]
    jobs = [kind for kind in kinds if hasattr(kind, "finish")]

    assert module.__doc__
    assert list(inspect.signature(module.job).parameters) == ["training", "validation", "plan"]
    # What edgecnn learns, it also decides, and there are folders to learn it from.
    assert name in TASKS
    assert [layout for layout in LAYOUTS if name in plugins.load("edgecnn.train.data.layouts", layout).TASKS]
    assert len(jobs) == 1
    assert {member for member in wanted if callable(getattr(Job, member))} <= set(dir(jobs[0]))
    assert hasattr(plugins.load("edgecnn.models", jobs[0].family), "network")
    assert jobs[0].steps > 0
    assert jobs[0].rate > 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str, tmp_path: Path) -> None:
    module = plugins.load("edgecnn.train.data.layouts", name)

    assert module.__doc__
    assert module.TASKS
    assert set(module.TASKS) <= set(JOBS)
    assert module.LOOKS.strip()
    assert list(inspect.signature(module.fits).parameters) == ["folder"]
    assert list(inspect.signature(module.find).parameters) == ["folder", "task", "good"]
    assert module.fits(tmp_path) is False, "an empty folder has no layout"


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_documented(name: str, project_root: Path) -> None:
    assert f"## `{name}`" in (project_root / "docs" / "training-data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OBSERVERS)
def test_observer(name: str) -> None:
    module = plugins.load("edgecnn.quant.observers", name)

    assert module.__doc__
    assert list(inspect.signature(module.choose).parameters) == ["statistics", "percentile"]


@pytest.mark.parametrize("name", command_names())
def test_command(name: str) -> None:
    module = plugins.load("edgecnn.cli", name)

    assert inspect.getdoc(module.command), f"edgecnn {name} has no help"
    assert module.EXAMPLES
    assert [example for example in module.EXAMPLES if not example.startswith(f"edgecnn {name}")] == []


@pytest.mark.parametrize("name", targets())
def test_target(name: str, project_root: Path) -> None:
    profile = load_target(name)

    assert profile.title
    assert (project_root / "targets" / name / "README.md").is_file(), "a target says how its device is set up"


@pytest.mark.parametrize("name", recipes())
def test_recipe(name: str) -> None:
    assert load_recipe(name).description
