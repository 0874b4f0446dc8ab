"""How large wheels are that nobody has downloaded yet: asked of the index, as pip's configuration says to reach it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3

from distill_offline.bundle import pip
from distill_offline.bundle.resolve import Package

__all__ = ["sizes"]

_SECONDS = urllib3.Timeout(connect=15, read=30)


def sizes(packages: Iterable[Package]) -> dict[str, int | None]:
    """Bytes by SHA-256; None if the index does not say (or wants credentials that only pip has)."""
    settings = pip.configuration()
    pool = _pool(settings.get("cert"), settings.get("proxy") or os.environ.get("https_proxy"))
    listed = list(packages)
    with ThreadPoolExecutor(max_workers=8) as threads:
        results = threads.map(lambda package: _size(package.url, pool), listed)
        return {package.sha256: size for package, size in zip(listed, results, strict=True)}


def _pool(certificates: str | None, proxy: str | None) -> urllib3.PoolManager:
    about = {"ca_certs": certificates, "timeout": _SECONDS, "retries": urllib3.Retry(2, redirect=4)}
    return urllib3.ProxyManager(proxy, **about) if proxy else urllib3.PoolManager(**about)  # type: ignore[arg-type]


def _size(url: str, pool: urllib3.PoolManager) -> int | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        return path.stat().st_size if path.is_file() else None
    if parts.scheme not in ("http", "https"):
        return None
    host = parts.netloc.rpartition("@")
    headers = urllib3.make_headers(basic_auth=unquote(host[0])) if host[0] and "****" not in host[0] else {}
    try:
        answer = pool.request("HEAD", urlunsplit(parts._replace(netloc=host[2])), headers=headers)
    except urllib3.exceptions.HTTPError:
        return None
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.status == 200 and length.isdigit() else None
