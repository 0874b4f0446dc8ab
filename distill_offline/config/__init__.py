"""The configuration: one dataclass a section, and how YAML becomes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill_offline.config.loading import as_plain, dump, load, parse_settings

__all__ = ["as_plain", "dump", "load", "parse_settings"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What reads YAML, when it is asked for: pydantic takes longer to load than all settings."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from distill_offline.config import loading

        return getattr(loading, name)
