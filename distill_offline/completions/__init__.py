"""The store of raw completions, one SQLite file: appended to, looked up by digest, merged, and told to forget."""

from distill_offline.completions.absorb import Absorbed, absorb, check_readable
from distill_offline.completions.store import CompletionStore, check_free, prompt_digest
from distill_offline.completions.tables import Answer, Row

__all__ = ["Absorbed", "Answer", "CompletionStore", "Row", "absorb", "check_free", "check_readable", "prompt_digest"]
