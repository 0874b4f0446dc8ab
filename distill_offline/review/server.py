"""The page on which people review, served on this machine, or as one file for those who cannot reach it.

Each person has a token of their own, which is in the part of the address that browsers do not send; every request for
data carries it in a header, which no other page can do. Requests with another Host than the one served are refused.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from distill_offline.errors import InputError, MissingPackage
from distill_offline.label_kinds import kind_of
from distill_offline.report import as_json, script_of
from distill_offline.review.decisions import Decision, append, labels_of, latest, parse, read
from distill_offline.review.queue import Item
from distill_offline.schema import Head, text_digest

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Review", "application", "check_address", "guideline_digest", "page", "serve"]

_LARGEST = 1_000_000  # bytes of a decision


@dataclass(slots=True)
class Review:
    """What is reviewed: each person's items, the types and the guideline that they see, and where decisions go."""

    name: str
    head: Head
    types: Mapping[str, str]
    guideline: str
    items: Mapping[str, Sequence[Item]]
    file: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = {secrets.token_urlsafe(24): name for name in self.items}

    @property
    def guideline_digest(self) -> str:
        return guideline_digest(self.types, self.guideline)

    def data(self, reviewer: str) -> dict[str, Any]:
        """All that one person's page shows, with what they decided already."""
        decided = {id_: row for (id_, name), row in latest(self._decisions()).items() if name == reviewer}
        return {
            "name": self.name,
            "reviewer": reviewer,
            "per_token": kind_of(self.head).per_token,
            "several": self.head == "multi-label-classification",
            "types": dict(self.types),
            "guideline": self.guideline,
            "guideline_digest": self.guideline_digest,
            "items": [_item(item) for item in self.items[reviewer]],
            "decided": {id_: {"action": row.action, "spans": row.spans} for id_, row in decided.items()},
        }

    def decide(self, reviewer: str, row: Mapping[str, Any]) -> Decision:
        """Store a decision. Raises ValueError for one that is none, or about a sentence that is not this person's."""
        item = next((item for item in self.items[reviewer] if item.sentence.id == row.get("id")), None)
        if item is None:
            raise ValueError("this sentence is not yours")
        stated = {
            "document": item.sentence.document,
            "text": text_digest(item.sentence.text),
            "reviewer": reviewer,
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "suggested": item.suggested,
            "source": item.source,
            "guideline": self.guideline_digest,
        }
        decision = parse({**row, **stated})
        if decision.action in ("accept", "correct"):
            labels_of(self.head, decision.spans, len(item.sentence.tokens))
            if strange := {name for _, _, name in decision.spans} - set(self.types):
                raise ValueError(f"{sorted(strange)[0]} is none of the types")
        append(self.file, decision)
        return decision

    def _decisions(self) -> list[Decision]:
        return list(read(self.file)) if self.file.exists() else []


def guideline_digest(types: Mapping[str, str], guideline: str) -> str:
    """What tells whether people had the same types and the same guideline before them."""
    return hashlib.sha256(json.dumps([dict(types), guideline]).encode()).hexdigest()[:16]


def _item(item: Item) -> dict[str, Any]:
    sentence = item.sentence
    return {
        "id": sentence.id,
        "document": sentence.document,
        "text_digest": text_digest(sentence.text),
        "tokens": sentence.tokens,
        "gaps": _gaps(sentence.text, sentence.offsets),
        "suggested": item.suggested,
        "confidences": item.confidences,
        "source": item.source,
        "reason": item.reason,
    }


def _gaps(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    """What stands before each token and behind the last one."""
    ends = [0, *(end for _, end in offsets)]
    starts = [*(start for start, _ in offsets), len(text)]
    return [text[end:start] for end, start in zip(ends, starts, strict=True)]


def page(data: Mapping[str, Any] | None = None) -> str:
    """The page as HTML; with `data` it needs no server, and gives the decisions as a file to save."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distill_offline", "review"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script, script_digest = script_of("distill_offline.review", "review.js")
    return environment.get_template("review.html.jinja").render(
        data=as_json(data),
        script=script,
        script_digest=script_digest,
        is_file=data is not None,
    )


def application(review: Review, hosts: Sequence[str]) -> Starlette:
    """The page, its data and its decisions. Raises MissingPackage without starlette."""
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import HTMLResponse, JSONResponse
        from starlette.routing import Route
    except ImportError as error:
        raise MissingPackage("review needs starlette and uvicorn: install distill_offline[review].") from error

    html = page()

    def reviewer_of(request: Request) -> str | None:
        given = request.headers.get("x-token", "").encode()
        return next(
            (who for token, who in review.tokens.items() if secrets.compare_digest(token.encode(), given)), None
        )

    async def show(request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        return HTMLResponse(html, headers=headers)

    async def give(request: Request) -> Response:
        reviewer = reviewer_of(request)
        if reviewer is None:
            return JSONResponse({"error": "this address has no valid token"}, 403)
        return JSONResponse(review.data(reviewer), headers={"Cache-Control": "no-store"})

    async def take(request: Request) -> Response:
        reviewer = reviewer_of(request)
        if reviewer is None:
            return JSONResponse({"error": "this address has no valid token"}, 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST:
                return JSONResponse({"error": "too large"}, 413)
        try:
            review.decide(reviewer, json.loads(body))
        except (ValueError, AttributeError, RecursionError) as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"stored": True})

    routes = [Route("/", show), Route("/data", give), Route("/decisions", take, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts])])


def serve(review: Review, host: str, port: int, *, certificate: Path | None = None, key: Path | None = None) -> None:
    """Serve until interrupted, on `host`:`port`. Raises MissingPackage without uvicorn."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingPackage("review needs starlette and uvicorn: install distill_offline[review].") from error

    made = application(review, ["127.0.0.1", "localhost"] if host in ("127.0.0.1", "localhost") else ["*"])
    review.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    uvicorn.run(
        made, host=host, port=port, log_config=None, log_level="warning", access_log=False, server_header=False,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip


def check_address(host: str, port: int, certificate: Path | None = None, key: Path | None = None) -> None:
    """Raises InputError if nothing can be served there, or the certificate and its key cannot be used."""
    if certificate is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # ssl's own errors are OSErrors
            said = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            raise InputError(f"review: --certificate {certificate} and --key {key} cannot be used ({said}).") from error
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise InputError(f"review: {host}, port {port}, cannot be served ({said}). Choose another --port.") from error
