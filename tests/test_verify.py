"""The verifier of bundles against bad ones: every way to spoil a small real bundle, and the reason that is given."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from bad_bundles import GROUPS
from bundles import TOOLS, WHEEL, Bundle, made, small_bundle, wheel
from spoiling import add_wheel, record_of
from verifying import check, own_paths, said, verifier

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(small_bundle, tmp_path_factory.mktemp("template"))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    return template.copy(tmp_path / "a bundle")


CASES = {f"{group}: {case.name}": case for group, cases in GROUPS.items() for case in cases}
refused: set[str] = set()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.attack("bad bundles")
def test_bad_bundle_is_refused_with_its_reason(name: str, bundle: Bundle) -> None:
    case = CASES[name]
    keys = {}
    if case not in GROUPS["signature"]:
        bundle.unsign()  # what is wrong is wrong whoever signed it
        keys = {"allowed_signers": None, "openssl_key": None}
    case.spoil(bundle)
    report = check(bundle, **own_paths(bundle, {**keys, **case.options}))
    assert any(case.message in line for line in said(report)), said(report)
    assert report.verdict == ("unfit" if report.findings.stages == {"target"} else "invalid")
    assert report.exit_code in (1, 4)
    assert all(" " <= each <= "~" for line in report.lines() for each in line)
    refused.add(name)


def test_all_bad_bundles_were_refused(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    tried = {item.callspec.params["name"] for item in items if item.originalname.startswith("test_bad_bundle_is_refu")}
    with capsys.disabled():
        sys.stdout.write(f"\n{len(refused)} of {len(tried)} bad bundles were refused, each with its reason\n")
    assert refused == tried


# ----------------------------------------------------------------------------------------------- what is no problem


@pytest.mark.parametrize(
    ("with_key", "signer"),
    [
        ({"openssl_key": None}, "own@site SHA256:"),
        ({"allowed_signers": None, "openssl_key": None, "fingerprint": "OWN"}, "signer SHA256:"),
        ({"allowed_signers": None}, "P-256 key sha256:"),
        ({"signer": "own@site"}, "own@site SHA256:"),
        ({"revoked": "foreign.pub"}, "own@site SHA256:"),
    ],
)
def test_whole_bundle_is_valid(bundle: Bundle, with_key: dict[str, Any], signer: str) -> None:
    report = check(bundle, **own_paths(bundle, with_key))
    assert (said(report), report.verdict, report.exit_code) == ([], "valid", 0)
    assert report.lines()[-1].startswith("VALID: demo-1.0-linux-")
    assert signer in report.lines()[-1]
    assert report.checked["hashed_files"] == report.manifest["totals"]["files"] == 17


def test_key_that_has_expired_held_at_an_earlier_time(bundle: Bundle) -> None:
    report = check(bundle, allowed_signers=bundle.keys("expired.allowed"), now=1_500_000_000)
    assert report.signatures[0]["result"] == "good"
    assert "this machine" not in report.findings.paths
    assert "but the clock here says 2017" in said(report)[0]


def test_without_a_key_it_is_never_valid(bundle: Bundle) -> None:
    report = check(bundle, allowed_signers=None, openssl_key=None)
    assert (report.verdict, report.exit_code, said(report)) == ("integrity-only", 3, [])
    assert report.lines()[-1].startswith("NOT SIGNED BY A KEY YOU TRUST: integrity only")
    bundle.file(WHEEL).write_bytes(b"")
    assert check(bundle, allowed_signers=None, openssl_key=None).exit_code == 1


def test_all_problems_are_told_at_once_up_to_a_limit(bundle: Bundle) -> None:
    bundle.file("README.txt").unlink()
    bundle.file("extra").write_bytes(b"")
    bundle.file("VERIFY.sh").write_bytes(b"#!/bin/zz\n")
    bundle.file(WHEEL).write_bytes(b"")
    report = check(bundle)
    assert len(said(report)) == 4
    assert {problem.stage for problem in report.findings.listed} == {
        "files",
        "sizes",
        "digests",
    }
    fewer = check(bundle, max_problems=2)
    assert len(said(fewer)) == 2
    assert "and 2 more problems" in fewer.lines()


def test_gigabytes_are_not_read_for_a_machine_that_is_not_the_target(bundle: Bundle) -> None:
    bundle.manifest["target"]["tools"] = ["no-such-tool"]
    bundle.seal()
    report = check(bundle)
    assert (report.verdict, report.exit_code, report.checked["hashed_files"]) == ("unfit", 4, 0)
    elsewhere = check(bundle, check_target=False)
    assert elsewhere.verdict == "valid"
    assert any("not compared" in note for note in elsewhere.notes)


@pytest.mark.parametrize(("name", "sequence"), [("demo", 1), ("demo", 2), ("demo", 3)])
def test_newer_or_the_same_bundle_may_follow(bundle: Bundle, name: str, sequence: int) -> None:
    digest = {1: "c" * 64, 2: "a" * 64, 3: check(bundle).manifest_sha256}[sequence]
    record_of(name, sequence, digest)(bundle)
    assert check(bundle, last_sequence_file=str(bundle.path.parent / "last.json")).verdict == "valid"


def test_damaged_record_of_the_last_bundle_is_no_first_installation(bundle: Bundle) -> None:
    last = bundle.path.parent / "last.json"
    assert check(bundle, last_sequence_file=str(last)).verdict == "valid"
    for content in ("{", "[]", '{"schema": "distill-offline-last-installed/1"}', ""):
        last.write_text(content)
        with pytest.raises(verifier.MachineFault, match="is not a record of the last installed bundle"):
            check(bundle, last_sequence_file=str(last))


def test_renamed_build_and_vouched_tags_are_accepted(bundle: Bundle) -> None:
    machine = os.uname().machine
    name = f"python/wheels/tiny_three-3.0-cp36-abi3-manylinux_2_5_{machine}.manylinux1_{machine}.whl"
    add_wheel(name, wheel("tiny_three", "3.0", f"cp36-abi3-linux_{machine}"))(bundle)
    assert check(bundle).verdict == "valid"
    odd = "python/wheels/Tiny.Four-4.0-1odd-py2.py3-none-any.whl"
    add_wheel(odd, wheel("tiny_four", "4.0", "cp312-cp312-linux_x86_64"), name="tiny-four", version="4.0")(bundle)
    assert check(bundle).verdict == "invalid"
    next(each for each in bundle.manifest["components"] if each["file"] == odd)["retagged"] = True
    bundle.seal()
    report = check(bundle)
    assert report.verdict == "valid"
    assert any("vouches" in note and odd in note for note in report.notes)


# --------------------------------------------------------------------------------------------- a medium that changes


def later(path: Path, act: Any) -> Any:
    """A progress callback that acts once, when the first bytes of README.txt, the first file, were read."""
    done = threading.Event()

    def progress(name: str, _done: int, _total: int) -> None:
        if name == path.name and not done.is_set():
            done.set()
            act()

    return progress


def rewrite(file: Path) -> None:
    """Other bytes of the same size, and the old time put back."""
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(bytes(len(content)))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def put_link(file: Path) -> None:
    target = file.rename(file.parent.parent.parent / "kept")
    file.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "act", "message"),
    [
        ("README.txt", rewrite, "changed while"),
        ("data/train.conll", rewrite, "changed while"),
        ("data/train.conll", put_link, "is a symbolic link"),
        ("data/train.conll", Path.unlink, "is missing"),
        ("README.txt", Path.unlink, "changed while"),
        ("VERIFY.sh", Path.unlink, "is missing"),
        ("data/extra", Path.touch, "appeared while"),
        ("data/extra", Path.mkdir, "is a folder that came or went while"),
        ("data/extra", lambda path: path.symlink_to("train.conll"), "appeared while"),
        ("README.txt", lambda path: path.chmod(0o4755), "changed while"),
    ],
)
def test_medium_that_changes_is_noticed(bundle: Bundle, name: str, act: Any, message: str) -> None:
    report = check(bundle, later(bundle.file("README.txt"), lambda: act(bundle.file(name))), jobs=1)
    assert report.verdict == "invalid"
    assert any(line.startswith(f"{name}: ") and message in line for line in said(report)), said(report)


# ------------------------------------------------------------------------------------------------------------ resume


def interrupted(bundle: Bundle, state: Path, after: str) -> None:
    stop = threading.Event()

    def progress(name: str, _done: int, _total: int) -> None:
        if name == after:
            stop.set()

    with pytest.raises(verifier.Stopped):
        check(bundle, progress, stop, state=str(state), jobs=1)


def test_interrupted_verification_goes_on_and_says_that_it_did(bundle: Bundle, tmp_path: Path) -> None:
    state = tmp_path / "state"
    interrupted(bundle, state, after="data/train.conll")
    assert state.stat().st_mode & 0o777 == 0o600
    report = check(bundle, state=str(state))
    counts = report.checked
    assert (report.verdict, report.exit_code, said(report)) == ("resumed", 5, [])
    assert counts["reused_files"] > 0
    assert counts["hashed_files"] + counts["reused_files"] == 17
    assert not any(line.startswith("VALID") for line in report.lines())
    assert check(bundle).verdict == "valid"


def test_first_run_with_a_state_is_valid_and_a_second_one_is_not(bundle: Bundle, tmp_path: Path) -> None:
    assert check(bundle, state=str(tmp_path / "state")).verdict == "valid"
    assert check(bundle, state=str(tmp_path / "state")).verdict == "resumed"
    assert check(bundle, state=str(tmp_path / "state"), allowed_signers=None, openssl_key=None).exit_code == 3


def test_what_was_touched_since_is_read_again(bundle: Bundle, tmp_path: Path) -> None:
    check(bundle, state=str(tmp_path / "state"))
    rewrite(bundle.file(WHEEL))
    assert said(check(bundle, state=str(tmp_path / "state"))) == [
        f"{WHEEL}: has another SHA-256 than the manifest says"
    ]


@pytest.mark.attack("hostile hosts")
def test_a_state_that_is_no_file_is_wrong_usage_and_not_waited_for(bundle: Bundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state")
    with pytest.raises(verifier.UsageFault, match="state is no regular file"):
        check(bundle, state=str(tmp_path / "state"))


def test_state_of_another_manifest_or_a_damaged_one_counts_for_nothing(bundle: Bundle, tmp_path: Path) -> None:
    state = tmp_path / "state"
    check(bundle, state=str(state))
    bundle.manifest["version"] = "1.1"
    bundle.seal()
    report = check(bundle, state=str(state))
    assert report.verdict == "valid"
    assert any("another manifest" in note for note in report.notes)
    state.write_text("{")
    assert check(bundle, state=str(state)).verdict == "valid"
