"""What air_gap_bundle.sh calls: python -m distill_offline.bundle build | sign."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill_offline.bundle.build import build, resolve_only
from distill_offline.bundle.settings import load
from distill_offline.bundle.signing import Keys, sign
from distill_offline.errors import DistillError, Interrupted
from distill_offline.offline.signals import own_sigchld

__all__ = ["main"]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="air_gap_bundle.sh", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("build", allow_abbrev=False, help="build a bundle on the connected side")
    make.add_argument("config", type=Path, metavar="CONFIG", help="the bundle's configuration")
    make.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder, not yet there"
    )
    make.add_argument("--target", type=Path, metavar="PROFILE", help="what probe wrote on the isolated host")
    make.add_argument("--resolve-only", action="store_true", help="write locks and sizes, download no wheels")
    make.add_argument("--json", action="store_true", help="print the result as JSON")
    seal = verbs.add_parser("sign", allow_abbrev=False, help="sign a bundle's or a run's manifest.json")
    seal.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a bundle, a run or a stage: what has a manifest.json"
    )
    for command in (make, seal):
        command.add_argument("--ssh-key", type=Path, metavar="KEY", help="sign by ssh-keygen -Y (ed25519 or P-256)")
        command.add_argument(
            "--openssl-key", type=Path, metavar="PEM", help="sign by openssl (P-256), besides or instead"
        )
    return parser.parse_args(argv)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _run(arguments: argparse.Namespace) -> str:
    keys = Keys(arguments.ssh_key, arguments.openssl_key)
    if arguments.verb == "sign":
        if not keys:
            raise SystemExit("air_gap_bundle.sh sign: give --ssh-key KEY or --openssl-key PEM")
        return "\n".join(f"signed by {signer}" for signer in sign(arguments.folder / "manifest.json", keys))
    settings = load(arguments.config)
    if arguments.resolve_only:
        summary = resolve_only(settings, arguments.output, arguments.target, _say)
        return _shown(summary) if arguments.json else _sizes(summary)
    built = build(settings, arguments.output, arguments.target, keys, _say)
    if arguments.json:
        return _shown({**asdict(built), "folder": str(built.folder)})
    signed = f"signed by {' and '.join(built.signers)}" if built.signers else "NOT SIGNED: sign it before it is carried"
    about = f"{built.files} files, {built.bytes} bytes; {built.installed_bytes} are needed to install it"
    return "\n".join([*(f"note: {note}" for note in built.notes), f"{built.bundle_id}: {about}; {signed}"])


def _shown(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


def _sizes(summary: dict[str, Any]) -> str:
    lines = []
    for name, one in summary["environments"].items():
        unknown = f", {len(one['unknown_sizes'])} of unknown size" if one["unknown_sizes"] else ""
        lines.append(f"{name}: {one['packages']} packages, {one['bytes']} bytes{unknown}, glibc {one['min_glibc']}")
    return "\n".join([*lines, f"to download: {summary['download_bytes']} bytes"])


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Results on stdout, progress on stderr; the exit code is that of the error (see errors.py)."""
    own_sigchld()
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.stdout.write(_run(_arguments(argv)) + "\n")
    except DistillError as error:
        _say(f"air_gap_bundle.sh: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("air_gap_bundle.sh: interrupted; the same command goes on.")
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
