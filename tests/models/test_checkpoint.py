"""State dicts in all their wrappings load; everything else is refused, and no code from a file ever runs."""

from __future__ import annotations

import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgecnn.errors import ModelError
from edgecnn.models.checkpoint import load_checkpoint, save_checkpoint

State = dict[str, Tensor]


class Net(nn.Module):
    """A convolution and batch norm under names that look like prefixes."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, classes)


def trained() -> Net:
    torch.manual_seed(1)
    net = Net()
    nn.init.uniform_(net.norm.running_mean)
    nn.init.normal_(net.norm.weight)
    return net


def assert_loaded(net: nn.Module, expected: nn.Module) -> None:
    for key, value in expected.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "bare": lambda state: state,
    "data parallel": lambda state: {"state_dict": prefixed(state, "module."), "best_prec1": 91.7},
    "model container": lambda state: {"model": state, "epoch": 3, "optimizer": {"lr": torch.tensor(0.1)}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "compiled in data parallel": lambda state: prefixed(prefixed(state, "module."), "_orig_mod."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "hyper_parameters": {"lr": 0.1}},
    "without counters": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
}


@pytest.mark.parametrize("wrapping", sorted(WRAPPINGS))
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
def test_wrapped_state_dicts_load(wrapping: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(WRAPPINGS[wrapping](dict(trained().state_dict())), path)
    net = Net()
    load_checkpoint(net, path)

    assert_loaded(net, trained())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_load(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(prefixed(dict(trained().state_dict()), prefix), path)
    net = Net()
    load_checkpoint(net, path)

    assert_loaded(net, trained())


def test_a_prefix_that_belongs_to_the_network_stays(tmp_path: Path) -> None:
    inner = nn.Sequential()
    inner.add_module("model", nn.Linear(2, 2))
    torch.save(inner.state_dict(), tmp_path / "weights.pt")
    loaded = nn.Sequential()
    loaded.add_module("model", nn.Linear(2, 2))
    load_checkpoint(loaded, tmp_path / "weights.pt")

    assert_loaded(loaded, inner)


def test_the_old_file_format_loads(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    net = Net()
    load_checkpoint(net, tmp_path / "old.pth")

    assert_loaded(net, trained())


def test_half_precision_loads_as_the_networks_float32(tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in trained().state_dict().items()}, tmp_path / "weights.pt")
    net = Net()
    load_checkpoint(net, tmp_path / "weights.pt")

    assert net.conv.weight.dtype == torch.float32
    assert torch.equal(net.conv.weight, trained().conv.weight.half().float())


def test_the_mode_is_kept(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "weights.pt")
    net = Net().eval()
    load_checkpoint(net, tmp_path / "weights.pt")

    assert not net.training


def test_everything_that_does_not_fit_is_in_one_message(tmp_path: Path) -> None:
    state = dict(trained().state_dict())
    state["extra.weight"] = state.pop("conv.weight")
    torch.save(state, tmp_path / "weights.pt")
    net = Net(classes=5)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_checkpoint(net, tmp_path / "weights.pt")

    message = str(caught.value)
    assert "1 missing: 'conv.weight'" in message
    assert "1 unexpected: 'extra.weight'" in message
    assert "2 of another shape: 'head.weight' (2, 3) instead of (5, 3), 'head.bias' (2,) instead of (5,)" in message
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_long_lists_are_cut(tmp_path: Path) -> None:
    torch.save({f"layer{index}": torch.zeros(1) for index in range(50)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"50 unexpected: 'layer0', 'layer1', .* and 45 more"):
        load_checkpoint(Net(), tmp_path / "weights.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_are_no_numbers_are_refused_by_name(value: float, suffix: str, tmp_path: Path) -> None:
    state = {key: tensor.clone() for key, tensor in trained().state_dict().items()}
    state["conv.weight"][0, 0, 1, 1:] = value
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    with pytest.raises(ModelError, match=r"NaN or infinity in 'conv.weight' \(2 of 27 values\)"):
        load_checkpoint(Net(), path)


class Evil:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("save", ["torch", "old torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_never_runs(save: str, protocol: int, tmp_path: Path) -> None:
    path, target = tmp_path / "weights.pth", tmp_path / "executed"
    content = {"state_dict": trained().state_dict(), "callback": Evil(target)}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content["callback"], protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(ModelError, match=r"more than tensors.*nothing of it was used"):
        load_checkpoint(Net(), path)

    assert not target.exists()


def test_a_pickled_network_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        load_checkpoint(Net(), tmp_path / "whole.pth")


def test_torchscript_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(ModelError, match=r"TorchScript.*state_dict"):
        load_checkpoint(Net(), path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(dict(trained().state_dict()), path) if suffix == ".safetensors" else torch.save(
        trained().state_dict(), path
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match=r"not a whole .* file.*Copy or download it again"):
        load_checkpoint(Net(), path)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_old_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(trained().state_dict(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match="again"):
        load_checkpoint(Net(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "this is a web page, not weights"),
        (b"\n <html>Sign in</html>", "this is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        (b"hello, this is text that is not weights at all", "this is no PyTorch file"),
    ],
)
def test_files_that_are_something_else(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(Net(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "expected a state dict .* got a list"),
        (torch.zeros(2), "got a Tensor"),
        ({"epoch": 3, "lr": 0.1}, "got a dict with 'epoch', 'lr'"),
        ({}, "got a dict with nothing"),
        ({"state_dict": {}}, "got a dict with"),
    ],
)
def test_content_without_a_state_dict(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=message):
        load_checkpoint(Net(), tmp_path / "weights.pt")


def test_paths_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_checkpoint(Net(), tmp_path / "missing.pt")
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"end in .pt, .pth, .th, .safetensors, got '.h5'"):
        load_checkpoint(Net(), tmp_path / "model.h5")


def test_saved_weights_come_back_and_leave_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(trained().to(memory_format=torch.channels_last), path)
    net = Net()
    load_checkpoint(net, path)

    assert_loaded(net, trained())
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_weights_that_cannot_be_written_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")

    def full(tensors: State, target: str, metadata: None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgecnn.models.checkpoint.save_file", full)
    with pytest.raises(ModelError, match="No space left on device"):
        save_checkpoint(trained(), path)

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]
    with pytest.raises(ModelError, match="cannot write weights here"):
        save_checkpoint(trained(), tmp_path / "missing" / "weights.safetensors")
