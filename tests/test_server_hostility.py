"""openai_server: a server that lies, drips, floods or never ends costs a row, some seconds and little memory."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from openai_fake import Server, answers, backend, prompt, said

from distill_offline.backends import http_post
from distill_offline.errors import BackendError, ConfigError
from distill_offline.schema import Completion, Prompt

START = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = json.dumps(said("[]")).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def sends(*pieces: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"".join(pieces))


def for_ever(start: bytes, piece: bytes, *, every_s: float = 0.0) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:  # until the client hangs up
            connection.sendall(piece)
            time.sleep(every_s)

    return script


def answer(server: Server, script: Callable[[socket.socket], None], **options: float) -> Completion:
    server.script = script
    [found] = answers(backend(server, **{"retries": 0, **options}), "x")
    return found


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200", b" "),
        (START, b"X: y\r\n"),
        (START + b"X: ", b"y"),
        (START + b"Content-Length: 100000\r\n\r\n", b" "),
        (START + b"\r\n", b" "),
        (START + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_an_answer_that_drips_is_given_up_when_the_time_is_up(server: Server, start: bytes, piece: bytes) -> None:
    began = time.monotonic()
    found = answer(server, for_ever(start, piece, every_s=0.02), timeout_s=0.3)
    assert found.finish_reason == "error: no answer within 0.3 s"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"\r\n", b" " * 65536),
        (b"Content-Length: 99999999999\r\n\r\n", b" " * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X" * 65536),
        (b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n", b" " * 65536),
    ],
)
def test_an_answer_of_gigabytes_is_given_up_early(
    server: Server, monkeypatch: pytest.MonkeyPatch, start: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(http_post, "_MOST_BYTES", 1 << 20)
    found = answer(server, for_ever(START + start, piece), timeout_s=20)
    # Lines of a chunk are bounded by the library as well.
    is_line = piece[:2] in (b"00", b"XX")
    expected = "broke off (ProtocolError)" if is_line else "is larger than 1 MB"
    assert found.finish_reason == f"error: the server's answer {expected}"


@pytest.mark.parametrize("packing", [b"gzip", b"deflate"])
def test_a_small_answer_that_unpacks_to_a_large_one_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, packing: bytes
) -> None:
    monkeypatch.setattr(http_post, "_MOST_BYTES", 1 << 20)
    bomb = gzip.compress(b" " * (8 << 20))
    head = START + b"Content-Encoding: " + packing + b"\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert "larger than 1 MB" in answer(server, sends(head, bomb)).finish_reason


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no HTTP (BadStatusLine)"),
        (b"HTTP/1.1 abc\r\n\r\n", "is no HTTP (BadStatusLine)"),
        (START + b"X: " + b"y" * 2_000_000, "is no HTTP (LineTooLong)"),
        (START + b"X: y\r\n" * 5000, "is no HTTP (HTTPException)"),
        (START + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\n[]", "is no HTTP (InvalidHeader)"),
        (START + b"Content-Length: 99999\r\n\r\n" + WHOLE, "broke off (IncompleteRead)"),
        (START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + WHOLE, "broke off (InvalidChunkLength)"),
        (START + b"Content-Length: 20\r\n\r\n" + WHOLE, "is not JSON, or breaks off"),
        (START + b"Content-Encoding: br\r\n\r\n" + WHOLE, "is packed in a way that was not asked for"),
    ],
)
@pytest.mark.attack("hostile servers")
def test_an_answer_that_is_no_http_costs_one_row(server: Server, reply: bytes, cause: str) -> None:
    assert answer(server, sends(reply)).finish_reason == f"error: the server's answer {cause}"


@pytest.mark.parametrize(
    "reply",
    [
        START + b"\r\n" + WHOLE,
        START + b"Content-Length: nonsense\r\n\r\n" + WHOLE,
        START + b"Transfer-Encoding: chunked\r\n\r\n%x;ext=1\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(WHOLE), WHOLE),
        b"HTTP/1.1 100 Continue\r\n\r\n" + START + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE,
        b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE,
        b"HTTP/1.1 201 Created\r\n\r\n\xef\xbb\xbf" + WHOLE,
    ],
)
def test_an_odd_answer_that_is_whole_is_taken(server: Server, reply: bytes) -> None:
    assert answer(server, sends(reply)).text == "[]"


def test_an_answer_that_breaks_off_every_time_is_tried_again_and_then_fails_alone(server: Server) -> None:
    server.script = sends(START, b"Content-Length: 99999\r\n\r\n", WHOLE)
    [found] = answers(backend(server, retries=2, backoff_s=0), "x")
    assert "broke off" in found.finish_reason
    assert len(server.bodies) == 3


def test_a_connection_that_the_server_closed_after_an_answer_is_opened_anew_without_a_retry(server: Server) -> None:
    asked: list[int] = []

    def closing(connection: socket.socket) -> None:
        asked.append(1)
        if len(asked) > 1:  # the first finds a connection that is just being given up
            connection.sendall(START + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE)

    engine = backend(server, retries=0, concurrency=1)
    assert [c.text for _, c in engine.complete([prompt("a")])] == ["A"]
    server.script = closing
    assert [c.text for _, c in engine.complete([prompt("b")])] == ["[]"]
    engine.close()


def test_leaving_a_stream_does_not_wait_for_the_server(server: Server) -> None:
    server.script = for_ever(START + b"Content-Length: 100000\r\n\r\n", b" ", every_s=0.02)
    engine = backend(server, timeout_s=60, concurrency=3)

    def source() -> Iterator[Prompt]:
        yield prompt("a")
        yield prompt("b")
        while len(server.bodies) < 2:
            time.sleep(0.001)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(engine.complete(source()))
    assert time.monotonic() - began < 5
    server.script = None
    assert [completion.text for _, completion in engine.complete([prompt("c")])] == ["C"]
    engine.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:secret@127.0.0.1/v1", "holds a password"),
        ("http://127.0.0.1/v1?key=1", "holds a password, a query"),
        ("http://", "name a host"),
        ("http://[::1", "is not an address"),
        ("ftp://127.0.0.1", "must start with http"),
    ],
)
@pytest.mark.attack("hostile servers")
def test_an_address_that_holds_more_than_an_address_is_refused(server: Server, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backend(server, base_url=url)


@pytest.mark.attack("hostile servers")
def test_a_server_that_never_says_anything_stops_the_run(server: Server) -> None:
    server.script = lambda connection: None
    with pytest.raises(BackendError, match=r"after 2 tries \(RemoteDisconnected\)"):
        answers(backend(server, retries=1, backoff_s=0), "x")
