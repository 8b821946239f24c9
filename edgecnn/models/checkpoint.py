"""Weights into a network: ``.pt .pth .th`` and ``.safetensors``, without ever running code from the file."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgecnn import limits
from edgecnn.boundary import boundary
from edgecnn.errors import ModelError

PICKLED = (".pt", ".pth", ".th")
SUFFIXES = (*PICKLED, ".safetensors")
CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict beside other things, the first that is there counts."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning-style wrappers and torch.compile put before every key."""
MAGIC = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a zip (what torch writes) and a pickle of any protocol (what it wrote before 1.6) begin."""
WEIGHTS_ONLY = "Save the weights alone, torch.save(model.state_dict(), path), or export the model as .onnx or .pt2."
OTHER_NETWORK = "Give the architecture that they were trained with (--arch file.py:factory), with as many classes."
SHOWN = 5
"""Names listed of a kind before the rest is only counted."""


def load_checkpoint(module: nn.Module, path: str | Path) -> None:
    """Load a state dict into ``module``, which keeps its mode; nothing is changed if anything does not fit.

    Args:
        module: The network.
        path: State dict, one of `SUFFIXES`; on its own or in a container such as ``{"state_dict": ...}``.

    Raises:
        ModelError: If the file cannot be read without running code, holds no state dict, does not fit the network
            (missing, unexpected and mis-shaped keys in one message), or holds NaN or infinity.
    """
    path = Path(path)
    load_tensors(module, _without_prefix(read_state_dict(path), module.state_dict()), path)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, advice: str = OTHER_NETWORK) -> None:
    """Load tensors by key into ``module``, as `load_checkpoint` does; ``path`` and ``advice`` are for the messages.

    Raises:
        ModelError: As `load_checkpoint` for tensors that do not fit, or hold NaN or infinity.
    """
    _check_fit(path, tensors, module.state_dict(), advice)
    check_finite(path, tensors)
    with boundary(ModelError, f"{path}: its tensors cannot be loaded into the network"):
        module.load_state_dict(tensors, strict=False)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, on the CPU, prefixes still on them.

    Raises:
        ModelError: If the file is missing, damaged, something else, or would have to run code.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(f"{path}: expected weights that end in {', '.join(SUFFIXES)}, got '{path.suffix}'.")
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    limits.MODEL.check(path.stat().st_size, path, ModelError)
    _refuse_text(path)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickled(path)
    with boundary(ModelError, f"{path}: expected a state dict (tensors by name)"):
        return _state_dict(path, content)


def save_checkpoint(module: nn.Module, path: str | Path) -> None:
    """Write the state dict of ``module`` as safetensors, in one piece; see `write_tensors`.

    Raises:
        ModelError: If the file cannot be written.
    """
    write_tensors(Path(path), weights_of(module))


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict as it is stored: on the CPU, contiguous, without what does not matter."""
    state = module.state_dict()
    return {key: value.detach().cpu().contiguous() for key, value in state.items() if _counts(key)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous tensors as safetensors, in one piece.

    Who reads the file meanwhile sees the old one or the new one, whole.

    Raises:
        ModelError: If the file cannot be written.
    """
    try:
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ModelError(f"{path}: cannot write weights here: {error.strerror}.") from error
    os.close(descriptor)
    try:
        save_file(dict(tensors), scratch, None if metadata is None else dict(metadata))
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot write weights here: {error}.") from error
    finally:
        Path(scratch).unlink(missing_ok=True)


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity.

    Raises:
        ModelError: Naming the tensors and how many of their values are bad.
    """
    with boundary(ModelError, f"{path}: its tensors cannot be looked at"):
        bad = {key: int((~torch.isfinite(value)).sum()) for key, value in tensors.items() if value.is_floating_point()}
    listed = [f"'{key}' ({count} of {tensors[key].numel()} values)" for key, count in bad.items() if count]
    if listed:
        raise ModelError(
            f"{path}: NaN or infinity in {_listed(listed)}. Training has diverged or the file is damaged: "
            "take an earlier checkpoint."
        )


def _refuse_text(path: Path) -> None:
    """Recognise empty files and pages saved in place of a download."""
    head = _head(path).lstrip().lower()
    if not head:
        raise ModelError(f"{path}: the file is empty. Copy or download it again.")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError(
            f"{path}: this is a web page, not weights: the download link led to a page. Download it again."
        )
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: this is a Git LFS pointer, not the weights. Run 'git lfs pull'.")


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(512)


def _read_safetensors(path: Path) -> object:
    with boundary(ModelError, f"{path}: not a whole safetensors file", "Copy or download it again."):
        return load_file(path, device="cpu")


def _read_pickled(path: Path) -> object:
    if not _head(path).startswith(MAGIC):
        raise ModelError(f"{path}: this is no PyTorch file. Expected what torch.save(model.state_dict(), path) writes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the file's format, which the errors below explain
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: {_more_than_tensors(str(error))}") from error
    except Exception as error:  # RuntimeError, EOFError, KeyError, ... depending on where the damage is
        if "TorchScript" in str(error):
            raise ModelError(f"{path}: this is a TorchScript archive. {WEIGHTS_ONLY}") from error
        raise ModelError(
            f"{path}: not a whole PyTorch file: truncated or damaged. Copy or download it again."
        ) from error


def _more_than_tensors(reason: str) -> str:
    """Say what a pickle asks for that `torch.load` refuses to give, and what to do instead."""
    wanted = re.search(r"GLOBAL ([\w.]+)", reason)
    what = f" (it asks for '{wanted[1]}')" if wanted else ""
    return (
        f"the file holds more than tensors{what}, and reading it could run code, so nothing of it was used. "
        f"{WEIGHTS_ONLY}"
    )


def _state_dict(path: Path, content: object) -> dict[str, Tensor]:
    """Find the state dict in what was read: the content itself, or in a container."""
    for _ in range(len(CONTAINERS)):
        if not isinstance(content, Mapping) or _has_tensors(content):
            break
        inner = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not _has_tensors(content):
        what = (
            f"a dict with {_listed([repr(key) for key in content])}" if isinstance(content, Mapping) else _kind(content)
        )
        raise ModelError(f"{path}: expected a state dict (tensors by name), got {what}.")
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor) and _counts(str(key))}


def _has_tensors(content: Mapping[object, object]) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def _kind(content: object) -> str:
    return f"a {type(content).__name__}"


def _counts(key: str) -> bool:
    """Tell whether a key matters: the number of batches that batch norm saw does not."""
    return not key.endswith("num_batches_tracked")


def _without_prefix(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip prefixes that all keys share, as long as that makes more keys fit."""
    best = current = dict(found)
    while current and (prefix := _shared_prefix(current)):
        current = {key.removeprefix(prefix): value for key, value in current.items()}
        if len(current.keys() & wanted.keys()) > len(best.keys() & wanted.keys()):
            best = current
    return best


def _shared_prefix(keys: Iterable[str]) -> str | None:
    return next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in keys)), None)


def _check_fit(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], advice: str) -> None:
    needed = {key for key in wanted if _counts(key)}
    shapes = [
        f"'{key}' {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    complaints = [
        *_complaint("missing", [f"'{key}'" for key in wanted if key in needed - found.keys()]),
        *_complaint("unexpected", [f"'{key}'" for key in found if key not in wanted]),
        *_complaint("of another shape", shapes),
    ]
    if complaints:
        raise ModelError(
            f"{path}: the weights do not fit the network, which has {len(needed)} tensors:\n"
            + "\n".join([*complaints, advice])
        )


def _complaint(what: str, names: list[str]) -> list[str]:
    return [f"  - {len(names)} {what}: {_listed(names)}"] if names else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more
