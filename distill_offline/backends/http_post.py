"""HTTP requests to one server that may do its worst: bounded in time and in memory, and never led elsewhere."""

from __future__ import annotations

import http.client
import io
import logging
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from distill_offline.errors import ConfigError

__all__ = ["BadReply", "Gone", "Poster", "Reply", "Slow"]

_NO_ANSWER = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_UNREACHED = (
    *(OSError, urllib3.exceptions.NewConnectionError, urllib3.exceptions.TimeoutError),
    *(urllib3.exceptions.SSLError, urllib3.exceptions.ClosedPoolError),
)
_CONNECT_S = 10.0
_LOOK_S = 0.5  # how often a thread that waits for a server looks whether it is to stop
_PIECE = 1 << 16
_MOST_BYTES = 32 << 20  # of one reply, as sent and unpacked: a long answer with the log-probabilities of its tokens
_UNPACKED = {"gzip": 47, "x-gzip": 47, "deflate": 47, "identity": 0, "": 0}  # zlib's window bits; 47: finds out itself


class Gone(Exception):
    """No reply: the server cannot be reached, or hung up before it said anything. The message names the kind.

    `was_idle`: the connection had been used before, so that the server may just have closed it in between.
    """

    def __init__(self, kind: str, *, was_idle: bool = False) -> None:
        super().__init__(kind)
        self.was_idle = was_idle


class Slow(Exception):
    """The server was at work on the reply, or pretended to be, until the time was up."""


class BadReply(Exception):
    """A reply that broke off, is no HTTP, or is too large: the message says which, `may_pass` whether to try again."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class _TooMuch(Exception):
    """More bytes than any reply may have."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Sends JSON to addresses below `base_url` and gives the replies; used by many threads at once.

    `timeout_s` bounds everything from the first byte sent to the last byte of the reply, however slowly they come.
    Redirects and the environment's proxies are ignored: only the host of `base_url` is ever connected to.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str], *, connections: int, timeout_s: float) -> None:
        try:
            address = urllib3.util.parse_url(base_url)
        except urllib3.exceptions.LocationParseError as error:
            raise ConfigError("backend.options.base_url is not an address such as http://10.0.0.7:8000/v1.") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError("backend.options.base_url must start with http:// or https:// and name a host.")
        if address.auth or address.query or address.fragment:
            raise ConfigError(
                "backend.options.base_url holds a password, a query or a fragment: give the plain address, and the "
                "key by api_key_variable."
            )
        is_safe = address.scheme == "https"
        self._path = (address.path or "").rstrip("/")
        self._timeout_s, self._stopping = timeout_s, threading.Event()
        # Its warnings quote what servers send; whatever matters is raised here as well.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._pool = (urllib3.HTTPSConnectionPool if is_safe else urllib3.HTTPConnectionPool)(
            address.host.strip("[]"), address.port, maxsize=connections, headers=dict(headers), retries=False
        )
        self._has_answered = False
        self._pool.ConnectionCls = _Https if is_safe else _Http

    def post(self, path: str, body: bytes) -> Reply:
        """The reply to `body` at base_url + path. Raises Gone, Slow or BadReply; errors of the offline guard pass."""
        deadline = _Deadline(time.monotonic() + self._timeout_s, self._stopping)
        _here.deadline = deadline
        timeout = urllib3.Timeout(connect=min(_CONNECT_S, self._timeout_s), read=self._timeout_s)
        began = False
        try:
            response = self._pool.urlopen(
                "POST",
                self._path + path,
                body=body,
                timeout=timeout,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            self._has_answered = began = True
            try:
                return Reply(response.status, _named(response.headers), _unpacked(response))
            except BaseException:
                response.close()
                raise
            finally:
                response.release_conn()
        except _TooMuch:
            raise BadReply(f"the server's answer is larger than {_MOST_BYTES >> 20} MB") from None
        except _NO_ANSWER as error:
            raise self._fault(error, deadline, began=began) from error

    def stop(self) -> None:
        """Let every request under way end within a moment; those to come, too."""
        self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait; True, and at once, when told to stop."""
        return self._stopping.wait(seconds)

    def begin(self) -> None:
        """Take requests again after a `stop`."""
        self._stopping.clear()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _fault(self, error: Exception, deadline: _Deadline, *, began: bool) -> Exception:
        inner = error
        while isinstance(inner, urllib3.exceptions.ProtocolError) and isinstance(inner.args[-1], Exception):
            inner = inner.args[-1]
        kind = type(inner).__name__
        if isinstance(inner, TimeoutError | urllib3.exceptions.ReadTimeoutError) and deadline.has_passed:
            return Slow(f"no answer within {self._timeout_s:g} s")
        if isinstance(inner, urllib3.exceptions.SSLError) and "certificate" in str(inner).lower():
            return ConfigError(
                "backend.options.base_url: the server's certificate is not trusted here, or is another host's. Name "
                "the file of your site's authority in the environment variable SSL_CERT_FILE."
            )
        if began:
            return BadReply(f"the server's answer broke off ({kind})", may_pass=True)
        if isinstance(inner, _UNREACHED):
            hung_up = isinstance(inner, ConnectionError) and not isinstance(inner, ConnectionRefusedError)
            return Gone(kind, was_idle=hung_up and self._has_answered)
        return BadReply(f"the server's answer is no HTTP ({kind})", may_pass=True)


@dataclass(frozen=True, slots=True)
class _Deadline:
    """Until when a reply must be whole."""

    at: float
    stopping: threading.Event

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.at

    def left(self) -> float:
        """Seconds to wait for the next byte; TimeoutError when there are none left."""
        left = self.at - time.monotonic()
        if left <= 0 or self.stopping.is_set():
            raise TimeoutError("the time is up")
        return min(left, _LOOK_S)


class _Here(threading.local):
    """What the connection of this thread's request has to know, and urllib3 has no way to tell it."""

    deadline = _Deadline(float("inf"), threading.Event())


_here = _Here()


class _Bounded(io.RawIOBase):
    """The bytes of one reply off a socket: no more than a reply may have, and none after the deadline.

    `file` is the socket's own reader: while it is open, so is the socket, even if its connection is closed.
    """

    def __init__(self, sock: Any, file: Any) -> None:
        self._sock, self._file, self._deadline = sock, file, _here.deadline
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(self._deadline.left())
            try:
                read = int(self._sock.recv_into(buffer))
            except TimeoutError:
                continue  # only to look whether the time is up
            self._bytes += read
            if self._bytes > _MOST_BYTES:
                raise _TooMuch
            return read

    def close(self) -> None:
        super().close()
        self._file.close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Bounded(sock, self.fp), _PIECE)


class _Http(urllib3.connection.HTTPConnection):
    response_class = _Response


class _Https(urllib3.connection.HTTPSConnection):
    response_class = _Response


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _unpacked(response: urllib3.BaseHTTPResponse) -> bytes:
    """The body. It is unpacked here, since a few bytes of gzip can stand for gigabytes."""
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    if packing not in _UNPACKED:
        raise BadReply("the server's answer is packed in a way that was not asked for")
    pieces = response.stream(_PIECE, decode_content=False)
    if not _UNPACKED[packing]:
        return b"".join(pieces)
    unpacker, whole = zlib.decompressobj(_UNPACKED[packing]), bytearray()
    try:
        for piece in pieces:
            whole += unpacker.decompress(piece, _MOST_BYTES + 1 - len(whole))
            if len(whole) > _MOST_BYTES:
                raise _TooMuch
    except zlib.error:
        raise BadReply("the server's answer cannot be unpacked") from None
    if not unpacker.eof:
        raise BadReply("the server's answer broke off", may_pass=True)
    return bytes(whole)
