"""What a trace by `strace -f -e trace=network` says: every address that a process named, and whether it lies beyond.

Pure: lines in, findings out. It fails closed: what cannot be read counts as beyond, or is counted as unread.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Place", "Touch", "Trace", "read_trace"]

Place = Literal["here", "open door", "relay", "beyond"]
"""Where an address lies.

here: loopback, a socket in a file, the kernel. open door: bound to every interface, so that others can come in.
relay: a daemon of this machine, reached through a file, that can use the network on behalf of who asks.
beyond: everything else.
"""

_WORDS: Mapping[Place, str] = {
    "beyond": "beyond this machine",
    "open door": "bound to every interface, so that others could come in",
    "relay": "a daemon of this machine that can use the network on behalf of who asks",
}

_LINE = re.compile(r"\s*(?P<pid>\d+)(?:<(?P<process>.*?)>)?\s+(?P<rest>(?:\w+\(|<\.\.\. |\+\+\+ |--- ).*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (?P<call>\w+) resumed>(?P<tail>.*)", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (?P<value>-?\w+|\?)(?: (?P<error>E[A-Z0-9]+))?[^=]*$")
_ADDRESS = re.compile(r'\{sa_family=(?P<family>\w+)(?P<rest>(?:[^{}"]|"(?:[^"\\]|\\.)*")*)\}')
_IPV4 = re.compile(r'inet_addr\("([^"]*)"\)')
_IPV6 = re.compile(r'inet_pton\(AF_INET6, "([^"]*)"')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_UNIX = re.compile(r'sun_path=(@?)"((?:[^"\\]|\\.)*)"')
# A call that strace could not look at, since its process was gone by then.
_UNSEEN = re.compile(
    r"\s*(?P<pid>\d+)(?:<.*?>)?\s+"
    r"(?:\?\?\?\( <unfinished \.\.\.>|(?:\?\?\?\(|(?P<back><\.\.\. \?\?\? resumed>))\)\s+= \?)"
)
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_UNFINISHED = " <unfinished ...>"

_SENDING = {"connect", "bind", "sendto", "sendmsg", "sendmmsg"}
_RECEIVING = {"accept", "accept4", "recvfrom", "recvmsg", "recvmmsg"}  # the address is that of who sent
_RING = "io_uring_setup"
# An address that strace could not or would not take apart: a bare pointer, or an abbreviated list.
_HIDDEN = {
    "sendto": re.compile(r", 0x[0-9a-f]+, \d+(\)|$)"),
    "sendmsg": re.compile(r"^sendmsg\([^{]*0x[0-9a-f]+, |msg_name=0x"),
    "sendmmsg": re.compile(r"^sendmmsg\([^\[{]*(0x[0-9a-f]+|\[\.\.\.\]|NULL), |msg_name=0x|\}, \.\.\.\]"),
}
_RELAYS = re.compile(
    r"(/var)?/run/(nscd/|systemd/resolve/|dbus/|avahi-daemon/|docker|containerd/|podman/)|/var/lib/sss/pipes/"
)


@dataclass(frozen=True, slots=True)
class Touch:
    """One address that a process named to the kernel; `result` is "done", an error's name, or "unfinished"."""

    pid: int
    process: str
    call: str
    address: str
    port: int | None
    place: Place
    result: str

    def __str__(self) -> str:
        whole = f"[{self.address}]" if self.port is not None and ":" in self.address else self.address
        where = whole if self.port is None else f"{whole}:{self.port}"
        return f"{self.call} {where} ({self.result}) by {self.process or '?'} [{self.pid}]"


@dataclass(slots=True)
class Trace:
    """A whole trace.

    `touches` counts how often each came; `rings` are the processes that made an io_uring, through which they could use
    the network without a traced call; `unread` holds the numbers of lines that were not understood, `unended` the
    processes whose end is not told: the tracer was stopped before them.
    """

    touches: Counter[Touch] = field(default_factory=Counter)
    rings: set[tuple[int, str]] = field(default_factory=set)
    unread: list[int] = field(default_factory=list)
    unended: set[int] = field(default_factory=set)
    lines: int = 0

    def at(self, where: Place) -> list[Touch]:
        """The touches of one kind, in the order in which they came first."""
        return [touch for touch in self.touches if touch.place == where]

    @property
    def is_whole(self) -> bool:
        """Whether there is a trace, every line was understood, and each process was watched to its end."""
        return self.lines > 0 and not self.unread and not self.unended

    @property
    def is_clean(self) -> bool:
        """Whether the trace is whole and no address lies beyond this machine."""
        return self.is_whole and not self.at("beyond")

    def findings(self) -> list[str]:
        """What there is besides this machine itself, a line each, the gravest first; empty if there is nothing."""
        lines = (
            [f"{len(self.unread)} lines of the trace cannot be read, such as {self.unread[0]}"] if self.unread else []
        )
        lines += [] if self.lines else ["the trace is empty, though every process that ends leaves a line"]
        if self.unended:
            lines.append(f"the trace stops before {len(self.unended)} processes end: the tracer was stopped")
        for where, words in _WORDS.items():
            lines += [f"{touch}, {self.touches[touch]} times: {words}" for touch in self.at(where)]
        rings = "made an io_uring: what it sends through that shows in no trace"
        return lines + [f"{process or '?'} [{pid}] {rings}" for pid, process in sorted(self.rings)]

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "clean": self.is_clean,
            "lines": self.lines,
            "unread": self.unread,
            "unended": sorted(self.unended),
            "io_uring": [{"pid": pid, "process": process} for pid, process in sorted(self.rings)],
            "touches": [asdict(touch) | {"times": times} for touch, times in self.touches.items()],
        }


def read_trace(lines: Iterable[str]) -> Trace:
    """The findings in the lines of a file that `strace -f -v -o` wrote.

    Calls that another process interrupted are put together again; one that never came back counts, too. A call that
    strace could not look at was not made if SIGKILL ended its process before; else its line counts as not understood.
    """
    trace = Trace()
    begun: dict[int, tuple[str, str]] = {}  # calls that have not come back yet, by process
    unseen: dict[int, int] = {}  # lines of calls that could not be looked at, by process
    for number, line in enumerate(lines, start=1):
        trace.lines = number
        text = line.rstrip("\n")
        match = _LINE.fullmatch(text)
        gone = _UNSEEN.fullmatch(text) if "???" in text else None
        if gone and bool(gone["back"]) == (int(gone["pid"]) in unseen):  # begun once, and back after that
            unseen.setdefault(int(gone["pid"]), number)
            trace.unended.add(int(gone["pid"]))
            continue
        if match is None:
            trace.unread.extend([number] if text.strip() else [])
            continue
        pid, process, rest = int(match["pid"]), match["process"] or "", match["rest"]
        trace.unended.add(pid)
        if pid in unseen and not rest.startswith("+++ killed by SIGKILL"):
            trace.unread.append(unseen[pid])  # it went on
        unseen.pop(pid, None)
        if rest.startswith("--- "):
            continue
        if rest.startswith("+++ "):
            # A thread that replaces the program goes on under the number of the first one, and leaves no line itself.
            superseded = _SUPERSEDED.fullmatch(rest)
            trace.unended.discard(int(superseded[1]) if superseded else pid)
            if pid in begun:
                _note(trace, pid, *begun.pop(pid))
            continue
        if rest.endswith(_UNFINISHED):
            begun[pid] = process, rest.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.fullmatch(rest):
            _, head = begun.pop(pid, ("", ""))
            rest = head + resumed["tail"] if head.startswith(resumed["call"] + "(") else ""
        if not _RESULT.search(rest):
            trace.unread.append(number)
        _note(trace, pid, process, rest)
    trace.unread.extend(unseen.values())
    for pid, (process, text) in begun.items():
        _note(trace, pid, process, text)
    return trace


def _note(trace: Trace, pid: int, process: str, text: str) -> None:
    """Add what one call touched."""
    call = text.partition("(")[0]
    if call not in _SENDING | _RECEIVING | {_RING}:
        return
    result_match = _RESULT.search(text)
    result = "unfinished"
    if result_match is not None:
        result = result_match["error"] or ("done" if result_match["value"] != "?" else "unfinished")
    if call == _RING and result in ("done", "unfinished"):
        trace.rings.add((pid, process))
    found_in = [_classify(call, match["family"], match["rest"], result) for match in _ADDRESS.finditer(text)]
    if call in _SENDING and result != "EFAULT" and _hides_an_address(call, text, bool(found_in)):
        found_in.append(("unreadable", None, "beyond"))
    for address, port, where in found_in:
        trace.touches[Touch(pid, process, call, address, port, where, result)] += 1


def _hides_an_address(call: str, text: str, has_some: bool) -> bool:
    """With EFAULT the kernel could not read it either; in the lists of sendmmsg, one may show and another hide."""
    return not has_some if call in ("connect", "bind") else bool(_HIDDEN[call].search(text))


def _classify(call: str, family: str, rest: str, result: str) -> tuple[str, int | None, Place]:
    """The address as text, its port, and where it lies."""
    if family in ("AF_INET", "AF_INET6"):
        return _classify_internet(call, family, rest)
    if family in ("AF_UNIX", "AF_LOCAL"):
        path = _UNIX.search(rest)
        text = f"{path[1]}{path[2]}" if path else "unnamed"
        relays = call != "bind" and result in ("done", "EINPROGRESS", "unfinished") and _RELAYS.match(text)
        return f"unix:{text}", None, "relay" if relays else "here"
    # Sent to AF_UNSPEC, a datagram goes to the IPv4 address that stands there all the same (Linux, udp_sendmsg).
    if family in ("AF_NETLINK", "AF_ALG") or (family == "AF_UNSPEC" and call not in ("sendto", "sendmsg", "sendmmsg")):
        return family.removeprefix("AF_").lower(), None, "here"
    return f"{family}{rest[:80]}", None, "beyond"


def _classify_internet(call: str, family: str, rest: str) -> tuple[str, int | None, Place]:
    address_match, written = (_IPV4 if family == "AF_INET" else _IPV6).search(rest), _PORT.search(rest)
    port = int(written[1]) if written else None
    text = address_match[1] if address_match else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return f"{family}{rest[:80]}", port, "beyond"
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_unspecified:  # connecting to "any" reaches this machine
        return text, port, "open door" if call == "bind" else "here"
    return text, port, "here" if plain.is_loopback else "beyond"
