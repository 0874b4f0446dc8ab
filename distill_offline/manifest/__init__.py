"""What made a folder, sealed beside it: verify it later, file by file, from a run down to its stages.

A manifest is written last and atomically, so a folder that has one is whole. Its words are in statement.py.
"""

from distill_offline.manifest.checking import Finding, verify
from distill_offline.manifest.folder import NAME, dependencies_of
from distill_offline.manifest.reading import bundle_of, fingerprint_of, is_whole, read, show, why_not_whole
from distill_offline.manifest.sealing import link, seal, seal_again, seal_run, unseal
from distill_offline.manifest.statement import versions
from distill_offline.storage.digests import digest_of

__all__ = [
    "NAME",
    "Finding",
    "bundle_of",
    "dependencies_of",
    "digest_of",
    "fingerprint_of",
    "is_whole",
    "link",
    "read",
    "seal",
    "seal_again",
    "seal_run",
    "show",
    "unseal",
    "verify",
    "versions",
    "why_not_whole",
]
