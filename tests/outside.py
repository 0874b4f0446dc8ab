"""Distributions from outside, made by hand on a path: a module and a .dist-info folder with its entry points."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["distribution", "forget"]


def distribution(folder: Path, name: str, source: str, points: Mapping[str, Mapping[str, str]]) -> Path:
    """Module `name` with that source, and a distribution that offers `points`: kind → entry point → target."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    sections = (
        f"[distill_offline.{kind}]\n" + "".join(f"{point} = {target}\n" for point, target in offers.items())
        for kind, offers in points.items()
    )
    (info / "entry_points.txt").write_text("\n".join(sections))
    return folder


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """The modules are imported anew; afterwards they are as before."""
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
