"""One request and its answer over HTTP, with limits on time and size, asked again if the server is busy or gone."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3

from distill_offline.errors import DistillError

__all__ = ["BUSY", "Exchange", "Reply", "TooLarge", "TooSlow", "Unreachable"]

BUSY = (408, 409, 425, 429, 502, 503, 504)  # worth another try, and no prompt's fault
_PASSING = (*BUSY, 500)  # a 500 that stays may be one prompt's fault
_CONNECT_S = 10.0
_LONGEST_WAIT = 120  # times `backoff_s`
_ONCE = urllib3.Retry(0, redirect=0, raise_on_redirect=False)  # whoever asks counts the tries
_PIECE = 1 << 16  # bytes
_LARGEST = 32 << 20  # bytes of an answer; the log-probabilities of thousands of tokens take a few million


class TooSlow(DistillError):
    """The server began to answer, or not even that, and was not done in time."""


class TooLarge(DistillError):
    """The server's answer is larger than any answer can be."""


class Unreachable(DistillError):
    """No answer after the last try; the message names the kind of failure, without the address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status, and the body with any compression undone."""

    status: int
    body: bytes


class Exchange:
    """Posts JSON to one server. Safe to use from several threads.

    `timeout_s`: for one whole answer, from the first byte sent to the last received, and the longest wait that a
    Retry-After header can ask for. `retries`: further tries after 0, 2, 4, 8 ... and at most 120 times `backoff_s`.
    Redirects are answers like any other.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        connections: int,
        timeout_s: float,
        retries: int,
        backoff_s: float,
        largest: int = _LARGEST,
    ) -> None:
        self._timeout_s, self._largest = timeout_s, largest
        self._retry = urllib3.Retry(
            retries,
            redirect=0,
            allowed_methods={"POST"},
            backoff_factor=backoff_s,
            backoff_jitter=backoff_s / 2,
            backoff_max=_LONGEST_WAIT * backoff_s,
            retry_after_max=math.ceil(timeout_s),
            raise_on_redirect=False,
        )
        timeout = urllib3.Timeout(connect=min(_CONNECT_S, timeout_s), read=timeout_s)
        self._pool = urllib3.PoolManager(maxsize=connections, timeout=timeout, headers=dict(headers))

    def post(self, url: str, body: bytes) -> Reply:
        """The server's answer. Raises TooSlow, TooLarge or Unreachable."""
        retry = self._retry
        while True:
            reply: Reply | None = None
            failure: urllib3.exceptions.HTTPError | None = None
            response: urllib3.BaseHTTPResponse | None = None
            end = time.monotonic() + self._timeout_s
            try:
                response = self._pool.request(
                    "POST", url, body=body, retries=_ONCE, preload_content=False, redirect=False
                )
                reply = Reply(response.status, self._body(response, end))
            except urllib3.exceptions.MaxRetryError as error:
                failure = error.reason if isinstance(error.reason, urllib3.exceptions.HTTPError) else error
            except urllib3.exceptions.HTTPError as error:
                failure = error
            if isinstance(failure, urllib3.exceptions.ReadTimeoutError):
                raise TooSlow(f"no answer within {self._timeout_s:g} s") from failure
            if reply is not None and reply.status not in _PASSING:
                return reply
            try:
                retry = retry.increment("POST", url, response=response if reply else None, error=failure)
            except urllib3.exceptions.MaxRetryError as error:
                if reply is not None:
                    return reply
                raise Unreachable(type(failure).__name__) from error
            retry.sleep(response if reply else None)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _body(self, response: urllib3.BaseHTTPResponse, end: float) -> bytes:
        """All of a body, piece by piece; a connection whose body was not read to its end is not used again."""
        pieces, size, is_whole = list[bytes](), 0, False
        try:
            while piece := response.read1(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > self._largest:
                    raise TooLarge(f"an answer of more than {self._largest >> 20} MiB")
                if time.monotonic() > end:
                    raise TooSlow(f"no whole answer within {self._timeout_s:g} s")
            is_whole = True
        finally:
            if is_whole:
                response.release_conn()
            else:
                response.close()
        return b"".join(pieces)
