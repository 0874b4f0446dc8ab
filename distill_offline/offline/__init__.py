"""The air-gap promise: connections are refused, the kernel cuts the network off, and a tracer looks for leaks."""

from distill_offline.offline.connections import (
    ALLOW_VARIABLE,
    ENVIRONMENT,
    allow,
    enforce,
    enforce_from_environment,
    hosts,
    is_enforced,
    permit_all,
    proxies,
    stops,
)

__all__ = [
    "ALLOW_VARIABLE",
    "ENVIRONMENT",
    "allow",
    "enforce",
    "enforce_from_environment",
    "hosts",
    "is_enforced",
    "permit_all",
    "proxies",
    "stops",
]
