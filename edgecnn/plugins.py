"""One file is one plug-in, found by its name: modules by their file, settings by their TOML.

Nothing is registered and no list is edited. Finding imports nothing, so that a command's help does not load torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from edgecnn.errors import OptionError, unknown_name


def discover(package: str) -> dict[str, str]:
    """Find the plug-ins of a package without importing it, or anything.

    Args:
        package: Dotted name of a package, e.g. ``"edgecnn.runtime.engines"``.

    Returns:
        Full module name by plug-in name, sorted. Files and packages that start with ``_`` are not plug-ins.
        Empty where the package does not exist.
    """
    names = set()
    for folder in _folders(package):
        names |= {path.stem for path in folder.glob("*.py")}
        names |= {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name: f"{package}.{name}" for name in sorted(names) if name.isidentifier() and not name.startswith("_")}


def load(package: str, name: str) -> ModuleType:
    """Import one plug-in on demand.

    Args:
        package: Dotted name of the package that holds it.
        name: The plug-in's name: its file's name without ``.py``.

    Raises:
        OptionError: If there is no such plug-in, near names suggested, or the name is no plain identifier.
    """
    kind = package.rpartition(".")[2].removesuffix("s")
    check_identifier(kind, name)
    found = discover(package)
    if name not in found:
        raise unknown_name(kind, name, found)
    return importlib.import_module(found[name])


def check_identifier(kind: str, name: str) -> None:
    """Refuse a name that could reach outside its folder, e.g. ``"../evil"`` or ``"a.b"``.

    Raises:
        OptionError: If ``name`` is not a plain identifier (hyphens allowed) or starts with ``_``.
    """
    if not name.replace("-", "_").isidentifier() or name.startswith("_"):
        raise OptionError(f"a {kind}'s name is letters, digits, '-' and '_', starting with a letter; got '{name}'")


def data_files(folder: str) -> dict[str, Path]:
    """Find the TOML files of ``targets`` or ``calibration/recipes``, in a checkout or in an installed wheel.

    Args:
        folder: Path of the folder relative to the project's root.

    Returns:
        Path by name (the file's name without ``.toml``), sorted by name.
    """
    package = Path(__file__).parent
    for root in (package / "_data", package.parent):
        if files := sorted((root / folder).glob("*.toml"), key=lambda path: path.stem):
            return {path.stem: path for path in files}
    return {}


def _folders(package: str) -> list[Path]:
    """Return the folders of ``package``; a parent package is located, not imported."""
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    roots = spec.submodule_search_locations if spec else None
    return [Path(root, *rest) for root in roots or ()]
