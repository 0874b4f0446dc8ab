"""Who signed a manifest, and whether it is someone whom the caller trusts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_offline.bundle.dsse import ENVELOPE, envelope_problem
from distill_offline.bundle.verifier import verify
from distill_offline.errors import EnvironmentFault, InputError
from distill_offline.manifest import NAME
from distill_offline.provenance.links import Link, broken, gap

__all__ = ["Trust", "signer"]

_BOTH = (verify.SSH_SIGNATURE, verify.P256_SIGNATURE)


@dataclass(frozen=True, slots=True)
class Trust:
    """The caller's own keys: ssh-keygen's list of allowed signers, a P-256 public key; every one given must hold."""

    allowed_signers: Path | None = None
    openssl_key: Path | None = None

    def __bool__(self) -> bool:
        return self.allowed_signers is not None or self.openssl_key is not None


def signer(folder: Path, namespace: str, trust: Trust, where: str) -> Link:
    """The link to who signed `folder`/manifest.json. Raises InputError for an unusable key file of the caller.

    Without keys to compare with, a signature that belongs to the manifest is a gap: nobody vouches for its key here.
    """
    there = [name for name in _BOTH if (folder / name).exists()]
    if not there:
        tell = broken if trust else gap
        return Link("signer", "nobody", problems=(tell("unsigned", where, "this manifest is not signed"),))
    options = verify.Options(
        allowed_signers=str(trust.allowed_signers) if trust.allowed_signers else None,
        openssl_key=str(trust.openssl_key) if trust.openssl_key else None,
        namespace=namespace,
    )
    raw, findings = (folder / NAME).read_bytes(), verify.Findings(10)
    try:
        medium = verify.Medium(str(folder))
        try:
            signed_by = _own_words(medium, there)
            results = verify.check_signatures(medium, raw, options, findings)
            if findings.total:
                first = findings.listed[0]
                what = _kind_of_failure(medium, raw, options, first.path, there)
                return Link("signer", signed_by, problems=(broken(what, where, f"{first.path} {first.reason}"),))
            if (folder / ENVELOPE).exists() and (fault := envelope_problem(folder, raw, trust.openssl_key)):
                return Link("signer", signed_by, problems=(broken("bad-signature", where, f"{ENVELOPE} {fault}"),))
            if not trust:
                return _unvouched(verify.SSH_SIGNATURE not in there or _belongs(medium, raw, options), signed_by, where)
        finally:
            medium.close()
    except verify.UsageFault as fault:
        raise InputError(str(fault)) from fault
    except verify.MachineFault as fault:
        raise EnvironmentFault(str(fault)) from fault
    return Link("signer", " and ".join(result["signer"] for result in results if result["result"] == "good"), "trusted")


def _own_words(medium: verify.Medium, there: list[str]) -> str:
    """What the signatures say of themselves."""
    words = []
    for name in there:
        try:
            content = medium.read(name, verify.LIMIT_SIGNATURE)
            words.append(verify.SshSignature.parse(content).fingerprint if name == verify.SSH_SIGNATURE else "P-256")
        except verify.Unusable:
            words.append(f"{name} is unreadable")
    return " and ".join(words)


def _belongs(medium: verify.Medium, raw: bytes, options: verify.Options) -> bool:
    """Whether the ssh signature is one over these bytes, by whatever key."""
    try:
        fingerprint = verify.SshSignature.parse(medium.read(verify.SSH_SIGNATURE, verify.LIMIT_SIGNATURE)).fingerprint
        verify.check_ssh_signature(medium, raw, options._replace(allowed_signers=None, fingerprint=fingerprint))
    except verify.Unusable:
        return False
    return True


def _kind_of_failure(medium: verify.Medium, raw: bytes, options: verify.Options, name: str, there: list[str]) -> str:
    if name not in there:
        return "unsigned"
    is_strange = name == verify.SSH_SIGNATURE and _belongs(medium, raw, options)
    return "key-not-trusted" if is_strange else "bad-signature"


def _unvouched(belongs: bool, signed_by: str, where: str) -> Link:
    if belongs:
        problem = gap(
            "signer-unknown", where, f"signed by {signed_by}; give --allowed-signers, so that this can be judged"
        )
    else:
        problem = broken("bad-signature", where, f"{verify.SSH_SIGNATURE} does not belong to this manifest")
    return Link("signer", signed_by, problems=(problem,))
