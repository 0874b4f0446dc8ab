"""A run's manifest in a signed DSSE envelope, for tools that read in-toto attestations (DSSE protocol 1.0)."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from distill_offline.bundle.signing import RUN_NAMESPACE, namespace_of, p256_public, run, write_signature
from distill_offline.bundle.verifier import verify
from distill_offline.errors import ConfigError

__all__ = ["ENVELOPE", "envelope_problem", "wrap"]

ENVELOPE = "manifest.json.dsse"
_TYPE = "application/vnd.in-toto+json"


def wrap(manifest: Path, key: Path) -> str:
    """Write manifest.json.dsse beside a run's manifest, signed by a P-256 key in PEM; says by which key.

    Raises ConfigError for a bundle's manifest or a key of another kind, EnvironmentFault where openssl fails.
    """
    if namespace_of(manifest) != RUN_NAMESPACE:
        raise ConfigError(
            f"{manifest}: is not an in-toto statement; only the manifest of a run or stage goes into DSSE."
        )
    raw, (_, keyid) = manifest.read_bytes(), p256_public(key)
    signature = run(["openssl", "dgst", "-sha256", "-sign", str(key)], _encoded(raw))
    envelope = {
        "payloadType": _TYPE,
        "payload": base64.b64encode(raw).decode("ascii"),
        "signatures": [{"keyid": f"sha256:{keyid}", "sig": base64.b64encode(signature).decode("ascii")}],
    }
    write_signature(manifest.with_name(ENVELOPE), (json.dumps(envelope) + "\n").encode("ascii"))
    return f"P-256 key sha256:{keyid} (DSSE)"


def envelope_problem(folder: Path, raw: bytes, key: Path | None) -> str:
    """What is wrong with the envelope beside a manifest of these bytes, or ""; signatures are checked with a key.

    Raises the verifier's UsageFault for a key that is none, its MachineFault where openssl is missing.
    """
    try:
        envelope = json.loads((folder / ENVELOPE).read_bytes())
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(signature["sig"], validate=True) for signature in envelope["signatures"]]
        kind = envelope["payloadType"]
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return "is not a DSSE envelope"
    if kind != _TYPE or payload != raw:
        return "holds another statement than manifest.json"
    if key is None:
        return ""
    public, openssl = verify.p256_key(str(key))[0], verify.program("openssl", None)
    holds = any(verify.p256_verifies(openssl, public, signature, _encoded(raw))[0] for signature in signatures)
    return "" if holds else "is not signed by your P-256 key"


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, so that the type is signed with the payload."""
    kind = _TYPE.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
