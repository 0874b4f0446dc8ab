"""Texts that no manifest and no lock may hold: unseen characters, odd times, lines that pip would take for more."""

from __future__ import annotations

UNSEEN = (
    "\u00ad\u200b\u200d\u2060\u2066\ufeff\U000e0041\U000e0100\ufe0f\u3164\u115f\u00a0"
    "\u2003\u2028\u0085\u034f\ue000\u061c\u2800"
)
ODD_TIMES = (
    "2026-01-01T00:00:60Z", "2026-01-01T23:59:61Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
    "2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
    "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z",
    "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z",
    "2026-01-01T00:00:00.0Z", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", "2026-1-1T0:0:0Z", "",
    "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "-026-01-01T00:00:00Z", "2026-W01-1T00:00:00Z",
)  # fmt: skip

HASH = b" --hash=sha256:" + b"0" * 64
HIDING = {
    "CR": b"\r",
    "VT": b"\v",
    "FF": b"\f",
    "FS": b"\x1c",
    "GS": b"\x1d",
    "RS": b"\x1e",
    "NEL": b"\xc2\x85",
    "LS": b"\xe2\x80\xa8",
    "PS": b"\xe2\x80\xa9",
    "tab": b"\t",
    "NUL": b"\0",
    "byte order mark": b"\xef\xbb\xbf",
    "NEL in Latin-1": b"\x85",
    "no encoding": b"\xff",
    "CR LF": b"\r\n",
    "escape": b"\x1b",
}
ODD_LINES = {
    "an index": b"--index-url https://example.org/simple",
    "an extra index": b"--extra-index-url=https://example.org",
    "a folder": b"--find-links /tmp",
    "a short option": b"-i https://example.org",
    "another file": b"-r other.txt",
    "constraints": b"-c other.txt",
    "an editable": b"-e .",
    "a path": b"./tiny_one" + HASH,
    "a wheel": b"x-1-py3-none-any.whl",
    "an address": b"tiny-one @ https://example.org/x.whl" + HASH,
    "a marker": b"tiny-one==1.0 ; python_version > '3'" + HASH,
    "an extra": b"tiny-one[x]==1.0" + HASH,
    "a range": b"tiny-one>=1.0" + HASH,
    "arbitrary": b"tiny-one===1.0" + HASH,
    "any of 1": b"tiny-one==1.*" + HASH,
    "blanks": b"tiny-one == 1.0" + HASH,
    "two blanks": b"tiny-one==1.0 " + HASH,
    "an option after it": b"tiny-one==1.0" + HASH + b" --global-option=x",
    "another hash": b"tiny-one==1.0 --hash=md5:0",
    "capital digits": b"tiny-one==1.0 --hash=sha256:" + b"A" * 64,
    "a short hash": b"tiny-one==1.0 --hash=sha256:00",
    "a comment behind": b"tiny-one==1.0" + HASH + b" # --index-url",
    "an indented line": b" tiny-one==1.0" + HASH,
    "a comment that goes on": b"# x \\\n--index-url https://example.org",
    "a comment of hashes": b"# x \\\n    --hash=sha256:0",
    "a line that goes on": b"tiny-one==1.0 \\\n" + HASH[1:],
    "a name that goes on": b"tiny-\\\none==1.0" + HASH,
    "an end that goes on": b"tiny-one==1.0" + HASH + b" \\",
    "a variable": b"tiny-one==${X}" + HASH,
    "a name twice": b"tiny-one==1.0" + HASH + b"\ntiny_One==1.0" + HASH,
    "a blank": b" ",
    "a name that ends in a dash": b"tiny-==1" + HASH,
}
LOCKS = [
    *((f"{name} in a comment", b"# x" + each + b"--index-url https://example.org/simple\n", "a lock is printable ASCII")
      for name, each in HIDING.items()),
    *((f"{name} behind a requirement", b"tiny-one==1.0" + HASH + each + b"-e .\n", "a lock is printable ASCII")
      for name, each in HIDING.items()),
    *((name, b"# x\n" + line + b"\n", "python/main.lock: line ") for name, line in ODD_LINES.items()),
]  # fmt: skip
