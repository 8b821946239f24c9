"""A user's own network: ``file.py:factory``, the file imported, the factory called without arguments."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from edgecnn.errors import ModelError


def load_arch(arch: str) -> nn.Module:
    """Build the network that ``arch`` names, in evaluation mode.

    Args:
        arch: ``path/to/file.py:factory``. The factory is a function or class that needs no arguments and returns a
            `torch.nn.Module`, or a finished module. The file may import files that lie beside it.

    Raises:
        ModelError: If the text has another form, the file is missing or fails, there is no such factory (near names
            suggested), or the factory fails or returns something else.
    """
    file, separator, factory = arch.rpartition(":")
    if not separator or not file.endswith(".py") or not factory.isidentifier():
        raise ModelError(f"expected an architecture as file.py:factory, e.g. my_net.py:build, got '{arch}'.")
    path = Path(file)
    if not path.is_file():
        raise ModelError(f"architecture {path}: no such file.")
    with _importable_siblings(path):
        module = _import(path)
        return _checked(_build(module, path, factory), path, factory).eval()


@contextmanager
def _importable_siblings(path: Path) -> Iterator[None]:
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _import(path: Path) -> ModuleType:
    name = f"edgecnn_arch_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"architecture {path}: cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(f"architecture {path}: importing it failed: {_described(error)}.") from error
    return module


def _build(module: ModuleType, path: Path, factory: str) -> object:
    if not hasattr(module, factory):
        known = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        near = difflib.get_close_matches(factory, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ModelError(f"architecture {path}: there is no '{factory}' in it.{hint} It has: {', '.join(known)}.")
    found = getattr(module, factory)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise ModelError(f"architecture {path}: '{factory}' is {_article(found)}, expected a function or a class.")
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"architecture {path}: {factory}() failed: {_described(error)}. It is called without arguments."
        ) from error


def _checked(built: object, path: Path, factory: str) -> nn.Module:
    if not isinstance(built, nn.Module):
        raise ModelError(f"architecture {path}: {factory}() must return a torch.nn.Module, got {_article(built)}.")
    return built


def _article(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def _described(error: BaseException) -> str:
    """Return type and text of an error, and its line where it is one of syntax."""
    line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {str(error).rstrip('.')}{line}"
