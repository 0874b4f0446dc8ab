"""Signatures over a manifest, of a bundle or of a run: by ssh-keygen, and by openssl for hosts that need P-256."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_offline import children
from distill_offline.bundle.verifier import verify
from distill_offline.errors import ConfigError, EnvironmentFault
from distill_offline.manifest.statement import STATEMENT

__all__ = ["RUN_NAMESPACE", "Keys", "namespace_of", "p256_public", "run", "sign", "write_signature"]

RUN_NAMESPACE = "distill-offline-run"


class Keys:
    """What to sign with. `ssh` is a private key, or the public half of one that an agent holds; `p256` is a PEM."""

    def __init__(self, ssh: Path | None = None, p256: Path | None = None) -> None:
        self.ssh, self.p256 = ssh, p256
        for path in (ssh, p256):
            if path is not None and not path.is_file():
                raise ConfigError(f"{path}: there is no such key file.")

    def __bool__(self) -> bool:
        return self.ssh is not None or self.p256 is not None


def namespace_of(manifest: Path) -> str:
    """The ssh namespace for a manifest, told by its content: a signature for a run can never pass for a bundle's."""
    try:
        value: Any = json.loads(manifest.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{manifest}: is not a manifest that can be signed ({type(error).__name__}).") from error
    if isinstance(value, dict) and value.get("schema") == verify.SCHEMA:
        return verify.NAMESPACE
    if isinstance(value, dict) and value.get("_type") == STATEMENT:
        return RUN_NAMESPACE
    raise ConfigError(f"{manifest}: is neither a bundle's manifest nor that of a run or stage.")


def sign(manifest: Path, keys: Keys) -> list[str]:
    """Write manifest.json.sig and/or manifest.json.p256 beside it, each proven to hold; says by which keys.

    The ssh namespace is `distill-offline-bundle` or `distill-offline-run` (namespace_of). Raises ConfigError for a key
    of another kind, EnvironmentFault where a tool is missing or fails.
    """
    said = []
    if keys.ssh:
        said.append(_sign_ssh(manifest, keys.ssh, namespace_of(manifest)))
    if keys.p256:
        namespace_of(manifest)  # openssl signs whatever it is given
        said.append(_sign_p256(manifest, keys.p256))
    return said


def _sign_ssh(manifest: Path, key: Path, namespace: str) -> str:
    signature = run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace], manifest.read_bytes())
    try:
        parsed = verify.SshSignature.parse(signature)
    except verify.Unusable as unusable:
        raise EnvironmentFault("ssh-keygen wrote no signature. It needs OpenSSH 8.1 or later.") from unusable
    if parsed.key_type not in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256"):
        raise ConfigError(f"{key.name}: is a key of the kind {parsed.key_type}; sign with ed25519 or ecdsa P-256.")
    write_signature(manifest.with_name(manifest.name + ".sig"), signature)
    return parsed.fingerprint


def _sign_p256(manifest: Path, key: Path) -> str:
    public, digest = p256_public(key)
    raw = manifest.read_bytes()
    signature = run(["openssl", "dgst", "-sha256", "-sign", str(key)], raw)
    try:
        good, said = verify.p256_verifies(verify.program("openssl", None), public, signature, raw)
    except verify.MachineFault as fault:
        raise EnvironmentFault(f"{fault}.") from fault
    if not good:
        raise EnvironmentFault(f"openssl made a signature that it does not call good: {said[:300]}")
    write_signature(manifest.with_name(manifest.name + ".p256"), signature)
    return f"P-256 key sha256:{digest}"


def p256_public(key: Path) -> tuple[bytes, str]:
    """The PEM and digest of a private key's public half. Raises ConfigError if it is not on P-256."""
    public = run(["openssl", "pkey", "-in", str(key), "-pubout"])
    try:
        return public, verify.p256_digest(public, key.name)
    except verify.UsageFault as fault:
        raise ConfigError(f"{key.name}: is not a key on P-256 (openssl ecparam -name prime256v1 -genkey).") from fault


def run(command: Sequence[str], stdin: bytes | None = None) -> bytes:
    """A tool's output. It may ask for a passphrase on the terminal. Raises EnvironmentFault."""
    try:
        done = children.run(command, input_data=stdin)
    except FileNotFoundError as error:
        raise EnvironmentFault(f"{command[0]} is not installed; signing needs it.") from error
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        raise EnvironmentFault(f"{command[0]} could not sign: {reason}")
    return bytes(done.stdout)


def write_signature(path: Path, content: bytes) -> None:
    """Put a signature beside its manifest, in one step and readable for all."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".signature-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(partial).chmod(0o644)
    Path(partial).replace(path)
