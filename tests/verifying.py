"""The verifier as it travels, a lone file of no package, and how tests call it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bundles import Bundle

VERIFIER = Path(__file__).parent.parent / "distill_offline" / "bundle" / "verifier" / "verify.py"


def _load() -> ModuleType:
    specification = importlib.util.spec_from_file_location("verify", VERIFIER)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


verifier = _load()


def check(bundle: Bundle, progress: Any = None, stop: Any = None, **options: Any) -> Any:
    """The report, by default with a key for each signature that is there."""
    keys = {"allowed_signers": bundle.keys("own.allowed"), "openssl_key": bundle.keys("own.pub.pem")}
    defaults = {name: keys[name] for name in keys if name != "allowed_signers" or bundle.with_ssh}
    return verifier.verify(str(bundle.path), verifier.Options(**{**defaults, **options}), progress, stop)


def said(report: Any) -> list[str]:
    return [f"{problem.path}: {problem.reason}" for problem in report.findings.listed]


def own_paths(bundle: Bundle, options: dict[str, Any]) -> dict[str, Any]:
    """Names of keys and of files beside the bundle, as paths."""
    found = dict(options)
    for name in ("allowed_signers", "revoked"):
        if found.get(name):
            found[name] = bundle.keys(found[name])
    for name in ("last_sequence_file", "target_dir"):
        if found.get(name):
            found[name] = str(bundle.path.parent / found[name])
    if found.get("fingerprint"):
        found["fingerprint"] = bundle.keys.fingerprint("own")
    return found


def command(bundle: Bundle, *arguments: str, python: str = sys.executable, **settings: Any) -> Any:
    """The command line's exit code and output."""
    line = [python, "-I", "-S", "-B", str(VERIFIER), str(bundle.path), *arguments]
    return subprocess.run(line, capture_output=True, text=True, **settings)
