"""The verifier where streams are closed, full or gone, and memory is short: never 0 for a bad bundle."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from bundles import TOOLS, Bundle, made, small_bundle
from installing import INSTALLER
from verifying import VERIFIER, check, verifier

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")
PYTHON = f"'{sys.executable}' -I -S -B"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(small_bundle, tmp_path_factory.mktemp("template"))


def shell(line: str) -> tuple[int, str, str]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def verified(bundle: Bundle, key: str, redirection: str, before: str = "") -> tuple[int, str, str]:
    words = f"'{VERIFIER}' '{bundle.path}' --openssl-key '{bundle.keys(key + '.pub.pem')}'"
    return shell(f"{before}{PYTHON} {words} {redirection}")


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 4),
        (">/dev/full 2>/dev/full", 4),
        ("--json >/dev/full", 4),
        (">/dev/full 2>&-", 4),
    ],
)
@pytest.mark.slow
def test_exit_code_is_the_verdict_unless_the_report_is_lost(bundle: Bundle, redirection: str, code: int) -> None:
    good, bad = verified(bundle, "own", redirection), verified(bundle, "foreign", redirection)
    assert (good[0], bad[0]) == (code, 1)
    assert "Traceback" not in good[2] + bad[2]
    if redirection == ">/dev/full":
        assert good[2] == "verify.py: the report cannot be written: No space left on device\n"
    if redirection == "2>&-":
        assert good[1].count("\nVALID: ") == 1


def test_reader_that_is_gone_is_told_and_is_no_success(bundle: Bundle) -> None:
    for key, code in (("own", "4"), ("foreign", "1")):
        _, out, err = verified(bundle, key, "| true; echo ${PIPESTATUS[0]}")
        assert (out.strip(), "Traceback" in err) == (code, False)


@pytest.mark.parametrize("words", ["--bad", "--bad 2>/dev/full", "2>&-"])
@pytest.mark.slow
def test_wrong_usage_keeps_its_code_whatever_the_streams_are(words: str) -> None:
    assert shell(f"{PYTHON} '{VERIFIER}' {words}")[0] == 2
    assert shell(f"'{sys.executable}' '{INSTALLER}' {words}")[0] == 2  # not isolated


@pytest.mark.parametrize("kilobytes", [45_000, 60_000, 90_000, 150_000])
@pytest.mark.slow
def test_little_memory_is_told_and_never_calls_a_bad_bundle_good(bundle: Bundle, kilobytes: int) -> None:
    for key, codes in (("own", {0, 4}), ("foreign", {1, 4})):
        code, _, err = verified(bundle, key, "--jobs 4", f"ulimit -v {kilobytes}; ")
        assert code in codes
        assert "Traceback" not in err


def test_every_character_that_nobody_sees_is_in_the_list() -> None:
    unseen = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
    missed = [
        f"U+{number:04X}"
        for number in range(0x110000)
        if unicodedata.category(chr(number)) in unseen
        and chr(number) != " "
        and not verifier._UNSEEN.search(chr(number))
    ]
    assert missed == []
    seen = "".join(map(chr, [*range(0x20, 0x7F), 0xE4, 0x416, 0x4E2D, 0x3042, 0xAC00, 0x1F600]))
    assert verifier._UNSEEN.search(seen) is None


@pytest.mark.parametrize("depth", [17, 5_000])
def test_manifest_that_is_nested_deeper_or_has_more_in_it_is_refused_before_it_is_parsed(
    depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(verifier.Unusable, match="nested deeper than 16"):
        verifier.parse_manifest(b"[" * depth + b"]" * depth)
    monkeypatch.setattr(verifier, "LIMIT_TOKENS", 1_000)
    with pytest.raises(verifier.Unusable, match="has more than 1000 commas"):
        verifier.parse_manifest(json.dumps([1] * 2_000).encode())
    text = json.dumps({"a": '\\"[[[[[[[[[[[[[[[[[[[[['}, indent=1) + "\n"
    assert verifier.parse_manifest(text.encode()) == {"a": '\\"[[[[[[[[[[[[[[[[[[[[['}


def test_lock_of_the_builder_and_of_the_installer_are_read_alike() -> None:
    first, second = "0" * 64, "a" * 64
    built = (
        f"# by the builder\n\nTiny.One==1.0+cpu \\\n    --hash=sha256:{first} \\\n    --hash=sha256:{second}\nb==2\n"
    )
    locked = verifier.parse_lock(built.encode())
    assert locked == [("tiny-one", "1.0+cpu", (first, second)), ("b", "2", ())]
    assert verifier.parse_lock(verifier.write_lock(locked)) == locked
    assert Path(VERIFIER).is_file()


def test_lock_that_is_accepted_has_no_line_that_any_reader_takes_for_an_option() -> None:
    """Locks changed at random: what is accepted is split at everything that Python calls the end of a line."""
    chance, digest = random.Random(7), "0" * 64
    start = f"# c\nab==1.0 \\\n    --hash=sha256:{digest}\nc-d==2 --hash=sha256:{digest} --hash=sha256:{digest[::-1]}\n"
    pieces = [*"\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\t\\ #;", "\\\n", "-e .", "--index-url y", "==1"]
    pieces += ["", "\n", "\n\n", "\n# x\n", "0", "a"] * 2
    plain = re.compile(
        r"|#.*|[a-z0-9._-]+==\S+( --hash=sha256:[0-9a-f]{64})*( \\)?|    (--hash=sha256:[0-9a-f]{64} ?)+\\?"
    )
    accepted = 0
    for _ in range(3_000):
        text = start
        for _ in range(chance.randint(1, 2)):
            at, cut = chance.randrange(len(text) + 1), chance.choice([0, 0, 1, 4])
            text = text[:at] + chance.choice(pieces) + text[at + cut :]
        with contextlib.suppress(verifier.Unusable):
            locked = verifier.parse_lock(text.encode())
            assert all(plain.fullmatch(line) for line in text.splitlines()), text
            assert verifier.parse_lock(verifier.write_lock(locked)) == locked
            accepted += 1
    assert accepted > 100


def same_blob(one: bytes, other: bytes) -> bool:
    try:
        return bool(verifier.SshSignature.parse(one).blob == verifier.SshSignature.parse(other).blob)
    except verifier.Unusable:
        return False


@pytest.mark.parametrize("name", ["manifest.json.p256", "manifest.json.sig"])
@pytest.mark.attack("bad signatures")
def test_signature_that_was_changed_at_random_is_never_good(bundle: Bundle, tmp_path: Path, name: str) -> None:
    chance, other = random.Random(name), bundle.copy(tmp_path / "copy")
    good = other.file(name).read_bytes()
    kept = {"manifest.json.p256": {"allowed_signers": None}, "manifest.json.sig": {"openssl_key": None}}[name]
    changed = [good + b"x" * 100, good[:-1], good * 2, b"", good[:72] + b"\0"]
    for _ in range(15):
        at = chance.randrange(len(good) - 40)
        changed.append(good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :])
    for each in changed:
        other.file(name).write_bytes(each)
        if name.endswith("sig") and same_blob(each, good):
            continue  # the armour alone differs, and ssh-keygen is given another one anyway
        report = check(other, **kept)
        assert (report.exit_code, report.signatures[name.endswith("p256")]["result"]) == (1, "bad"), each
