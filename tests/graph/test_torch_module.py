from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.errors import ModelError
from edgecnn.graph import import_exported, import_torch
from edgecnn.passes.float_difference import FloatModel


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(256, 5),
    )


def saved(path: Path, batch: int = 1, **options) -> Path:
    program = torch.export.export(network().eval(), (torch.zeros(batch, 3, 8, 8),), **options)
    torch.export.save(program, path)
    return path


def rewritten(source: Path, target: Path, change) -> Path:
    """Copy a .pt2 archive, with every member's name and content passed through ``change``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return target


def test_module_is_traced_quietly_with_its_batch_norm_visible(capfd) -> None:
    module = network().train()
    module[3].eval()
    model = import_torch(module, (1, 3, 8, 8), "mine")
    assert Counter(node.op_type for node in model.graph) == {
        "Conv": 1, "BatchNormalization": 1, "Relu": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    assert model.graph.name == "mine"
    assert module.training
    assert not module[3].training
    assert capfd.readouterr() == ("", "")
    x = torch.randn(1, 3, 8, 8)
    wanted = module.eval()(x).detach().numpy()
    assert np.abs(FloatModel(model)({"image": x.numpy()})[0] - wanted).max() <= 1e-5


def test_second_exporter_is_tried_as_quietly(capfd) -> None:
    module = nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
    model = import_torch(module, (1, 6, 4, 4))
    assert {"Transpose", "Conv", "BatchNormalization"} <= {node.op_type for node in model.graph}
    assert capfd.readouterr() == ("", "")


def test_outputs_are_named_in_order() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            return x + 1, [x * 2, x * 3]

    model = import_torch(Two(), (1, 3, 4, 4))
    assert [value.name for value in model.graph.outputs] == ["output", "output_1", "output_2"]


def test_errors_of_the_module_are_told() -> None:
    with pytest.raises(ModelError, match="fails on an input of shape"):
        import_torch(network(), (1, 4, 8, 8))
    with pytest.raises(ModelError, match="batch 1"):
        import_torch(network(), (2, 3, 8, 8))
    diverged = network()
    diverged[0].weight.data[0] = float("nan")
    with pytest.raises(ModelError, match=r"0\.weight.*NaN"):
        import_torch(diverged, (1, 3, 8, 8))


def test_exported_program_is_read(tmp_path) -> None:
    model = import_exported(saved(tmp_path / "net.pt2"))
    x = torch.randn(1, 3, 8, 8)
    wanted = network().eval()(x).detach().numpy()
    assert np.abs(FloatModel(model)({"image": x.numpy()})[0] - wanted).max() <= 1e-5
    assert "BatchNormalization" in {node.op_type for node in model.graph}


def test_dynamic_batch_of_an_exported_program_becomes_1(tmp_path) -> None:
    path = saved(tmp_path / "net.pt2", 2, dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert tuple(import_exported(path).graph.inputs[0].shape.numpy()) == (1, 3, 8, 8)
    with pytest.raises(ModelError):
        import_exported(saved(tmp_path / "two.pt2", 2))


def test_what_is_no_archive_is_refused(tmp_path) -> None:
    path = tmp_path / "net.pt2"
    for content in (b"", b"PK\x03\x04 cut off", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"not a readable \.pt2"):
            import_exported(path)
    with pytest.raises(ModelError, match="No such file"):
        import_exported(tmp_path / "none.pt2")
    torch.save(network().state_dict(), path)
    with pytest.raises(ModelError, match="0 exported programs"):
        import_exported(path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def _with_pickled_weights(name: str, content: bytes) -> tuple[str, bytes]:
    if name.endswith("weights_config.json"):
        document = json.loads(content)
        for payload in document["config"].values():
            payload["use_pickle"] = True
        return name, json.dumps(document).encode()
    return name, content


def _with_expression(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content.replace(b'"as_int": 256}', b'"as_expr": {"expr_str": "open(\'x\', \'w\')"}}')


def _with_guards(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content.replace(b'"guards_code": []', b'"guards_code": ["print(1)"]')


def _with_target(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content.replace(b"torch.ops.aten.relu", b"torch.ops.loader.relu")


def _with_library(name: str, content: bytes) -> tuple[str, bytes]:
    return name.replace("constants/model_constants", "aotinductor/model/evil"), content


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_with_pickled_weights, "pickled payload"),
        (_with_expression, "shape expression"),
        (_with_guards, "guard code"),
        (_with_target, "a call of"),
        (_with_library, "compiled code"),
    ],
)
def test_code_in_an_exported_program_is_not_run(tmp_path, change, what) -> None:
    path = rewritten(saved(tmp_path / "net.pt2"), tmp_path / "evil.pt2", change)
    with pytest.raises(ModelError, match=f"{what}.*could run code"):
        import_exported(path)


def test_a_pickle_in_the_sample_inputs_is_not_loaded(tmp_path) -> None:
    trace = tmp_path / "exploded"
    stream = io.BytesIO()
    torch.save(((Bomb(str(trace)),), {}), stream)
    path = rewritten(
        saved(tmp_path / "net.pt2"),
        tmp_path / "evil.pt2",
        lambda name, content: (name, stream.getvalue() if "sample_inputs" in name else content),
    )
    with pytest.raises(ModelError, match="more than tensors"):
        import_exported(path)
    assert not trace.exists()
