"""``edgecnn targets``: which devices a bundle can be made for."""

from __future__ import annotations

from dataclasses import asdict

from edgecnn.cli import console

EXAMPLES = ("edgecnn targets", "edgecnn targets --json")


def command(as_json: console.JsonOption = False) -> None:
    """List the targets: the device, its engine, and what the bundle holds for it."""
    from edgecnn.profile import load_target, targets

    profiles = [load_target(name) for name in targets()]
    if as_json:
        console.emit_json({"targets": [asdict(profile) for profile in profiles]})
        return
    console.table(
        "",
        ("target", "device and engine", "artefact"),
        [(profile.name, profile.title, profile.artefact) for profile in profiles],
    )
