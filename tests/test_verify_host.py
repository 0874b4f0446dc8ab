"""The verifier on a host that lies: children whose end nobody is told, programs that call all things good, temporary
folders in which others write. A foreign signature must be refused every time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Bundle, made, small_bundle
from verifying import VERIFIER, check, command, verifier

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(small_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


def keys(bundle: Bundle, kind: str) -> list[str]:
    words = {
        "ssh": ["--allowed-signers", bundle.keys("own.allowed")],
        "fingerprint": ["--fingerprint", bundle.keys.fingerprint("own")],
        "p256": ["--openssl-key", bundle.keys("own.pub.pem")],
    }
    return words[kind]


# ------------------------------------------------------------------------------------------------------- child's end

IGNORING = {
    "env": ["env", "--ignore-signal=CHLD"],
    "trap": ["bash", "-c", "trap '' CHLD; exec \"$@\"", "bash"],
    "blocked": ["env", "--block-signal=CHLD"],
    "both": ["env", "--ignore-signal=CHLD", "--block-signal"],
}


@pytest.mark.parametrize("how", IGNORING)
@pytest.mark.parametrize("kind", ["ssh", "fingerprint", "p256"])
@pytest.mark.attack("bad signatures")
@pytest.mark.slow
def test_foreign_signature_is_refused_although_the_caller_ignores_sigchld(bundle: Bundle, how: str, kind: str) -> None:
    line = [*IGNORING[how], sys.executable, "-I", "-S", "-B", str(VERIFIER), str(bundle.path), *keys(bundle, kind)]
    assert subprocess.run(line, capture_output=True).returncode == 0
    good = {name: bundle.file(name).read_bytes() for name in ("manifest.json.sig", "manifest.json.p256")}
    bundle.sign("foreign")
    if kind == "fingerprint":  # a signature by the right key that belongs to other bytes
        bundle.file("manifest.json.sig").write_bytes(good["manifest.json.sig"])
        bundle.file("manifest.json").write_bytes(bundle.file("manifest.json").read_bytes() + b"\n")
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, "INVALID" in done.stdout, "\nVALID" in done.stdout) == (1, True, False), done


@pytest.fixture
def ignored_sigchld() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ignored_sigchld")
def test_end_that_nobody_is_told_is_a_fault_and_not_a_success(bundle: Bundle) -> None:
    bundle.sign("foreign")
    for options in ({"openssl_key": None}, {"allowed_signers": None}):
        with pytest.raises(verifier.MachineFault, match="ended is not known: SIGCHLD is ignored"):
            check(bundle, **options)
    with pytest.raises(verifier.MachineFault, match="ended is not known"):
        verifier.run(["/bin/true"])


@pytest.mark.parametrize(("code", "expected"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("exit 255", 255)])
def test_end_of_a_child_is_told_as_it_was(code: str, expected: int) -> None:
    assert verifier.run(["/bin/sh", "-c", code]).code == expected
    with verifier.Process(["/bin/sh", "-c", code]) as child:
        assert child.wait(timeout=30) == expected
        assert child.poll() == child.wait() == child.returncode == expected


def test_child_that_does_not_end_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "CHILD_SECONDS", 0.05)
    with pytest.raises(verifier.MachineFault, match="does not run"):
        verifier.run(["/bin/sleep", "60"])


# --------------------------------------------------------------------------------------- programs that lie

GOOD_SSH = """#!/bin/sh
case "$*" in
*find-principals*) echo own@site ;;
*) while [ $# -gt 0 ]; do [ "$1" = -I ] && who=$2; shift; done
   echo "Good \\"distill-offline-bundle\\" signature for $who with ED25519 key {fingerprint}" ;;
esac
"""
FAKES = {
    "true": "#!/bin/sh\nexit 0\n",
    "echoes": '#!/bin/sh\necho "$@"\nexit 0\n',
    "no principal": "#!/bin/sh\necho No principal matched.\nexit 0\n",
    "verified": "#!/bin/sh\necho Verified OK\n",
    "says good of all": GOOD_SSH,
    "good, but fails": GOOD_SSH + "exit 1\n",
    "dies": "#!/bin/sh\nkill -9 $$\n",
}


@pytest.mark.parametrize("name", FAKES)
def test_program_that_calls_everything_good_is_not_believed(bundle: Bundle, tmp_path: Path, name: str) -> None:
    fake = tmp_path / "fake"
    fake.write_text(FAKES[name].replace("{fingerprint}", bundle.keys.fingerprint("own")))
    fake.chmod(0o755)
    for program, key in (("ssh_keygen", "openssl_key"), ("openssl", "allowed_signers")):
        try:
            found = check(bundle, **{program: str(fake), key: None}).exit_code
        except verifier.MachineFault as fault:
            found = str(fault)
        assert found == 1 or "called a wrong signature good" in str(found)


def test_user_without_a_name_is_the_machines_fault_and_not_the_bundles(bundle: Bundle, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\necho No user exists for uid 1234 >&2\nexit 255\n")
    fake.chmod(0o755)
    with pytest.raises(verifier.MachineFault, match="only for a user whom this machine knows by name"):
        check(bundle, ssh_keygen=str(fake), openssl_key=None)


@pytest.mark.attack("bad signatures")
def test_wrong_signature_that_tries_a_program_never_happens_to_be_right(bundle: Bundle) -> None:
    """Whatever single bit of the manifest's or a signature's end was flipped, it is the bundle that is called wrong."""
    for name in ("manifest.json", "manifest.json.p256"):
        good = bundle.file(name).read_bytes()
        for bit in range(8):
            bundle.file(name).write_bytes(good[:-1] + bytes([good[-1] ^ 1 << bit]))
            assert check(bundle, allowed_signers=None).exit_code == 1
        bundle.file(name).write_bytes(good)


# ------------------------------------------------------------------------------------------- who is a principal


def allow(bundle: Bundle, *lines: str) -> str:
    key = " ".join(Path(bundle.keys("own.pub")).read_text().split()[:2])
    path = bundle.path.parent / "listed"
    path.write_text("".join(line.replace("KEY", key) + "\n" for line in lines))
    return str(path)


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        (["own@site KEY"], "own@site SHA256:"),
        (["a@site,b@site KEY"], "a@site SHA256:"),
        (['"two words" KEY'], "two words SHA256:"),
        (['"a; b@site" KEY'], "a; b@site SHA256:"),
        (["*@site KEY"], "*@site SHA256:"),
        (['own@site namespaces="distill-offline-bundle" KEY'], "own@site SHA256:"),
        (["not a line", "# a comment", "", "own@site KEY"], "own@site SHA256:"),
    ],
)
def test_signer_is_whom_the_list_names(bundle: Bundle, lines: list[str], who: str) -> None:
    report = check(bundle, allowed_signers=allow(bundle, *lines), openssl_key=None)
    assert report.verdict == "valid", report.lines()
    assert report.signatures[0]["signer"].startswith(who)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["KEY"],
        ["No principal matched."],
        ['own@site namespaces="git" KEY'],
        ['own@site valid-before="20200101Z" KEY'],
        ["own@site cert-authority KEY"],
        ["!own@site KEY"],
    ],
)
@pytest.mark.attack("bad signatures")
def test_list_that_does_not_name_the_key_for_this_is_no_signer(bundle: Bundle, lines: list[str]) -> None:
    report = check(bundle, allowed_signers=allow(bundle, *lines), openssl_key=None)
    assert report.exit_code == 1
    assert report.signatures[0] == {"file": "manifest.json.sig", "result": "bad", "signer": ""}


@pytest.mark.parametrize("signer", ["", "own@site\n", "own@site\nGood", "\x1b[2J", "other@site", "own@site,x", "-f"])
@pytest.mark.attack("bad signatures")
def test_signer_that_is_asked_for_and_is_not_there_is_refused(bundle: Bundle, signer: str) -> None:
    done = command(bundle, *keys(bundle, "ssh"), f"--signer={signer}")
    assert done.returncode in (1, 2)
    assert "\nVALID" not in done.stdout


@pytest.mark.parametrize("zone", ["UTC0", "XXX-14", "XXX12", "America/New_York", ":/nowhere"])
@pytest.mark.slow
def test_time_zone_of_the_caller_does_not_move_the_end_of_a_key(bundle: Bundle, zone: str) -> None:
    for before, code in (("20300101", 0), ("20291231", 1)):
        listed = allow(bundle, f'own@site valid-before="{before}" KEY')
        done = command(
            bundle, "--allowed-signers", listed, "--now", "2029-12-31T12:00:00Z", env={**os.environ, "TZ": zone}
        )
        assert done.returncode == code, (zone, before, done.stdout)


# ------------------------------------------------------------------------------------------------ temporary folders


def test_temporary_folder_where_others_may_write_is_not_used(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    (shared / "below").mkdir(parents=True)
    shared.chmod(0o777)
    for place in (shared, shared / "below", tmp_path / "nowhere", Path("relative")):
        monkeypatch.setenv("TMPDIR", str(place))
        with verifier.private_folder() as folder:
            assert not folder.startswith(str(tmp_path))
            assert os.stat(folder).st_mode & 0o777 == 0o700  # noqa: PTH116
        assert list(shared.rglob("*")) == [shared / "below"]
    shared.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(shared))
    with verifier.private_folder() as folder:
        assert Path(folder).parent == shared
    assert verifier.unsafe_place(str(shared)) == ""
    if os.geteuid() == 0:
        os.chown(shared, 12345, -1)
        assert "belongs to another user" in verifier.unsafe_place(str(shared))


def test_nowhere_to_be_alone_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "unsafe_place", lambda place: "others may write there")
    with pytest.raises(verifier.MachineFault, match="no temporary folder can be made"), verifier.private_folder():
        pass


def test_what_a_child_is_handed_has_no_name_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with verifier.handing() as hands:
        path = hands.give(b"x" * (3 << 20) + b"end")
        assert [each for each in tmp_path.rglob("*") if not each.is_dir()] == []
        for _ in range(2):
            done = verifier.run(["/bin/cat", path], hands=hands.descriptors)
            assert (done.code, len(done.out), done.out[-3:]) == (0, (3 << 20) + 3, b"end")
    assert list(tmp_path.iterdir()) == []


def test_nobody_can_swap_the_allowed_signers_in_between(bundle: Bundle, tmp_path: Path) -> None:
    """Someone who may write in TMPDIR overwrites every file there with a list that allows the foreign key."""
    shared, stop = tmp_path / "shared", threading.Event()
    shared.mkdir()
    shared.chmod(0o777)
    evil = Path(bundle.keys("foreign.allowed")).read_bytes()
    seen: list[Path] = []

    def race() -> None:
        while not stop.is_set():
            for path in [each for each in shared.rglob("*") if each.is_file()]:
                seen.append(path)
                path.write_bytes(evil)

    racer = threading.Thread(target=race)
    racer.start()
    try:
        bundle.sign("foreign")
        for _ in range(5):
            done = command(bundle, *keys(bundle, "ssh"), env={**os.environ, "TMPDIR": str(shared)})
            assert done.returncode == 1
    finally:
        stop.set()
        racer.join()
    assert seen == []


def test_temporary_folder_on_the_medium_is_refused(bundle: Bundle) -> None:
    done = command(bundle, *keys(bundle, "p256"), env={**os.environ, "TMPDIR": str(bundle.file("data"))})
    assert (done.returncode, "lies inside the bundle" in done.stderr) == (2, True)


@pytest.mark.parametrize("option", ["allowed-signers", "openssl-key", "state", "ssh-keygen", "openssl", "python"])
def test_option_given_without_a_value_is_wrong_usage_and_not_an_absent_one(bundle: Bundle, option: str) -> None:
    words: list[Any] = [] if option == "openssl-key" else keys(bundle, "p256")
    done = command(bundle, *words, f"--{option}", "")
    assert (done.returncode, "is given without a value" in done.stderr) == (2, True)


def test_python_of_the_medium_is_refused(bundle: Bundle) -> None:
    done = command(bundle, *keys(bundle, "p256"), "--python", str(bundle.file("VERIFY.sh")))
    assert (done.returncode, "--python" in done.stderr, "lies inside the bundle" in done.stderr) == (2, True, True)
