"""A user's architecture file: what works, and what each mistake says."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.errors import ModelError
from edgecnn.models.arch import load_arch
from edgecnn.models.checkpoint import load_checkpoint

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write(folder: Path, source: str) -> Path:
    path = folder / "my_net.py"
    path.write_text(f"from torch import nn\n{source}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "source",
    [
        "def build():\n    return nn.Linear(2, 3)",
        "class build(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 3)",
        "build = nn.Linear(2, 3)",
    ],
)
def test_factories(source: str, tmp_path: Path) -> None:
    module = load_arch(f"{write(tmp_path, source)}:build")

    assert isinstance(module, nn.Linear)
    assert module.weight.shape == (3, 2)
    assert not module.training


def test_a_file_may_import_its_neighbours_and_hold_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "parts_of_my_net.py").write_text("WIDTH = 5\n", encoding="utf-8")
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "from parts_of_my_net import WIDTH\n@dataclass\nclass Options:\n    width: int = WIDTH\n"
        "def build():\n    return nn.Linear(2, Options().width)\n"
    )
    (tmp_path / "net.py").write_text(source, encoding="utf-8")
    before = list(sys.path)

    assert load_arch(f"{tmp_path / 'net.py'}:build").get_parameter("bias").shape == (5,)
    assert sys.path == before


@pytest.mark.parametrize(
    ("source", "factory", "message"),
    [
        (
            "def build_net():\n    return nn.ReLU()",
            "build_nte",
            "there is no 'build_nte' in it. Did you mean 'build_net'?",
        ),
        ("def build():\n    raise ValueError('no GPU')", "build", r"build\(\) failed: ValueError: no GPU"),
        ("def build(width):\n    return nn.ReLU()", "build", "It is called without arguments"),
        ("def build():\n    return {'net': 1}", "build", "must return a torch.nn.Module, got a dict"),
        ("def build():\n    pass", "build", "must return a torch.nn.Module, got None"),
        ("build = 3", "build", "'build' is a int, expected a function or a class"),
        (
            "import not_there_at_all",
            "build",
            "importing it failed: ModuleNotFoundError: No module named 'not_there_at_all'",
        ),
        ("def build(:", "build", r"importing it failed: SyntaxError: .*\(line 2\)"),
        ("raise SystemExit(3)", "build", "importing it failed: SystemExit: 3"),
    ],
)
def test_mistakes_are_explained(source: str, factory: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_arch(f"{write(tmp_path, source)}:{factory}")


@pytest.mark.parametrize("arch", ["net.py", "net.py:", "net:build", ":build", "net.py:build()", "net.py:a.b", ""])
def test_other_forms_are_refused(arch: str) -> None:
    with pytest.raises(ModelError, match=r"expected an architecture as file\.py:factory"):
        load_arch(arch)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.py: no such file"):
        load_arch(f"{tmp_path / 'gone.py'}:build")


@pytest.mark.data
def test_real_weights_in_a_users_network(project_root: Path, data_dir: Path) -> None:
    network = load_arch(f"{project_root / 'examples' / 'arch_resnet20.py'}:resnet20")
    load_checkpoint(network, data_dir / "models" / "cifar10-resnet20.th")
    rows = [line.split(",") for line in (data_dir / "cifar10" / "labels.csv").read_text().splitlines()[1:301]]
    pictures = np.stack([cv2.imread(str(data_dir / "cifar10" / row[0]))[..., ::-1] for row in rows])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        logits = network((torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2) / 255 - mean) / std)
    accuracy = float((logits.argmax(1) == torch.tensor([int(row[1]) for row in rows])).float().mean())

    # 91.7 % on the originals. These are lossy JPEGs: measured 76.7 % on the first 300; chance is 10 %.
    assert accuracy >= 0.75
