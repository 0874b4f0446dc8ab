"""What strace's lines say: recorded ones, as strace 6.1 and 5.10 wrote them."""

from __future__ import annotations

import pytest

from distill_offline.offline.trace import Touch, Trace, read_trace


def places(*lines: str) -> list[tuple[str, int | None, str, str]]:
    found = read_trace(lines)
    assert found.unread == []
    return [(touch.address, touch.port, touch.place, touch.result) for touch in found.touches]


V4 = '{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("203.0.113.7")}'
UNREACHABLE = "-1 ENETUNREACH (Network is unreachable)"


def v6(address: str) -> str:
    inner = f'sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "{address}", &sin6_addr), sin6_scope_id=0'
    return f"{{sa_family=AF_INET6, sin6_port=htons(443), {inner}}}"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", "here"),
        ("127.8.9.10", "here"),
        ("0.0.0.0", "here"),
        ("203.0.113.7", "beyond"),
        ("10.0.0.1", "beyond"),
        ("169.254.169.254", "beyond"),
        ("224.0.0.251", "beyond"),
        ("255.255.255.255", "beyond"),
        ("1270.0.0.1", "beyond"),
    ],
)
def test_ipv4_is_loopback_or_beyond(address: str, place: str) -> None:
    line = f'7<python> connect(3, {{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("{address}")}}, 16) = 0'
    [(shown, port, found, result)] = places(line)
    assert (found, port, result) == (place, 80, "done")
    assert address in shown


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("::1", "here"),
        ("::ffff:127.0.0.1", "here"),
        ("::ffff:203.0.113.7", "beyond"),
        ("::127.0.0.1", "beyond"),
        ("2001:db8::1", "beyond"),
        ("fe80::1", "beyond"),
        ("::", "here"),
    ],
)
def test_ipv6_is_loopback_or_beyond_and_mapped_ipv4_counts_as_what_it_is(address: str, place: str) -> None:
    assert places(f"7 connect(3, {v6(address)}, 28) = {UNREACHABLE}") == [(address, 443, place, "ENETUNREACH")]


def test_sockets_in_files_and_the_kernels_are_here() -> None:
    assert places(
        '7<python> connect(4, {sa_family=AF_UNIX, sun_path="/tmp/a\\n\\"x{}"}, 15) = -1 ENOENT (No such file)',
        '7<python> connect(4, {sa_family=AF_UNIX, sun_path=@"abstract"}, 6) = 0',
        "7<python> bind(8, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 0",
        '7<python> sendto(8, [{nlmsg_len=20}, ""...], 20, 0, {sa_family=AF_NETLINK, nl_pid=7<python>}, 12) = 20',
        '7<python> bind(3, {sa_family=AF_ALG, salg_type="hash", salg_feat=0, salg_mask=0, salg_name="sha256"}, 88) = 0',
        '7<python> connect(3, {sa_family=AF_UNSPEC, sa_data="\\0005\\300"}, 16) = 0',
    ) == [
        ('unix:/tmp/a\\n\\"x{}', None, "here", "ENOENT"),
        ("unix:@abstract", None, "here", "done"),
        ("netlink", None, "here", "done"),
        ("netlink", None, "here", "done"),
        ("alg", None, "here", "done"),
        ("unspec", None, "here", "done"),
    ]


@pytest.mark.parametrize(
    "path", ["/run/systemd/resolve/io.systemd.Resolve", "/var/run/nscd/socket", "/run/docker.sock"]
)
def test_daemons_that_can_use_the_network_are_relays_once_they_answer(path: str) -> None:
    line = f'7 connect(4, {{sa_family=AF_UNIX, sun_path="{path}"}}, 110) = '
    assert [place for _, _, place, _ in places(line + "0")] == ["relay"]
    assert [place for _, _, place, _ in places(line + "-1 ENOENT (No such file or directory)")] == ["here"]


def test_every_other_family_is_beyond() -> None:
    found = places(
        "7 connect(8, {sa_family=AF_VSOCK, svm_cid=VMADDR_CID_HOST, svm_port=0x1, svm_flags=0}, 16) = 0",
        '7 bind(8, {sa_family=AF_PACKET, sll_protocol=htons(0), sll_ifindex=if_nametoindex("lo")}, 20) = 0',
        '7 connect(8, {sa_family=0x2d /* AF_??? */, sa_data="x"}, 16) = 0',
    )
    assert [place for _, _, place, _ in found] == ["beyond"] * 3
    assert [address.partition(",")[0] for address, *_ in found][:2] == ["AF_VSOCK", "AF_PACKET"]


def test_a_datagram_to_no_family_is_beyond_since_the_kernel_sends_it_all_the_same() -> None:
    line = f'7 sendto(3, ""..., 6, 0, {{sa_family=AF_UNSPEC, sa_data="\\0005\\300\\0\\2\\22"}}, 16) = {UNREACHABLE}'
    assert [place for _, _, place, _ in places(line)] == ["beyond"]


def test_binding_to_every_interface_is_an_open_door() -> None:
    assert places(
        '7 bind(4, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0',
        f"7 bind(4, {v6('::')}, 28) = 0",
        '7 bind(4, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        f"7 bind(4, {V4}, 16) = 0",
    ) == [
        ("0.0.0.0", 0, "open door", "done"),
        ("::", 443, "open door", "done"),
        ("127.0.0.1", 0, "here", "done"),
        ("203.0.113.7", 443, "beyond", "done"),
    ]


def test_messages_carry_addresses_and_each_of_many_counts() -> None:
    head = 'msg_namelen=16, msg_iov=[{iov_base=""..., iov_len=6}], msg_iovlen=1, msg_controllen=0, msg_flags=0'
    here = '{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}'
    assert places(f"7 sendmsg(3, {{msg_name={V4}, {head}}}, MSG_NOSIGNAL) = 6") == [
        ("203.0.113.7", 443, "beyond", "done")
    ]
    many = f"[{{msg_hdr={{msg_name={here}, {head}}}, msg_len=6}}, {{msg_hdr={{msg_name={V4}, {head}}}}}]"
    assert [row[0] for row in places(f"7 sendmmsg(3, {many}, 2, MSG_NOSIGNAL) = 1")] == ["127.0.0.1", "203.0.113.7"]
    assert places(f"7 sendmsg(3, {{msg_name=NULL, msg_namelen=0, {head}}}, 0) = 6") == []
    assert places('7 sendto(5, ""..., 5, 0, NULL, 0) = 5') == []


@pytest.mark.parametrize(
    "line",
    [
        "7 connect(3, 0x7ffd1c, 16) = 0",
        "7 connect(3, {sa_family=AF_INET, sin_port=htons(80), ...}, 16) = 0",
        '7 sendto(3, ""..., 6, 0, 0x7ffd1c, 16) = 6',
        "7 sendmsg(3, 0x7ffd1c, 0) = 6",
        "7 sendmsg(3, {msg_name=0x7ffd1c, msg_namelen=16, msg_iov=[...], msg_iovlen=1}, 0) = 6",
        "7 sendmmsg(3, [...], 2, 0)  = 2",
        "7 sendmmsg(3, 0x7ffd1c, 2, 0) = 2",
        "7 sendmmsg(3, [{msg_hdr={msg_name=NULL, msg_namelen=0}, msg_len=6}, ...], 2, 0) = 2",
    ],
)
def test_an_address_that_cannot_be_read_counts_as_beyond(line: str) -> None:
    assert [place for _, _, place, _ in places(line)] == ["beyond"]


def test_what_the_kernel_could_not_read_either_is_no_touch() -> None:
    assert places("7 connect(3, NULL, 16)      = -1 EFAULT (Bad address)") == []


def test_those_who_come_in_count_and_calls_that_only_look_do_not() -> None:
    assert (
        places(
            f"7 accept4(4, {V4}, [16], SOCK_CLOEXEC) = 6",
            f'7 recvfrom(4, ""..., 10, 0, {V4}, [16]) = 2',
            f"7 getsockname(6, {V4}, [128 => 16]) = 0",
            f"7 getpeername(6, {V4}, [128 => 16]) = 0",
            "7 accept4(4, 0x7ffd1c, [16], SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)",
            "7 setsockopt(4, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0",
            "7 listen(4, 128)            = 0",
        )
        == [("203.0.113.7", 443, "beyond", "done")] * 2
    )


def test_interrupted_calls_are_put_together_by_process() -> None:
    found = read_trace(
        [
            "8<worker> recvfrom(8,  <unfinished ...>",
            f"7<python> connect(3, {V4}, 16 <unfinished ...>",
            '8<worker> <... recvfrom resumed>""..., 10, 0, ' + v6("::1") + ", [28]) = 2",
            f"7<main> <... connect resumed>)       = {UNREACHABLE}",
            "8<worker> +++ exited with 0 +++",
        ]
    )
    assert found.unread == []
    assert list(found.touches) == [
        Touch(8, "worker", "recvfrom", "::1", 443, "here", "done"),
        Touch(7, "main", "connect", "203.0.113.7", 443, "beyond", "ENETUNREACH"),
    ]


def test_a_call_that_never_came_back_counts() -> None:
    beginning = f"7<python> connect(3, {V4}, 16 <unfinished ...>"
    for rest in ([], ["7<python> +++ killed by SIGKILL +++"], ["7<python> <... connect resumed>) = ?"]):
        [touch] = read_trace([beginning, *rest]).touches
        assert (touch.place, touch.result) == ("beyond", "unfinished")


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "strace: Process 12 attached",
        f"7 connect(3, {V4}",
        f"7 connect(3, {V4}, 16)",
        "7 <... connect resumed>) = 0",
        '7 sendto(3, ""..., 6, 0',
    ],
)
def test_a_line_that_cannot_be_read_is_counted_and_spoils_the_trace(line: str) -> None:
    found = read_trace([f"7 connect(3, {v6('::1')}, 28) = 0", line])
    assert found.unread == [2]
    assert not found.is_clean


def test_a_process_with_any_name_is_read() -> None:
    found = read_trace([f"7<a> b <c> connect(3, {V4}, 16) = 0", f"   8   connect(3, {v6('::1')}, 28) = 0"])
    assert [(touch.pid, touch.process) for touch in found.touches] == [(7, "a> b <c"), (8, "")]


def test_data_that_looks_like_an_address_hides_nothing() -> None:
    [touch] = read_trace([f'7 sendto(3, "{{sa_family=AF_UNIX}}) = 5", 5, 0, {V4}, 16) = 5']).at("beyond")
    assert touch.address == "203.0.113.7"


def test_a_ring_is_named_since_it_sends_without_a_traced_call() -> None:
    ring = "io_uring_setup(8, {flags=0, sq_entries=8, sq_off={head=0, tail=4}}) = "
    ends = [f"{pid} +++ exited with 0 +++" for pid in (7, 8)]
    found = read_trace([f"7<node> {ring}3", f"8<other> {ring}-1 EPERM (Operation not permitted)", *ends])
    assert found.rings == {(7, "node")}
    assert found.is_clean
    assert found.findings() == ["node [7] made an io_uring: what it sends through that shows in no trace"]


def test_findings_begin_with_the_gravest_and_the_facts_have_all() -> None:
    found = read_trace(
        [
            '7<python> bind(4, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("0.0.0.0")}, 16) = 0',
            *[f"7<python> connect(3, {v6('2001:db8::1')}, 28) = {UNREACHABLE}"] * 2,
            "7<python> +++ exited with 0 +++",
            "what",
        ]
    )
    assert found.findings() == [
        "1 lines of the trace cannot be read, such as 5",
        "connect [2001:db8::1]:443 (ENETUNREACH) by python [7], 2 times: beyond this machine",
        "bind 0.0.0.0:9 (done) by python [7], 1 times: bound to every interface, so that others could come in",
    ]
    facts = found.facts()
    assert (facts["clean"], facts["unread"], facts["lines"]) == (False, [5], 5)
    assert [(row["address"], row["place"], row["times"]) for row in facts["touches"]] == [
        ("0.0.0.0", "open door", 1),
        ("2001:db8::1", "beyond", 2),
    ]


def test_a_trace_without_calls_is_clean_and_one_without_lines_proves_nothing() -> None:
    silent = read_trace(["", "7<true> +++ exited with 0 +++"])
    assert (silent, silent.is_clean) == (Trace(lines=2), True)
    assert not read_trace([]).is_clean
    assert read_trace([]).findings() == ["the trace is empty, though every process that ends leaves a line"]


def test_a_trace_that_stops_before_a_process_ends_is_not_clean() -> None:
    lines = [f"7<sh> connect(3, {v6('::1')}, 28) = 0", "8<true> +++ exited with 0 +++", "7<sh> --- SIGCHLD {} ---"]
    for cut in (lines, lines[1:]):
        found = read_trace(cut)
        assert (found.is_clean, found.unended) == (False, {7})
        assert found.findings() == ["the trace stops before 1 processes end: the tracer was stopped"]
    assert read_trace([*lines, "7<sh> +++ killed by SIGTERM +++"]).is_clean


def test_a_thread_that_replaces_the_program_ends_without_a_line_of_its_own() -> None:
    found = read_trace(
        [
            f"9<python> connect(3, {v6('::1')}, 28) = 0",
            "7<python> +++ superseded by execve in pid 9 +++",
            "7<true> +++ exited with 0 +++",
        ]
    )
    assert found.is_clean


@pytest.mark.parametrize(
    "line", ["7<sh> ???()                         = ?", "7<sh> ???( <unfinished ...>", "7 ???() = ?"]
)
def test_a_call_that_could_not_be_looked_at_was_not_made_if_its_process_was_killed(line: str) -> None:
    """Written when SIGKILL ends a process that is about to make a call: there is nothing left to look at."""
    other = "8<sh> +++ exited with 9 +++"
    assert read_trace([line, other, "7<sh> +++ killed by SIGKILL +++"]).is_clean
    went_on = read_trace([line, "7<sh> exit_group(0) = ?", "7<sh> +++ killed by SIGKILL +++", other])
    assert (went_on.unread, went_on.is_clean) == ([1], False)
    for end in ("7<sh> +++ exited with 0 +++", "7<sh> +++ killed by SIGTERM +++"):
        assert read_trace([line, end, other]).unread == [1]
    stopped = read_trace([line, other])
    assert (stopped.unread, stopped.unended, stopped.is_clean) == ([1], {7}, False)
    back = "7<sh> <... ??? resumed>)            = ?"
    assert read_trace([line, other, back, "7<sh> +++ killed by SIGKILL +++"]).is_clean
    assert read_trace([line, line, "7<sh> +++ killed by SIGKILL +++", other]).unread
    assert read_trace(["7<sh> ???(3, {sa_family=AF_INET}) = ?", "7<sh> +++ killed by SIGKILL +++"]).unread == [1]
