"""Verify an air-gap bundle: who signed it, and whether every byte of it is what was signed.

    python3 -I -S -B verify.py BUNDLE --allowed-signers FILE      # or --fingerprint SHA256:..., --openssl-key PEM

Standard library only, Python 3.6 to 3.13, nothing written to the medium. The format, the order of the checks and what
each verdict means stand in docs/bundle-format.md. This file travels alone; read it from top to bottom:

    findings and words      what is collected, and how a name from a medium is shown
    the medium              opening, reading and walking without following a link
    programs of the host    children whose end is known, what they read by descriptor, a folder of our own
    signatures              over the raw manifest, by the host's ssh-keygen or openssl
    the manifest            strict JSON, then its schema, then what its parts say of each other
    this machine            sequence, expiry, target
    bytes                   the exact set of files, sizes, digests, resume
    contents                wheels, locks and models, read from the files that were hashed
    model headers           safetensors, GGUF and JSON, read strictly
    a carried interpreter   what its archive would write, judged before anything is written
    the verdict             verify(), the report, the command line

As a library: `verify(bundle, Options(...)) -> Report`; `Report.manifest` is the parsed manifest once it may be trusted.

Exit codes: 0 valid, 1 invalid, 2 usage, 3 intact but no key was given, 4 this machine, 5 intact but partly from an
earlier run, 130 interrupted.
"""

# The oldest Python that this runs on is 3.6: typing's own names, os.path, and no unions written with a bar.
# ruff: noqa: UP006, UP035, UP045, B905, PTH100, PTH105, PTH112, PTH113, PTH117, PTH118, PTH120, PTH122, PTH123
# ruff: noqa: PTH108, PTH110, PTH116, SIM115

import os

if __name__ == "__main__":
    # hashlib brings OpenSSL, which would load the library that the caller's own configuration names: into this process.
    for _name in [each for each in os.environ if each.startswith("OPENSSL_")]:
        del os.environ[_name]

import argparse
import base64
import binascii
import calendar
import collections
import contextlib
import csv
import datetime
import errno
import hashlib
import importlib
import io
import json
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unicodedata
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

SCHEMA = "distill-offline-bundle/1"
REPORT_SCHEMA = "distill-offline-verify/1"
STATE_SCHEMA = "distill-offline-verify-state/1"
LAST_INSTALLED_SCHEMA = "distill-offline-last-installed/1"
NAMESPACE = "distill-offline-bundle"
MANIFEST, SSH_SIGNATURE, P256_SIGNATURE = "manifest.json", "manifest.json.sig", "manifest.json.p256"
MACHINE = "this machine"
UNLISTED = {MANIFEST, SSH_SIGNATURE, P256_SIGNATURE}

LIMIT_MANIFEST, LIMIT_OWN_FILE, LIMIT_SIGNATURE = 32 << 20, 16 << 20, 64 << 10  # bytes
LIMIT_DEPTH, LIMIT_ENTRIES, LIMIT_TEXT, LIMIT_PATH, LIMIT_PARTS = 16, 200_000, 4_000, 200, 400
LIMIT_TOKENS = 12_000_000  # of a manifest's JSON: twice what 200,000 files need
LIMIT_INNER_TEXT = 16 << 20  # bytes of a file inside a wheel
LIMIT_MEMBERS, LIMIT_MEMBER, LIMIT_LEVELS, LIMIT_LINKS = 100_000, 1_000, 40, 40  # of a carried interpreter
HEADROOM = 256 << 20  # bytes that the headers of an archive may take besides its files
LIMIT_MEMBER_NAME, LIMIT_FILE_NAME = 1_000, 255  # bytes: of a path in a wheel, and of each of its parts
LIMIT_LIST, LIMIT_TAGS = 8 << 20, 10_000  # of a wheel: bytes of its list of members, and tags that it may claim
LIMIT_STEPS = 1_000_000  # from name to name, in following all links of a carried interpreter
LIMIT_ENVIRONMENTS = 100
LEAST_UNPACKED, MOST_TIMES = 1 << 20, 8  # bytes, and times their size: what wheels may unpack to in any case
CHUNK = 1 << 20
DAY = 86_400  # seconds
CHILD_SECONDS = 120

# PATH is the host's, and a hostile host configuration is part of the threat: programs come from these places only.
PROGRAM_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin")
SYSTEM_FOLDERS = ("/", "/tmp", "/var", "/var/tmp", "/dev", "/dev/shm")
NOBODY = 65_534  # whom the kernel names for an owner without a number in this user namespace

SCRIPTS = {"VERIFY.sh", "INSTALL.sh", "verify.py", "install.py", "README.txt"}
KIND_OF_FOLDER = {
    "models": "model", "data": "data", "configs": "config", "project": "project",
    "sbom": "sbom", "licenses": "licence", "runtime": "runtime",
}  # fmt: skip
MODEL_KINDS = {".safetensors", ".gguf", ".json", ".txt", ".jinja", ".model", ".tiktoken", ".md"}
MODEL_PAPERS = {"LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY"}

VALID, INVALID, USAGE, INTEGRITY_ONLY, UNFIT, RESUMED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
VERDICTS = {
    VALID: "valid", INVALID: "invalid", INTEGRITY_ONLY: "integrity-only", UNFIT: "unfit", RESUMED: "resumed",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- findings and words


class Problem(NamedTuple):
    """One reason to refuse a bundle: the stage that found it, the file (or the manifest's key), and what is wrong."""

    stage: str
    path: str
    reason: str


class UsageFault(Exception):
    """The command line, or a file that it names on the isolated side, cannot be used."""


class MachineFault(Exception):
    """This machine lacks what a verification needs: a program, a temporary folder."""


class Unusable(Exception):
    """Something on the medium cannot be used; the message is the reason, without the file's name."""


class Stopped(Exception):
    """Another thread asked to stop."""


class Findings:
    """The problems found so far, from any thread; `listed` holds the first `limit` of `total`."""

    def __init__(self, limit: int) -> None:
        self.limit, self.total = limit, 0
        self.listed: List[Problem] = []
        self.stages: Set[str] = set()
        self.paths: Set[str] = set()
        self._lock = threading.Lock()

    def add(self, stage: str, path: str, reason: str) -> None:
        with self._lock:
            self.total += 1
            self.stages.add(stage)
            self.paths.add(path)
            if len(self.listed) < self.limit:
                self.listed.append(Problem(stage, shown(path), shown(reason)))


def shown(text: str, limit: int = 400) -> str:
    """The text in printable ASCII: what a medium calls a file must not drive the terminal of who looks at it."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    plain = "".join(each if " " <= each <= "~" else f"\\x{ord(each):02x}" for each in plain)
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def canonical(value: Any) -> bytes:
    """The one way to write a manifest: sorted keys, a key a line, ASCII, a newline at the end."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_own(path: str, what: str) -> bytes:
    """A file of the isolated side. Raises UsageFault."""
    try:
        with open(path, "rb") as file:
            content = file.read(LIMIT_OWN_FILE + 1)
    except OSError as error:
        raise UsageFault(f"{what} {path} cannot be read: {error.strerror}") from error
    if len(content) > LIMIT_OWN_FILE:
        raise UsageFault(f"{what} {path} is larger than {LIMIT_OWN_FILE} bytes")
    return content


# ------------------------------------------------------------------------------------------------------- the medium


class Identity(NamedTuple):
    """What tells that a file was not touched, times in nanoseconds."""

    device: int
    inode: int
    mode: int
    links: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Identity":
        return cls(
            status.st_dev, status.st_ino, status.st_mode, status.st_nlink,
            status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        )  # fmt: skip

    def same_as(self, other: Optional["Identity"]) -> bool:
        """Equal but for the inode, since FAT numbers its files anew whenever it forgets them."""
        return other is not None and self._replace(inode=0) == other._replace(inode=0)


class Tree(NamedTuple):
    """What a walk found: regular files by path, and folders."""

    files: Dict[str, Identity]
    folders: Set[str]


class Medium:
    """A bundle's folder, opened once; all that is below it is reached from there, and never through a link."""

    def __init__(self, path: str) -> None:
        try:
            self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageFault(f"bundle {path}: {error.strerror}") from error
        self.device = os.fstat(self.root).st_dev

    def close(self) -> None:
        os.close(self.root)

    def open(self, path: str) -> int:
        """A descriptor of a regular file with one name. Raises Unusable."""
        here, folders = self.root, path.split("/")
        try:
            for name in folders[:-1]:
                deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                if here != self.root:
                    os.close(here)
                here = deeper
            # Without O_NONBLOCK a FIFO put here would hold us for ever.
            descriptor = os.open(folders[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        except OSError as error:
            raise Unusable(reason_of(error)) from error
        finally:
            if here != self.root:
                os.close(here)
        bad = unfit_file(os.fstat(descriptor))
        if bad:
            os.close(descriptor)
            raise Unusable(bad)
        return descriptor

    def read(self, path: str, limit: int) -> bytes:
        """A small file's content. Raises Unusable, also above `limit` bytes."""
        with os.fdopen(self.open(path), "rb") as file:
            try:
                content = file.read(limit + 1)
            except OSError as error:
                raise Unusable(reason_of(error)) from error
        if len(content) > limit:
            raise Unusable(f"is larger than {limit} bytes")
        return content

    def walk(self, report: Callable[[str, str], None]) -> Tree:
        """Every regular file and folder; each other thing, and each bad name, is reported as (path, reason)."""
        tree = Tree({}, set())
        try:
            self._walk(self.root, "", tree, report)
        except OSError as error:
            report(".", f"cannot be listed: {reason_of(error)}")
        folded: Dict[str, str] = {}
        for path in sorted([*tree.files, *tree.folders]):
            other = folded.setdefault(fold(path), path)
            if other != path:
                report(path, f"differs from {other} only by letter case or Unicode form")
        return tree

    def _walk(self, folder: int, prefix: str, tree: Tree, report: Callable[[str, str], None]) -> None:
        for name in sorted(os.listdir(folder)):
            # Old Pythons take names for ASCII where the locale is C; the report must not differ by that.
            path = prefix + os.fsencode(name).decode("utf-8", "surrogateescape")
            if len(tree.files) + len(tree.folders) > 2 * LIMIT_ENTRIES:
                report(prefix or ".", f"holds more than {2 * LIMIT_ENTRIES} files")
                return
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            bad = name_problem(path)
            if bad:
                report(path, bad)
            if not stat.S_ISDIR(status.st_mode):
                tree.files[path] = Identity.of(status)
                unfit = unfit_file(status)
                if unfit:
                    report(path, unfit)
                continue
            tree.folders.add(path)
            if status.st_dev != self.device:
                report(path, "is on another filesystem than the bundle")
            elif not bad:
                self._walk_below(name, folder, path, tree, report)

    def _walk_below(self, name: str, folder: int, path: str, tree: Tree, report: Callable[[str, str], None]) -> None:
        try:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            report(path, reason_of(error))
            return
        try:
            self._walk(below, path + "/", tree, report)
        except OSError as error:
            report(path, f"cannot be listed: {reason_of(error)}")
        finally:
            os.close(below)


def reason_of(error: OSError) -> str:
    """What is wrong with a file, by the error. Raises MachineFault where it is this process that lacks something."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise MachineFault(f"{error.strerror}: this process may not open what it needs (ulimit -n); nothing is decided")
    known = {errno.ENOENT: "is missing", errno.ELOOP: "is a symbolic link", errno.ENOTDIR: "is not below a real folder"}
    return known.get(error.errno or 0, f"cannot be read: {error.strerror or type(error).__name__}")


def unfit_file(status: os.stat_result) -> str:
    """Why this is no plain file, or an empty string."""
    kinds = (
        (stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISDIR, "a folder"),
    )  # fmt: skip
    for is_kind, word in kinds:
        if is_kind(status.st_mode):
            return f"is {word}, not a regular file"
    if status.st_nlink > 1:
        return f"has {status.st_nlink} names (hard links)"
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "is setuid or setgid"
    return ""


def fold(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def name_problem(path: str) -> str:
    """Why a path breaks the rule for names, or an empty string."""
    if not path or path.startswith("/"):
        return "is an absolute path" if path else "is an empty path"
    if len(path.encode("utf-8", "surrogatepass")) > LIMIT_PATH:
        return f"is a path of more than {LIMIT_PATH} bytes"
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return f"has the component {component!r}, which may lead elsewhere"
        if re.search(r"[\x00-\x1f\x7f]", component):
            return "has a control character in its name"
        if not re.match(r"[A-Za-z0-9._+@-]+\Z", component):
            return "has characters other than A-Z a-z 0-9 . _ + @ - in its name"
        if component.startswith("-") or component.endswith("."):
            return "has a name that starts with '-' or ends with '.'"
    return ""


# --------------------------------------------------------------------------------------------- programs of the host


class Process(subprocess.Popen):  # type: ignore[type-arg]
    """A child of whose end we are told, or there is an error.

    Where SIGCHLD is ignored, or something else waits for our children, the kernel has no exit code for us. Popen then
    says 0, which is what a program says for a good signature.
    """

    def poll(self) -> Optional[int]:
        return self._collect(os.WNOHANG)

    def wait(self, timeout: Optional[float] = None, endtime: Any = None) -> int:
        end, pause = None if timeout is None else time.monotonic() + timeout, 0.0005
        while self._collect(0 if end is None else os.WNOHANG) is None:
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.05)
        return int(self.returncode)

    def _collect(self, flags: int) -> Optional[int]:
        """The exit code, negative for a signal, or None for a child that still runs. Raises MachineFault."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, flags)
            except ChildProcessError:
                self.returncode = -1
                name = shown(str(next(iter(self.args))))  # type: ignore[arg-type]
                raise MachineFault(
                    f"how {name} ended is not known: SIGCHLD is ignored, or something else waits for our children. "
                    "Nothing is decided"
                ) from None
            if pid:
                by_signal = os.WIFSIGNALED(status)
                self.returncode = -os.WTERMSIG(status) if by_signal else os.WEXITSTATUS(status)
        return self.returncode


class Child(NamedTuple):
    """How a program ended, its standard output, and all that it said, in one line for a message."""

    code: int
    out: bytes
    said: str


def run(command: Sequence[Any], folder: str = "/", given: bytes = b"", hands: Sequence[int] = ()) -> Child:
    """A program of the host, in a folder, without the caller's environment. Raises MachineFault.

    `hands` are descriptors that it may use. It never sees the caller's time zone, in which ssh-keygen would read a
    validity that names none.
    """
    environment = {"PATH": ":".join(PROGRAM_FOLDERS), "LC_ALL": "C", "HOME": folder, "TZ": "UTC0"}
    try:
        with Process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env=environment, pass_fds=tuple(hands),
        ) as child:  # fmt: skip
            try:
                out, err = child.communicate(given, timeout=CHILD_SECONDS)
            except BaseException:
                child.kill()
                raise
            code = child.wait()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineFault(f"{shown(str(command[0]))} does not run: {error}") from error
    lines = (out + err).decode("utf-8", "replace").split("\n")
    return Child(code, out, "; ".join(lines).strip("; "))


def program(name: str, given: Optional[str]) -> str:
    """Where a program of the host lies. Raises MachineFault."""
    places = [os.path.join(folder, name) for folder in PROGRAM_FOLDERS] if given is None else [given]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return os.path.abspath(place)
    raise MachineFault(
        "{} is not in {}. Install it, or name it with --{}".format(name, ", ".join(PROGRAM_FOLDERS), name)
        if given is None
        else f"{given} is not a program that can be run"
    )


def unsafe_place(folder: str) -> str:
    """Why others could put something else in place of what we make in this folder, or an empty string."""
    place = os.path.realpath(folder)
    while True:
        try:
            status = os.stat(place)
        except OSError as error:
            return f"{place} {reason_of(error)}"
        if not stat.S_ISDIR(status.st_mode):
            return f"{place} is not a folder"
        # In a user namespace without root's number the system's own folders belong to nobody.
        owners = {0, os.geteuid(), NOBODY} if place in SYSTEM_FOLDERS else {0, os.geteuid()}
        if status.st_uid not in owners:
            return f"{place} belongs to another user"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
            return f"others may write in {place}, which has no sticky bit"
        if place == "/":
            return ""
        place = os.path.dirname(place)


def temporary_places() -> List[str]:
    """Where a folder of our own may be made, best first: what the caller says counts only if nobody can meddle."""
    asked = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    found = [place for place in asked if os.path.isabs(place)] + ["/tmp", "/var/tmp", "/dev/shm"]
    return [place for place in found if not unsafe_place(place)]


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A new folder that is ours alone, below folders where nobody else can rename it; gone afterwards.

    Raises MachineFault.
    """
    folder, why = "", "in none of TMPDIR, /tmp and /var/tmp can others be kept from meddling"
    for place in temporary_places():
        try:
            folder = tempfile.mkdtemp(prefix="verify-", dir=place)
            break
        except OSError as error:
            why = f"{place}: {error.strerror}"
    if not folder:
        raise MachineFault(f"no temporary folder can be made: {why}")
    try:
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise MachineFault(f"the temporary folder {folder} is not ours alone")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Hands:
    """Contents that a child reads by descriptor. No name leads to them, so that nobody can change what is read."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.descriptors: List[int] = []

    def give(self, content: bytes) -> str:
        """The path under which a child finds these bytes. Raises MachineFault."""
        name = os.path.join(self.folder, f"handed-{len(self.descriptors)}")
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            self.descriptors.append(descriptor)
            os.unlink(name)
            status = os.fstat(descriptor)
            if status.st_nlink or status.st_uid != os.geteuid():
                raise MachineFault(f"someone meddles with the temporary folder {self.folder}")
            for start in range(0, len(content), CHUNK):
                written, chunk = 0, content[start : start + CHUNK]
                while written < len(chunk):
                    written += os.write(descriptor, chunk[written:])
        except OSError as error:
            raise MachineFault(f"the temporary folder cannot be written: {error.strerror}") from error
        for parent in ("/proc/self/fd", "/dev/fd"):
            if os.path.exists(f"{parent}/{descriptor}"):
                return f"{parent}/{descriptor}"
        raise MachineFault("/proc is not mounted: a program cannot be handed what only it may read")

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


@contextlib.contextmanager
def handing() -> Iterator[Hands]:
    with private_folder() as folder:
        hands = Hands(folder)
        try:
            yield hands
        finally:
            hands.close()


# ------------------------------------------------------------------------------------------------------- signatures


class Options(NamedTuple):
    """What the isolated side decides; every path is one of its own, none may lie inside the bundle."""

    allowed_signers: Optional[str] = None
    fingerprint: Optional[str] = None
    openssl_key: Optional[str] = None
    revoked: Optional[str] = None
    signer: Optional[str] = None
    last_sequence_file: Optional[str] = None
    target_dir: Optional[str] = None
    check_target: bool = True
    python: Optional[str] = None
    state: Optional[str] = None
    now: Optional[int] = None  # seconds since 1970; None asks the clock
    jobs: int = 0  # 0: one a core, at most four
    max_problems: int = 100
    ssh_keygen: Optional[str] = None
    openssl: Optional[str] = None
    namespace: str = NAMESPACE  # of the ssh signature; a caller that verifies the manifest of a run says another

    @property
    def wants_ssh(self) -> bool:
        return self.allowed_signers is not None or self.fingerprint is not None

    @property
    def has_key(self) -> bool:
        return self.wants_ssh or self.openssl_key is not None


class SshSignature(NamedTuple):
    """What an SSHSIG blob says of itself (OpenSSH, PROTOCOL.sshsig); none of it is verified by reading it."""

    key_type: str
    key: bytes  # for a certificate: the key that it is for
    namespace: str
    blob: bytes = b""
    is_certificate: bool = False

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.key).digest()).decode("ascii").rstrip("=")

    @property
    def kind(self) -> str:
        """The key's kind as ssh-keygen names it."""
        return SSH_KINDS[self.key_type][0] + ("-CERT" if self.is_certificate else "")

    def allowed_line(self, start: bytes) -> bytes:
        return b"%b%b %b\n" % (start, self.key_type.encode("ascii"), base64.b64encode(self.key))

    @classmethod
    def parse(cls, armour: bytes) -> "SshSignature":
        """Raises Unusable."""
        match = re.match(
            rb"-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END SSH SIGNATURE-----\s*\Z", armour
        )
        try:
            blob = base64.b64decode(match.group(1) if match else b"")
            if blob[:6] != b"SSHSIG" or struct.unpack(">I", blob[6:10]) != (1,):
                raise Unusable("is not a signature by ssh-keygen")
            key, rest = _ssh_string(blob[10:])
            namespace, rest = _ssh_string(rest)
            for _ in ("reserved", "hash algorithm", "signature"):
                _, rest = _ssh_string(rest)
            if rest:
                raise Unusable("is not a signature by ssh-keygen: more follows it")
            name = _ssh_string(key)[0].decode("ascii")
            key_type = name.replace("-cert-v01@openssh.com", "@openssh.com" if name.startswith("sk-") else "")
            if key_type not in SSH_KINDS:
                raise Unusable(f"is by a key of the kind {name}, which is not known here")
            if name != key_type:
                key = _certified(key, key_type)
            return cls(key_type, key, namespace.decode("utf-8"), blob, name != key_type)
        except (binascii.Error, struct.error, UnicodeDecodeError) as error:
            raise Unusable("is not a signature by ssh-keygen") from error


# Each kind of key: ssh-keygen's word for it, and of how many fields it consists (OpenSSH, PROTOCOL.certkeys).
SSH_KINDS = {
    "ssh-ed25519": ("ED25519", 1), "sk-ssh-ed25519@openssh.com": ("ED25519-SK", 2),
    "ecdsa-sha2-nistp256": ("ECDSA", 2), "ecdsa-sha2-nistp384": ("ECDSA", 2), "ecdsa-sha2-nistp521": ("ECDSA", 2),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("ECDSA-SK", 3), "ssh-rsa": ("RSA", 2),
}  # fmt: skip


def _ssh_string(blob: bytes) -> Tuple[bytes, bytes]:
    length = struct.unpack(">I", blob[:4])[0]
    if length > len(blob) - 4:
        raise struct.error
    return blob[4 : 4 + length], blob[4 + length :]


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _certified(certificate: bytes, key_type: str) -> bytes:
    """The blob of the key that a certificate is for."""
    _, rest = _ssh_string(certificate)
    _, rest = _ssh_string(rest)  # the nonce
    key = _string(key_type.encode("ascii"))
    for _ in range(SSH_KINDS[key_type][1]):
        field, rest = _ssh_string(rest)
        key += _string(field)
    return key


def armoured(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return b"-----BEGIN SSH SIGNATURE-----\n%b\n-----END SSH SIGNATURE-----\n" % b"\n".join(lines)


def check_signatures(medium: Medium, raw: bytes, options: Options, findings: Findings) -> List[Dict[str, str]]:
    """What holds of each signature; a problem for each one that was asked for and does not hold."""
    checks = (
        (SSH_SIGNATURE, options.wants_ssh, check_ssh_signature),
        (P256_SIGNATURE, options.openssl_key is not None, check_p256_signature),
    )
    results = []
    for name, wanted, check in checks:
        result = {"file": name, "result": "not checked", "signer": ""}
        if wanted:
            try:
                result.update(signer=shown(check(medium, raw, options)), result="good")
            except Unusable as unusable:
                result["result"] = "bad"
                findings.add("signature", name, str(unusable))
        results.append(result)
    return results


def read_signature(medium: Medium, name: str) -> bytes:
    try:
        return medium.read(name, LIMIT_SIGNATURE)
    except Unusable as unusable:
        raise Unusable(f"{unusable}, and a key to check it with was given") from unusable


class SshKeygen:
    """The host's ssh-keygen for one signature: it counts as good by its own words alone, never by an exit code."""

    def __init__(self, place: str, options: Options, content: bytes, signature: SshSignature) -> None:
        self.place, self.namespace, self.content, self.signature = place, options.namespace, content, signature
        self.at: List[str] = []
        if options.now is not None:
            self.at = ["-O", "verify-time=" + time.strftime("%Y%m%d%H%M%S", time.gmtime(options.now))]

    def verify(
        self, allowed: bytes, principal: bytes, raw: bytes, revoked: Optional[bytes], content: Optional[bytes] = None
    ) -> Tuple[bool, str]:
        """Whether it says that this principal's key made the signature over these bytes, and all that it said."""
        signature = self.signature
        with handing() as hands:
            command: List[Any] = [self.place, "-Y", "verify", "-n", self.namespace, "-I", principal, *self.at]
            command += ["-f", hands.give(allowed), "-s", hands.give(self.content if content is None else content)]
            command += [] if revoked is None else ["-r", hands.give(revoked)]
            done = run(command, given=raw, hands=hands.descriptors)
        words = (f'Good "{self.namespace}" signature for ', f" with {signature.kind} key {signature.fingerprint}\n")
        expected = words[0].encode("ascii") + principal + words[1].encode("ascii")
        return done.code == 0 and done.out == expected, done.said

    def principals(self, allowed: bytes) -> List[bytes]:
        """The names under which the allowed signers list the key. Raises Unusable when there is none."""
        with handing() as hands:
            files = ["-f", hands.give(allowed), "-s", hands.give(self.content)]
            done = run([self.place, "-Y", "find-principals", *files, *self.at], hands=hands.descriptors)
        found = [each for each in done.out.split(b"\n") if each]
        if done.code != 0 or not found or any(re.search(rb"[\x00-\x1f\x7f]", each) for each in found):
            raise Unusable(refusal(done.said, "is not by a key of the allowed signers"))
        return found

    def prove(self, allowed: bytes, principal: bytes, raw: bytes, revoked: Optional[bytes]) -> None:
        """Raises MachineFault for a program that calls good what cannot be: each wrong signature is made here."""
        own = self.signature.allowed_line(b"")
        someone = SshSignature("ssh-ed25519", _string(b"ssh-ed25519") + _string(os.urandom(32)), "")
        wrong = [
            (allowed, principal, raw + os.urandom(16), revoked, self.content),
            (allowed, principal, raw, revoked, armoured(spoiled(self.signature.blob))),
            (someone.allowed_line(b"canary "), b"canary", raw, None, self.content),
        ]
        wrong += [] if revoked is None else [(allowed, principal, raw, own, self.content)]
        for each in wrong:
            if self.verify(*each)[0]:
                raise MachineFault(CREDULOUS.format(self.place))


CREDULOUS = "{} called a wrong signature good, which was made to try it: no program of this host can be trusted"


def spoiled(signature: bytes) -> bytes:
    """A signature with another end. It is drawn, not flipped: a flip could mend what someone had flipped."""
    return signature[:-16] + os.urandom(16)


def check_ssh_signature(medium: Medium, raw: bytes, options: Options) -> str:
    """Who signed. Raises Unusable when it is nobody whom the isolated side trusts."""
    content = read_signature(medium, SSH_SIGNATURE)
    signature = SshSignature.parse(content)
    if signature.namespace != options.namespace:
        raise Unusable(f"was made for the namespace {signature.namespace}, not {options.namespace}")
    # Not the medium's text but what was read of it, so that no two readers of it can differ.
    keygen = SshKeygen(program("ssh-keygen", options.ssh_keygen), options, armoured(signature.blob), signature)
    revoked = None if options.revoked is None else read_own(options.revoked, "-r")
    if options.fingerprint is not None:
        allowed, principals = allowed_by_fingerprint(signature, options.fingerprint), [b"signer"]
    else:
        allowed = read_own(options.allowed_signers or "", "--allowed-signers")
        principals = keygen.principals(allowed) if options.signer is None else [os.fsencode(options.signer)]
    keygen.prove(allowed, principals[0], raw, revoked)
    said = ""
    for principal in principals:
        good, said = keygen.verify(allowed, principal, raw, revoked)
        if good:
            return "{} {}".format(principal.decode("utf-8", "surrogateescape"), signature.fingerprint)
        if revoked is not None and keygen.verify(allowed, principal, raw, None)[0]:
            raise Unusable(f"is by a key that is revoked: {signature.fingerprint}")
    raise Unusable(refusal(said, "does not belong to this manifest.json, or is not by a key that you trust"))


def refusal(said: str, otherwise: str) -> str:
    """Raises MachineFault where ssh-keygen did not come as far as to judge."""
    if "No user exists for uid" in said:
        raise MachineFault(f"ssh-keygen runs only for a user whom this machine knows by name ({said})")
    expired = "is by a key that has expired" if "key has expired" in said else otherwise
    return f"{expired} (ssh-keygen: {said})"


def allowed_by_fingerprint(signature: SshSignature, fingerprint: str) -> bytes:
    """An allowed-signers line for the signature's own key, once that has the fingerprint which was typed in."""
    if signature.fingerprint != fingerprint.rstrip("="):
        raise Unusable(f"is by the key {signature.fingerprint}, not by {fingerprint}")
    plain = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256")
    if signature.key_type not in plain or signature.is_certificate:
        raise Unusable(f"is by a key of the kind {signature.key_type}, which a fingerprint may not name")
    return signature.allowed_line(b"signer ")


def check_p256_signature(medium: Medium, raw: bytes, options: Options) -> str:
    """Which key signed. Raises Unusable when it is not the one that the isolated side gave."""
    key, digest = p256_key(options.openssl_key or "")
    content = read_signature(medium, P256_SIGNATURE)
    good, said = p256_verifies(program("openssl", options.openssl), key, content, raw)
    if not good:
        raise Unusable(f"does not belong to this manifest.json, or is not by your P-256 key ({said})")
    return "P-256 key sha256:" + digest


def p256_verifies(openssl: str, key: bytes, signature: bytes, raw: bytes) -> Tuple[bool, str]:
    """Whether openssl says that this key (PEM) made the signature over these bytes, and all that it said.

    Raises MachineFault for an openssl that calls good what cannot be.
    """
    if not is_ecdsa_signature(signature):
        return False, "no signature in DER form"
    wrong = ((key, signature, raw + os.urandom(16)), (key, spoiled(signature), raw), (CANARY_KEY, signature, raw))
    for each in wrong:
        if _p256_verifies(openssl, *each)[0]:
            raise MachineFault(CREDULOUS.format(openssl))
    return _p256_verifies(openssl, key, signature, raw)


def is_ecdsa_signature(content: bytes) -> bool:
    """Whether it is two positive numbers of P-256 in DER (RFC 3279, 2.2.3) and nothing else: openssl reads 72 bytes."""
    if len(content) < 8 or content[0] != 0x30 or content[1] != len(content) - 2:
        return False
    rest = content[2:]
    for _ in range(2):
        if len(rest) < 3 or rest[0] != 0x02 or not 1 <= rest[1] <= 33 or len(rest) < 2 + rest[1]:
            return False
        number, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if number[0] & 0x80 or (number[0] == 0 and not (len(number) > 1 and number[1] & 0x80)):
            return False
    return not rest


def _p256_verifies(openssl: str, key: bytes, signature: bytes, raw: bytes) -> Tuple[bool, str]:
    with handing() as hands:
        files = ["-verify", hands.give(key), "-signature", hands.give(signature)]
        done = run([openssl, "dgst", "-sha256", *files], given=raw, hands=hands.descriptors)
    return done.code == 0 and done.out == b"Verified OK\n", done.said


# A key that signs nothing here: the curve's own base point (SEC 2, 2.4.2).
CANARY_KEY = (
    b"-----BEGIN PUBLIC KEY-----\n"
    b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
    b"6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n"
)


def p256_key(path: str) -> Tuple[bytes, str]:
    """The PEM and the digest of a P-256 public key. Raises UsageFault for anything else, a private key included."""
    pem = read_own(path, "--openssl-key")
    return pem, p256_digest(pem, path)


def p256_digest(pem: bytes, path: str) -> str:
    """The digest of a P-256 public key in PEM form; `path` is for the message. Raises UsageFault for anything else."""
    match = re.match(rb"\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*\Z", pem)
    start = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # RFC 5480, uncompressed point
    try:
        der = base64.b64decode(match.group(1)) if match else b""
    except binascii.Error:
        der = b""
    if len(der) != 91 or not der.startswith(start):
        raise UsageFault(f"--openssl-key {path}: is not a public key on P-256 in PEM form")
    return sha256(der)


# ------------------------------------------------------------------------------------------------------ the manifest


def parse_manifest(raw: bytes) -> Dict[str, Any]:
    """The manifest's object, from canonical bytes alone. Raises Unusable."""
    refuse_deep(raw)
    try:
        value = json.loads(
            raw.decode("ascii"), object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number,
            parse_int=_integer,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise Unusable("has bytes other than ASCII") from error
    except ValueError as error:
        raise Unusable(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unusable("is not a JSON object")
    if canonical(value) != raw:
        raise Unusable("is not in canonical form: sorted keys, one blank a level, ASCII, one newline at the end")
    return value


def refuse_deep(raw: bytes) -> None:
    """Raises Unusable for JSON that is nested too deep, or has more in it than any manifest: before it is parsed."""
    depth, quoted = 0, False
    for number, token in enumerate(re.finditer(rb'\\.|["\[\]{},]', raw, re.DOTALL)):
        if token.group() == b'"':
            quoted = not quoted
        elif not quoted:
            depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group(), 0)
        if depth > LIMIT_DEPTH:
            raise Unusable(f"is nested deeper than {LIMIT_DEPTH} levels")
        if number > LIMIT_TOKENS:
            raise Unusable(f"has more than {LIMIT_TOKENS} commas, brackets and quotes")


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    keys: Set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise Unusable(f"has the key {key!r} twice in one object")
        keys.add(key)
    return dict(pairs)


def _no_number(text: str) -> Any:
    raise Unusable(f"has the number {text[:40]}; only whole numbers are allowed")


def _integer(text: str) -> int:
    if len(text) > 16 or not 0 <= int(text) < 1 << 53:
        raise Unusable(f"has the number {text[:40]}; it must be from 0 to 2^53-1")
    return int(text)


Tell = Callable[[str, str], None]  # (the manifest's key, what is wrong)
Shape = Callable[[Any, str, Tell], None]

# What no reader can see, or what turns, breaks or fills a line: Unicode's control, format and private characters, its
# blanks but for the common one, fillers, variation selectors, joiners. A list, since Pythons differ in age.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5"
    "\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\uffff\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe-\U0010ffff]"
)


def string(pattern: str = "", hint: str = "") -> Shape:
    compiled = re.compile("(?:" + pattern + r")\Z") if pattern else None

    def check(value: Any, where: str, tell: Tell) -> None:
        if not isinstance(value, str):
            tell(where, "must be a string")
        elif len(value) > LIMIT_TEXT or _UNSEEN.search(value):
            tell(where, f"has control or direction-changing or unseen characters, or is longer than {LIMIT_TEXT}")
        elif compiled and not compiled.match(value):
            tell(where, f"must be {hint}, not {value[:80]!r}")

    return check


def integer(low: int) -> Shape:
    def check(value: Any, where: str, tell: Tell) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            tell(where, f"must be a whole number from {low}")

    return check


def choice(*values: Any) -> Shape:
    def check(value: Any, where: str, tell: Tell) -> None:
        if not any(value == each and type(value) is type(each) for each in values):
            tell(where, "must be {}".format(" or ".join(json.dumps(each) for each in values)))

    return check


def nullable(shape: Shape) -> Shape:
    def check(value: Any, where: str, tell: Tell) -> None:
        if value is not None:
            shape(value, where, tell)

    return check


def inner_path(value: Any, where: str, tell: Tell) -> None:
    bad = name_problem(value) if isinstance(value, str) else "must be a string"
    if bad:
        tell(where, bad if not isinstance(value, str) else f"{value!r} {bad}")


def timestamp(value: Any, where: str, tell: Tell) -> None:
    if not isinstance(value, str) or seconds(value) is None:
        tell(where, "must be a time as 2026-01-31T23:59:59Z")


def record(required: Dict[str, Shape], optional: Optional[Dict[str, Shape]] = None) -> Shape:
    shapes = dict(required, **(optional or {}))

    def check(value: Any, where: str, tell: Tell) -> None:
        if not isinstance(value, dict):
            tell(where, "must be an object")
            return
        inner = where + "." if where else ""
        for key in sorted(value.keys() - shapes.keys()):
            tell(inner + key, "is unknown")
        for key, shape in shapes.items():
            if key in value:
                shape(value[key], inner + key, tell)
            elif key in required:
                tell(inner + key, "is missing")

    return check


def listing(shape: Shape, by: Optional[Tuple[str, ...]] = None, low: int = 0, high: int = LIMIT_ENTRIES) -> Shape:
    """A list; `by` names the keys by which its objects are sorted and unique, () means that its strings are."""

    def check(value: Any, where: str, tell: Tell) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            tell(where, f"must be a list of {low} to {high} entries")
            return
        for position, each in enumerate(value):
            shape(each, f"{where}[{position}]", tell)
        if by is None:
            return
        try:
            keys = [tuple(each[key] for key in by) if by else (each,) for each in value]
            seen = set(keys[:1])
            for position in range(1, len(keys)):
                if keys[position] <= keys[position - 1]:
                    stands = "stands twice" if keys[position] in seen else "is out of order"
                    tell(f"{where}[{position}]", "{} {}".format("/".join(keys[position]), stands))
                seen.add(keys[position])
        except (TypeError, KeyError):
            pass  # an entry without the key, or with another type there, was reported as such

    return check


_HEX64 = string("[0-9a-f]{64}", "64 lower-case hex digits")
_NAME = string("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a name of letters, digits and . _ -")
_NORMALISED = string("[a-z0-9]+(-[a-z0-9]+)*", "a package name in lower case with single dashes")
_VERSION = string(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}", "a version")
_PLAIN = string("[ -~]*", "printable ASCII")  # names and versions: nothing that looks like another letter
_NUMBERS = string(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", "numbers joined by dots")
_ENVIRONMENT = string("[a-z0-9][a-z0-9-]{0,31}", "an environment's name")
_COMPONENT_OF_PATH = string("[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", "a name of letters, digits and . _ + -")
_PIECE: Dict[str, Shape] = {"path": inner_path, "size": integer(0), "sha256": _HEX64}

MANIFEST_SHAPE = record({
    "schema": choice(SCHEMA),
    "bundle_id": string("[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", "an id"),
    "name": _NAME,
    "version": string("[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", "a version"),
    "sequence": integer(1),
    "previous_manifest_sha256": nullable(_HEX64),
    "created": timestamp,
    "expires": nullable(timestamp),
    "builder": record({
        "name": _PLAIN, "version": _PLAIN, "python": _PLAIN,
        "commit": nullable(string("[0-9a-f]{40}", "a commit")),
    }),
    "target": record({
        "os": choice("linux"),
        "arch": string("[A-Za-z0-9_]{1,32}", "an architecture as uname -m says"),
        "python": string(r"3\.[0-9]{1,2}", 'a Python version like "3.11"'),
        "interpreter": nullable(inner_path),
        "min_glibc": string(r"2\.[0-9]{1,3}", 'a glibc version like "2.28"'),
        "accelerator": choice("cpu", "cuda"),
        "min_driver": nullable(_NUMBERS),
        "tools": listing(string("[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", "a command"), by=()),
    }),
    "totals": record({"files": integer(1), "bytes": integer(0), "installed_bytes": integer(0)}),
    "files": listing(
        record(
            dict(_PIECE, kind=choice(*sorted({*KIND_OF_FOLDER.values(), "wheel", "lock", "script"}))),
            {"parts": listing(record(_PIECE), low=2, high=LIMIT_PARTS)},
        ),
        by=("path",),
        low=1,
    ),
    "components": listing(
        record(
            {
                "name": _NORMALISED, "version": _VERSION, "file": inner_path, "licence": string(), "purl": _PLAIN,
                "environments": listing(_ENVIRONMENT, by=(), low=1, high=LIMIT_ENVIRONMENTS),
            },
            {"retagged": choice(True), "unpacked_bytes": integer(0)},
        ),
        by=("file",),
    ),
    "direct_requirements": listing(
        record({"name": _NORMALISED, "environment": _ENVIRONMENT, "floor": _VERSION, "resolved": _VERSION}),
        by=("environment", "name"),
    ),
    "models": listing(
        record({
            "id": _COMPONENT_OF_PATH, "revision": _COMPONENT_OF_PATH, "role": choice("teacher", "student"),
            "licence": string(), "outputs": string(),
        }),
        by=("id",),
    ),
    "resolution": record({
        "tool": _PLAIN, "tool_version": _PLAIN, "platform_tags": listing(_PLAIN),
        "environments": listing(
            record({"name": _ENVIRONMENT, "lock": inner_path}), by=("name",), high=LIMIT_ENVIRONMENTS
        ),
    }),
    "policy": record(
        {
            "model_kinds": listing(choice(*sorted(MODEL_KINDS)), by=()),
            "volume_limit": integer(1),
            "runtime_fetches": listing(
                record({"name": _PLAIN, "answer": choice("shipped", "switched off"), "how": string()}), by=("name",)
            ),
        },
        {
            "unusual_files": listing(
                record({"wheel": inner_path, "path": string(), "sha256": _HEX64}), by=("wheel", "path")
            )
        },
    ),
})  # fmt: skip


def seconds(moment: str) -> Optional[int]:
    """Seconds since 1970 of a UTC time as the manifest writes it, else None, as for a leap second or 30 February."""
    match = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z\Z", moment, re.ASCII)
    try:
        fields = [int(each) for each in match.groups()] if match else [0, 0, 0]
        return calendar.timegm(datetime.datetime(*fields).timetuple())  # type: ignore[arg-type]
    except ValueError:
        return None


def check_manifest(manifest: Dict[str, Any], findings: Findings) -> None:
    """The schema, and when that holds, what the manifest's parts say of each other."""

    def tell(where: str, reason: str) -> None:
        findings.add("manifest", MANIFEST, f"{where}: {reason}" if where else reason)

    if manifest.get("schema") != SCHEMA:
        tell("schema", "is {!r}; this verifier knows {!r} only".format(manifest.get("schema"), SCHEMA))
        return
    MANIFEST_SHAPE(manifest, "", tell)
    if findings.total:
        return
    for rule in (check_head, check_files, check_parts, check_components, check_models):
        rule(manifest, tell)


def check_head(manifest: Dict[str, Any], tell: Tell) -> None:
    target, totals, files = manifest["target"], manifest["totals"], manifest["files"]
    without_id = {key: value for key, value in manifest.items() if key != "bundle_id"}
    bundle_id = "{name}-{version}-linux-{arch}-py{python}-{accelerator}-{digest}".format(
        name=manifest["name"], version=manifest["version"], arch=target["arch"], python=target["python"],
        accelerator=target["accelerator"], digest=sha256(canonical(without_id))[:16],
    )  # fmt: skip
    if manifest["bundle_id"] != bundle_id:
        tell("bundle_id", f"must be {bundle_id}")
    if manifest["sequence"] == 1 and manifest["previous_manifest_sha256"] is not None:
        tell("previous_manifest_sha256", "must be null where the sequence begins")
    created, expires = seconds(manifest["created"]), manifest["expires"] and seconds(manifest["expires"])
    if expires is not None and (created or 0) >= expires:
        tell("expires", "must be later than created")
    if target["accelerator"] == "cpu" and target["min_driver"] is not None:
        tell("target.min_driver", "must be null for cpu")
    paths = {each["path"]: each["kind"] for each in files}
    if target["interpreter"] is not None and paths.get(target["interpreter"]) != "runtime":
        tell("target.interpreter", "must be the path of a runtime file")
    if totals["files"] != len(files):
        tell("totals.files", f"must be {len(files)}")
    if totals["bytes"] != sum(each["size"] for each in files):
        tell("totals.bytes", "must be {}".format(sum(each["size"] for each in files)))
    for position, environment in enumerate(manifest["resolution"]["environments"]):
        if paths.get(environment["lock"]) != "lock":
            tell(f"resolution.environments[{position}].lock", "must be the path of a lock file")


def kind_of(path: str) -> str:
    """The kind that the layout has for this place, or an empty string."""
    if path in SCRIPTS:
        return "script"
    if re.match(r"python/wheels/[^/]+\.whl\Z", path):
        return "wheel"
    if re.match(r"python/[^/]+\.lock\Z", path):
        return "lock"
    top, _, below = path.partition("/")
    return KIND_OF_FOLDER.get(top, "") if below else ""


def pieces(entry: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The files of the medium that make up one file of the manifest: its parts in order, or itself."""
    parts: Optional[List[Dict[str, Any]]] = entry.get("parts")
    return [entry] if parts is None else parts


def check_files(manifest: Dict[str, Any], tell: Tell) -> None:
    names: List[str] = []
    for position, entry in enumerate(manifest["files"]):
        where = f"files[{position}]"
        if entry["kind"] != kind_of(entry["path"]):
            place = kind_of(entry["path"]) or "nothing"
            tell(where, "{} is called a {}, but this is the place of {}".format(entry["path"], entry["kind"], place))
        names += sorted({entry["path"], *(piece["path"] for piece in pieces(entry))})
    files = set(names) | UNLISTED
    folded = {fold(each): each for each in UNLISTED}
    for name in names:
        for end in [position for position, each in enumerate(name) if each == "/"] + [len(name)]:
            other = folded.setdefault(fold(name[:end]), name[:end])
            if other != name[:end]:
                tell("files", f"{other} and {name[:end]} differ only by letter case")
            if end < len(name) and name[:end] in files:
                tell("files", f"{name[:end]} is both a file and a folder")
    for name in sorted(name for name, times in collections.Counter(names).items() if times > 1):
        tell("files", f"{name} stands twice")


def check_parts(manifest: Dict[str, Any], tell: Tell) -> None:
    limit = manifest["policy"]["volume_limit"]
    for position, entry in enumerate(manifest["files"]):
        where, parts = f"files[{position}]", entry.get("parts")
        # A script is run from the medium, and so stays whole.
        if (parts is not None) != (entry["size"] > limit) and (parts is not None or entry["kind"] != "script"):
            tell(where, "{} must have parts exactly when it is above the volume limit".format(entry["path"]))
        for number, part in enumerate(parts or []):
            expected = "volumes/{}.{:05d}.part".format(entry["sha256"], number)
            size = min(limit, entry["size"] - number * limit)
            if part["path"] != expected:
                tell(f"{where}.parts[{number}]", "{} must be {}".format(part["path"], expected))
            if part["size"] != size:
                tell(f"{where}.parts[{number}].size", f"must be {size}")
        if sum(part["size"] for part in parts or []) != (entry["size"] if parts else 0):
            tell(where, "the sizes of the parts of {} do not sum up to its size".format(entry["path"]))


class Wheel(NamedTuple):
    """What a wheel's file name says (PyPA, binary distribution format)."""

    name: str
    version: str
    pythons: List[str]
    abis: List[str]
    platforms: List[str]

    @classmethod
    def parse(cls, path: str) -> Optional["Wheel"]:
        fields = path.rpartition("/")[2][: -len(".whl")].split("-")
        if len(fields) not in (5, 6) or not all(fields) or (len(fields) == 6 and not fields[2][0].isdigit()):
            return None
        pythons, abis, platforms = (sorted(set(each.split("."))) for each in fields[-3:])
        return cls(fields[0], fields[1], pythons, abis, platforms)

    @property
    def tags(self) -> Set[str]:
        return {"-".join((p, a, o)) for p in self.pythons for a in self.abis for o in self.platforms}


def plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def plain_version(version: str) -> List[str]:
    """Comparable for equality: 1.0_rc1 and 1.0.RC1 are one, 01 and 1, too."""
    return [
        each.lstrip("0") or "0" if each.isdigit() else each for each in re.findall(r"\d+|[a-z]+|[+!]", version.lower())
    ]


def is_below(version: str, floor: str) -> bool:
    """Whether a version is older than a floor: release numbers, then whether it is a pre-release."""

    def key(text: str) -> Tuple[int, List[int], bool]:
        epoch, _, rest = text.rpartition("!")
        numbers = re.match(r"v?(\d+(?:\.\d+)*)(.*)", rest.lower())
        release = [int(each) for each in numbers.group(1).split(".")] if numbers else []
        while release and release[-1] == 0:
            release.pop()
        final = not re.match(r"[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)", numbers.group(2)) if numbers else False
        return int(epoch) if epoch.isdigit() else 0, release, final

    return key(version) < key(floor)


def check_components(manifest: Dict[str, Any], tell: Tell) -> None:
    wheels = {each["path"] for each in manifest["files"] if each["kind"] == "wheel"}
    named = {each["file"] for each in manifest["components"]}
    environments = {each["name"] for each in manifest["resolution"]["environments"]}
    for missing in sorted(wheels - named):
        tell("components", f"the wheel {missing} has no component")
    found: Dict[Tuple[str, str], str] = {}
    for position, component in enumerate(manifest["components"]):
        where = f"components[{position}]"
        for reason in wheel_problems(component, wheels, manifest["target"]):
            tell(where, reason)
        for environment in component["environments"]:
            if environment not in environments:
                tell(where, f"the environment {environment} is not in resolution.environments")
            if found.setdefault((environment, component["name"]), component["version"]) != component["version"]:
                tell(where, "{} has two versions in the environment {}".format(component["name"], environment))
    for position, unusual in enumerate(manifest["policy"].get("unusual_files", [])):
        if unusual["wheel"] not in wheels:
            tell(f"policy.unusual_files[{position}]", "{} is not a wheel of this bundle".format(unusual["wheel"]))
    for position, wanted in enumerate(manifest["direct_requirements"]):
        where = f"direct_requirements[{position}]"
        if found.get((wanted["environment"], wanted["name"])) != wanted["resolved"]:
            tell(where, "{} {} is not among the components".format(wanted["name"], wanted["resolved"]))
        if is_below(wanted["resolved"], wanted["floor"]):
            tell(where, "{name} {resolved} is below its floor {floor}".format(**wanted))


def wheel_problems(component: Dict[str, Any], wheels: Set[str], target: Dict[str, Any]) -> List[str]:
    """What is wrong with a component by its wheel's name alone: with the name itself, or for this target."""
    file = component["file"]
    wheel = Wheel.parse(file)
    if file not in wheels:
        return [f"{file} is not a wheel of this bundle"]
    if wheel is None:
        return [f"{file} is not named as a wheel"]
    problems = []
    if plain_name(wheel.name) != component["name"] or plain_version(wheel.version) != plain_version(
        component["version"]
    ):
        problems.append("{} is not named as {} {}".format(file, component["name"], component["version"]))
    if not any(runs_on(python, abi, target["python"]) for python in wheel.pythons for abi in wheel.abis):
        problems.append("{} is not for Python {}".format(file, target["python"]))
    glibcs = [glibc_of(platform, target["arch"]) for platform in wheel.platforms]
    fitting = [each for each in glibcs if each is not None]
    if not fitting:
        problems.append("{} is not for Linux on {}".format(file, target["arch"]))
    elif min(fitting) > numbers(target["min_glibc"]):
        least = ".".join(str(each) for each in min(fitting))
        problems.append("{} needs glibc {}, but target.min_glibc is {}".format(file, least, target["min_glibc"]))
    return problems


def numbers(version: str) -> List[int]:
    return [int(each) for each in version.split(".")]


def runs_on(python: str, abi: str, target: str) -> bool:
    """Whether one Python tag and one ABI tag of a wheel fit CPython `target` (PEP 425; abi3 runs on later ones)."""
    match = re.match(r"(py|cp)(\d)(\d*)\Z", python)
    if not match or match.group(2) != "3":
        return False
    minor = int(match.group(3)) if match.group(3) else 0
    wanted = numbers(target)[1]
    if abi == "none":
        return minor <= wanted if match.group(1) == "py" or not match.group(3) else minor == wanted
    if abi == "abi3":
        return minor <= wanted
    return match.group(1) == "cp" and minor == wanted and abi == f"cp3{wanted}" + ("m" if wanted < 8 else "")


def glibc_of(platform: str, arch: str) -> Optional[List[int]]:
    """The glibc that a platform tag asks for ([0] when it asks for none), or None when it is for another system."""
    if platform in ("any", "linux_" + arch):
        return [0]
    old = {"manylinux1": [2, 5], "manylinux2010": [2, 12], "manylinux2014": [2, 17]}
    match = re.match(r"manylinux_(\d+)_(\d+)_(\w+)\Z", platform)
    if match:
        return [int(match.group(1)), int(match.group(2))] if match.group(3) == arch else None
    family, _, own = platform.partition("_")
    return old.get(family) if own == arch else None


def check_models(manifest: Dict[str, Any], tell: Tell) -> None:
    folders = {"models/{id}@{revision}".format(**each) for each in manifest["models"]}
    used, folded = set(), {"catalogue.yaml": "the catalogue"}
    for position, model in enumerate(manifest["models"]):
        other = folded.setdefault(fold(model["id"]), model["id"])
        if other != model["id"]:
            tell(f"models[{position}].id", "{} would lie where {} lies".format(model["id"], other))
    for position, entry in enumerate(manifest["files"]):
        if entry["kind"] != "model":
            continue
        where, folder = f"files[{position}]", "/".join(entry["path"].split("/")[:2])
        used.add(folder)
        if folder not in folders:
            tell(where, "{} is in the folder of no model in `models`".format(entry["path"]))
        bad = model_kind_problem(entry["path"], manifest["policy"]["model_kinds"])
        if bad:
            tell(where, "{} {}".format(entry["path"], bad))
    for folder in sorted(folders - used):
        tell("models", f"{folder} has no files")


def model_kind_problem(path: str, allowed: Iterable[str]) -> str:
    """Why a file may not be part of a model, or an empty string."""
    name = path.rpartition("/")[2]
    suffix = os.path.splitext(name)[1]
    if name in MODEL_PAPERS or suffix in allowed:
        return ""
    if suffix.lower() in (".py", ".pyc", ".so", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5"):
        return "is of a kind that can run code when it is loaded"
    return "is of a kind that no model may hold ({} may)".format(" ".join(sorted(allowed)))


# ------------------------------------------------------------------------------------------------------ this machine


LAST_INSTALLED_SHAPE = record(
    {"schema": choice(LAST_INSTALLED_SCHEMA), "name": _NAME, "sequence": integer(1), "manifest_sha256": _HEX64}
)


def last_installed(file: str) -> Optional[Dict[str, Any]]:
    """The record of the last installed bundle, or None where there is none.

    Raises MachineFault for one that cannot be trusted: whoever could spoil it could then let an older bundle in.
    """
    if not os.path.lexists(file):
        return None
    reasons: List[str] = []
    try:
        if not os.path.isfile(file):
            raise Unusable("is no regular file")
        last: Dict[str, Any] = parse_own(read_own(file, "--last-sequence-file"))
        LAST_INSTALLED_SHAPE(last, "", lambda where, reason: reasons.append(f"{where} {reason}".strip()))
    except Unusable as unusable:
        reasons.append(str(unusable))
    if reasons:
        raise MachineFault(f"{file} is not a record of the last installed bundle ({reasons[0]}). Restore it")
    return last


def parse_own(content: bytes) -> Any:
    """The JSON of a small file of our own, as strict about keys and numbers as a manifest is. Raises Unusable."""
    try:
        return json.loads(
            content.decode("ascii"), object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number,
            parse_int=_integer,
        )  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise Unusable(f"is not JSON: {error}") from error


def check_sequence(manifest: Dict[str, Any], digest: str, file: Optional[str], findings: Findings) -> List[str]:
    """Notes. Raises MachineFault for a record that cannot be trusted."""
    if file is None:
        return ["No --last-sequence-file: an older bundle than the installed one would not be noticed."]
    last = last_installed(file)
    if last is None:
        return ["Nothing is installed yet, by --last-sequence-file."]
    name, sequence, installed = last["name"], last["sequence"], last["manifest_sha256"]
    own, previous = manifest["sequence"], manifest["previous_manifest_sha256"]
    if name != manifest["name"]:
        findings.add("sequence", MANIFEST, "is of {}, but {} is installed".format(manifest["name"], name))
    elif own < sequence:
        findings.add("sequence", MANIFEST, f"has sequence {own}, older than the installed {sequence}")
    elif own == sequence and installed != digest:
        findings.add("sequence", MANIFEST, f"has sequence {own}, as another installed bundle has")
    elif own == sequence + 1 and previous not in (None, installed):
        findings.add("sequence", MANIFEST, "does not follow the installed bundle: it names another previous manifest")
    return []


def check_expiry(manifest: Dict[str, Any], now: float, findings: Findings) -> None:
    if manifest["expires"] is None:
        return
    if now >= (seconds(manifest["expires"]) or 0):
        findings.add("expiry", MANIFEST, "has expired at {}".format(manifest["expires"]))
    if now < (seconds(manifest["created"]) or 0) - DAY:
        clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        reason = "was created at {}, but the clock here says {}: it cannot judge an expiry. Set it"
        findings.add("expiry", MANIFEST, reason.format(manifest["created"], clock))


def check_target(manifest: Dict[str, Any], options: Options, findings: Findings) -> None:
    """One problem for each thing in which this machine is not the one that the bundle was built for."""
    target = manifest["target"]

    def tell(reason: str) -> None:
        findings.add("target", MACHINE, reason)

    machine = os.uname().machine
    if not sys.platform.startswith(target["os"]) or machine != target["arch"]:
        tell("is {} on {}; the bundle is for {} on {}".format(sys.platform, machine, target["os"], target["arch"]))
    glibc = host_glibc()
    if glibc is None:
        tell("has a C library other than glibc; the bundle needs glibc {}".format(target["min_glibc"]))
    elif numbers(glibc) < numbers(target["min_glibc"]):
        tell("has glibc {}; the bundle needs {}".format(glibc, target["min_glibc"]))
    if target["interpreter"] is None and not has_python(target["python"], options.python):
        tell("has no Python {}, and the bundle carries none. Name one with --python".format(target["python"]))
    if target["accelerator"] == "cuda":
        driver = host_driver()
        if driver is None:
            tell("has no NVIDIA driver; the bundle is for cuda")
        elif numbers(driver) < numbers(target["min_driver"] or "0"):
            tell("has NVIDIA driver {}; the bundle needs {}".format(driver, target["min_driver"]))
    for tool in target["tools"]:
        if not has_command(tool):
            tell(f"has no command {tool}, which the bundle needs")


def check_space(manifest: Dict[str, Any], target_dir: str, findings: Findings) -> None:
    free, needed = free_bytes(target_dir), manifest["totals"]["installed_bytes"]
    if free < needed:
        findings.add("target", MACHINE, f"has {free} bytes free for the target directory; {needed} are needed")


def has_command(name: str) -> bool:
    """Whether it is there, also on the caller's PATH: it is not run here."""
    folders = [*PROGRAM_FOLDERS, *os.environ.get("PATH", "").split(":")]
    return shutil.which(name, path=":".join(each for each in folders if os.path.isabs(each))) is not None


def host_glibc() -> Optional[str]:
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    match = re.match(r"glibc (\d+\.\d+)", said)
    return match.group(1) if match else None


def host_driver() -> Optional[str]:
    for file in ("/sys/module/nvidia/version", "/proc/driver/nvidia/version"):
        with contextlib.suppress(OSError), open(file, encoding="ascii", errors="replace") as opened:
            match = re.search(r"\b(\d{3,}(?:\.\d+)+)\b", opened.read(4096))
            if match:
                return match.group(1)
    return None


def has_python(version: str, given: Optional[str]) -> bool:
    """Whether an interpreter of this version is here: the given one, this one, or the host's own python3.N."""
    if given is None and "{}.{}".format(*sys.version_info[:2]) == version:
        return True
    found = given or shutil.which("python" + version, path=":".join(PROGRAM_FOLDERS))
    if not found:
        return False
    code = "import sys; sys.stdout.write('{}.{}'.format(*sys.version_info[:2]))"
    with private_folder() as folder:  # asked, since a launcher may have the name without the interpreter
        try:
            done = run([os.path.abspath(found), "-I", "-S", "-c", code], folder)
            return (done.code, done.out) == (0, version.encode("ascii"))
        except MachineFault:
            return False


def free_bytes(folder: str) -> int:
    """Bytes that the caller may still write there, or at the nearest folder above that is already here."""
    place = os.path.abspath(folder)
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    try:
        status = os.statvfs(place)
    except OSError as error:
        raise UsageFault(f"--target-dir {folder}: {error.strerror}") from error
    return status.f_bavail * status.f_frsize


# ------------------------------------------------------------------------------------------------------------- bytes


def check_set(tree: Tree, manifest: Dict[str, Any], findings: Findings) -> None:
    """Whether the walk found exactly the files of the manifest, in their sizes, and no folder besides theirs."""
    expected = {piece["path"]: piece["size"] for entry in manifest["files"] for piece in pieces(entry)}
    folders = {path[:end] for path in expected for end, each in enumerate(path) if each == "/"}
    for path in sorted(expected.keys() - tree.files.keys()):
        findings.add("files", path, "is missing")
    for path in sorted(tree.files.keys() - expected.keys() - UNLISTED):
        if path not in findings.paths:
            findings.add("files", path, "is not in the manifest")
    for path in sorted(tree.folders - folders):
        if path not in findings.paths:
            findings.add("files", path, "is a folder that the manifest does not know")
    for path in sorted(expected.keys() & tree.files.keys()):
        if path not in findings.paths and tree.files[path].size != expected[path]:
            reason = f"has {tree.files[path].size} bytes, not {expected[path]}"
            findings.add("sizes", path, reason)


class State:
    """Which files held in earlier runs, for one manifest; it saves time and proves nothing (see the format's text)."""

    def __init__(self, file: Optional[str], manifest_digest: str) -> None:
        self.file, self.digest = file, manifest_digest
        self.held: Dict[str, List[List[int]]] = {}
        self.note = ""
        self._lock, self._saved = threading.Lock(), time.monotonic()
        if file is not None and os.path.lexists(file):
            if not os.path.isfile(file):  # a FIFO would hold us for ever
                raise UsageFault(f"--state {file} is no regular file")
            self._load(file)

    def _load(self, file: str) -> None:
        try:
            content = json.loads(read_own(file, "--state").decode("ascii"))
            if content["schema"] == STATE_SCHEMA and content["manifest_sha256"] == self.digest:
                self.held = dict(content["held"])
            else:
                self.note = "The state was of another manifest: begun anew."
        except (ValueError, TypeError, KeyError, RecursionError):
            self.note = "The state could not be read: begun anew."

    def knows(self, entry: Dict[str, Any], tree: Tree) -> bool:
        return self.held.get(entry["path"]) == self._key(entry, tree)

    @staticmethod
    def _key(entry: Dict[str, Any], tree: Tree) -> List[List[int]]:
        found = [tree.files[piece["path"]] for piece in pieces(entry)]
        return [[each.size, each.modified, each.changed, each.inode] for each in found]

    def remember(self, entry: Dict[str, Any], tree: Tree) -> None:
        with self._lock:
            self.held[entry["path"]] = self._key(entry, tree)
            if time.monotonic() - self._saved > 5:
                self._write()

    def save(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self.file is None:
            return
        self._saved = time.monotonic()
        content = {"schema": STATE_SCHEMA, "manifest_sha256": self.digest, "held": self.held}
        try:
            descriptor, partial = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(self.file)))
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file)
            os.replace(partial, self.file)
        except OSError as error:
            raise MachineFault(f"--state {self.file} cannot be written: {error.strerror}") from error


Progress = Callable[[str, int, int], None]  # (path just finished or being read, bytes done, bytes in all)


class Hashing:
    """One pass over the bytes of a bundle, in threads; what does not hold goes into the findings."""

    def __init__(self, medium: Medium, tree: Tree, manifest: Dict[str, Any], findings: Findings) -> None:
        self.medium, self.tree, self.manifest, self.findings = medium, tree, manifest, findings
        self.components = {each["file"]: each for each in manifest["components"]}
        self.policy = WheelPolicy.of(manifest)
        self.facts: Dict[str, WheelFacts] = {}
        self.stop = threading.Event()
        self.progress: Optional[Progress] = None
        self.done = self.hashed_files = self.hashed_bytes = self.reused_files = self.reused_bytes = 0
        self.total = manifest["totals"]["bytes"]
        self._lock = threading.Lock()

    def run(self, state: State, jobs: int) -> None:
        """Hash every file of which all pieces are there in their sizes, but for what the state knows."""
        pool = ThreadPoolExecutor(max_workers=jobs or min(4, os.cpu_count() or 1))
        try:
            pending = {}
            try:
                for entry in self.manifest["files"]:
                    if any(piece["path"] in self.findings.paths for piece in pieces(entry)):
                        continue
                    if state.knows(entry, self.tree):
                        self.reused_files += 1
                        self.reused_bytes += entry["size"]
                        self._advance(entry["path"], entry["size"])
                        if entry["path"] in self.components:
                            self._know_again(entry)
                    else:
                        pending[pool.submit(self._entry, entry)] = entry
            except RuntimeError as error:
                raise MachineFault(f"no thread can be started here: {error}") from error
            for future in as_completed(pending):
                entry = pending.pop(future)
                if future.result():
                    self.hashed_files += 1
                    self.hashed_bytes += entry["size"]
                    state.remember(entry, self.tree)
        finally:
            self.stop.set()
            pool.shutdown()
            state.save()

    def _know_again(self, entry: Dict[str, Any]) -> None:
        """What a wheel that held in an earlier run would put where."""
        with contextlib.ExitStack() as opened:
            parts: List[Tuple[int, int]] = []
            try:
                for piece in pieces(entry):
                    parts.append((self.medium.open(piece["path"]), piece["size"]))
                    opened.callback(os.close, parts[-1][0])
            except Unusable as unusable:
                self.findings.add("contents", entry["path"], str(unusable))
            else:
                self._know(entry, parts)

    def _know(self, entry: Dict[str, Any], parts: List[Tuple[int, int]]) -> bool:
        """Note what a wheel would put where, for what wheels do to each other."""
        try:
            self.facts[entry["path"]] = wheel_facts(io.BufferedReader(Joined(parts)), self.components[entry["path"]])
        except Unusable as unusable:
            self.findings.add("contents", entry["path"], str(unusable))
        return entry["path"] in self.facts

    def _advance(self, path: str, count: int) -> None:
        with self._lock:
            self.done += count
            if self.progress:
                self.progress(path, self.done, self.total)

    def _entry(self, entry: Dict[str, Any]) -> bool:
        """Whether a file holds: each part, the whole, and what it contains."""
        if self.stop.is_set():
            raise Stopped
        listed, whole = pieces(entry), hashlib.sha256()
        holds = True
        with contextlib.ExitStack() as opened:
            descriptors = []
            for piece in listed:
                try:
                    descriptors.append(self.medium.open(piece["path"]))
                    opened.callback(os.close, descriptors[-1])
                    holds &= self._piece(piece, descriptors[-1], whole if len(listed) > 1 else None)
                except Unusable as unusable:
                    self.findings.add("digests", piece["path"], str(unusable))
                    return False
            if holds and len(listed) > 1 and whole.hexdigest() != entry["sha256"]:
                self.findings.add("digests", entry["path"], "has another SHA-256, joined, than the manifest says")
                holds = False
            if holds:
                parts = list(zip(descriptors, [piece["size"] for piece in listed]))
                component = self.components.get(entry["path"])
                for reason in content_problems(Joined(parts), entry, component, self.policy):
                    self.findings.add("contents", entry["path"], reason)
                    holds = False
                if holds and component is not None:
                    holds = self._know(entry, parts)
            # Compared with the walk, so that what changed before it was opened is told as well.
            for piece, descriptor in zip(listed, descriptors):
                if not Identity.of(os.fstat(descriptor)).same_as(self.tree.files[piece["path"]]):
                    self.findings.add("digests", piece["path"], "changed while it was being verified")
                    holds = False
        return holds

    def _piece(self, piece: Dict[str, Any], descriptor: int, whole: Any) -> bool:
        digest, left = hashlib.sha256(), piece["size"] + 1  # one more than it may have, to see a file that grows
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                chunk = os.read(descriptor, min(CHUNK, left))
            except OSError as error:
                raise Unusable(reason_of(error)) from error
            if not chunk:
                break
            left -= len(chunk)
            digest.update(chunk)
            if whole is not None:
                whole.update(chunk)
            self._advance(piece["path"], len(chunk))
            if left == 0:
                break
        if left != 1:
            raise Unusable("changed while it was being verified")
        if digest.hexdigest() != piece["sha256"]:
            self.findings.add("digests", piece["path"], "has another SHA-256 than the manifest says")
            return False
        return True


def check_unchanged(before: Tree, after: Tree, findings: Findings) -> None:
    """What a second walk finds different from the first."""
    for path in sorted(before.files.keys() | after.files.keys()):
        old, new = before.files.get(path), after.files.get(path)
        if path not in findings.paths and (old is None or not old.same_as(new)):
            what = "appeared" if old is None else "vanished" if new is None else "changed"
            findings.add("files", path, f"{what} while the bundle was being verified")
    for path in sorted(before.folders ^ after.folders):
        if path not in findings.paths:
            findings.add("files", path, "is a folder that came or went while the bundle was being verified")


# ---------------------------------------------------------------------------------------------------------- contents


class Joined(io.RawIOBase):
    """Parts of a file, read as one; (descriptor, size) in order. Does not close them."""

    def __init__(self, parts: List[Tuple[int, int]]) -> None:
        super().__init__()
        self.parts, self.size, self.at = parts, sum(size for _, size in parts), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence])
        return self.at

    def readinto(self, buffer: Any) -> int:
        start = 0
        for descriptor, size in self.parts:
            if start <= self.at < start + size:
                inside = self.at - start
                chunk = os.pread(descriptor, min(len(buffer), size - inside), inside)
                buffer[: len(chunk)] = chunk
                self.at += len(chunk)
                return len(chunk)
            start += size
        return 0


def content_problems(
    joined: Joined, entry: Dict[str, Any], component: Optional[Dict[str, Any]], policy: Optional["WheelPolicy"] = None
) -> List[str]:
    """What is wrong inside a file whose digest holds: against a careless or deceived builder, not a dishonest one."""
    with io.BufferedReader(joined) as file:
        try:
            if component is not None:
                return inner_wheel_problems(file, component, policy)
            if entry["kind"] == "lock":
                parse_lock(file.read(LIMIT_INNER_TEXT + 1))
            if entry["kind"] == "model":
                bad = model_content_problem(file, entry["path"], entry["size"])
                return [bad] if bad else []
        except Unusable as unusable:
            return [str(unusable)]
        except OSError as error:
            return [reason_of(error)]
    return []


class Locked(NamedTuple):
    """One line of a lock: a package, its version, and the SHA-256 of each wheel that it may be."""

    name: str
    version: str
    hashes: Tuple[str, ...]


_LOCKED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63})"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64}){0,400})\Z"
)


def parse_lock(content: bytes) -> List[Locked]:
    """What a lock says: `name==version --hash=sha256:...` a line, and comments that are whole lines.

    Printable ASCII alone, since pip takes CR, FF, NEL and more for the end of a line, and what follows for an option.
    A line may go on after ` \\` only with four blanks and further hashes, as the builder writes it.
    Raises Unusable.
    """
    if len(content) > LIMIT_INNER_TEXT:
        raise Unusable(f"is a lock of more than {LIMIT_INNER_TEXT} bytes")
    bad = re.search(rb"[^\n -~]", content)
    if bad:
        place = content.count(b"\n", 0, bad.start()) + 1
        raise Unusable(f"line {place}: has the byte 0x{bad.group()[0]:02x}; a lock is printable ASCII")
    found: Dict[str, Locked] = {}
    number = 0
    for logical in content.decode("ascii").replace(" \\\n    --hash=", "\0--hash=").split("\n"):
        number += 1 + logical.count("\0")
        line = logical.replace("\0", " ")
        if not line or (line.startswith("#") and line == logical and not line.endswith("\\")):
            continue
        match = _LOCKED.match(line)
        if not match:
            raise Unusable(f"line {number}: is not a requirement with hashes, as NAME==VERSION --hash=sha256:DIGEST")
        name, hashes = plain_name(match.group("name")), re.findall("[0-9a-f]{64}", match.group("hashes"))
        if name in found:
            raise Unusable(f"line {number}: locks {name} a second time")
        found[name] = Locked(name, match.group("version"), tuple(hashes))
    return list(found.values())


def write_lock(locked: Iterable[Locked]) -> bytes:
    """A lock in the one form that parse_lock reads and pip cannot misunderstand."""
    return "".join(
        "{}=={}{}\n".format(each.name, each.version, "".join(" --hash=sha256:" + one for one in each.hashes))
        for each in locked
    ).encode("ascii")


_LZMA = getattr(zipfile, "lzma", None)  # some builds of Python lack it
_NO_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, struct.error, OverflowError,
    AttributeError, TypeError, LookupError, *([_LZMA.LZMAError] if _LZMA else []),
)  # fmt: skip


def inner_wheel_problems(file: Any, component: Dict[str, Any], policy: Optional["WheelPolicy"] = None) -> List[str]:
    """What is wrong with a wheel by itself; with a policy also what it would do, once installed, that it may not."""
    try:
        refuse_long_list(file)
        with zipfile.ZipFile(file) as archive:
            problems = member_problems(archive)
            if not problems and policy is not None:
                problems = WheelContents(file, archive, component).problems(policy)
            return problems or metadata_problems(archive, component)
    except Unusable as unusable:
        return [str(unusable)]
    except _NO_ARCHIVE as error:
        return [f"cannot be read as a wheel: {error}"]


def refuse_long_list(file: Any) -> None:
    """Raises Unusable for a wheel with a list of members of which reading alone would take long."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - 98))
    end = file.read(98)  # what zipfile looks for: 56 and 20 bytes of wide numbers, then 22
    length = struct.unpack("<I", end[-10:-6])[0] if end[-22:-18] == b"PK\x05\x06" else 0
    if len(end) == 98 and end[-42:-38] == b"PK\x06\x07":
        length = struct.unpack("<Q", end[40:48])[0]
    if length > LIMIT_LIST:
        raise Unusable(f"has a list of members of more than {LIMIT_LIST} bytes")
    file.seek(0)


def member_problems(archive: zipfile.ZipFile) -> List[str]:
    """What is wrong with the names of members, and with what they say they are."""
    problems: List[str] = []
    names: Dict[str, str] = {}
    if len(archive.infolist()) > LIMIT_MEMBERS:
        return [f"has more than {LIMIT_MEMBERS} members"]
    for member in archive.infolist():
        name, mode = member.filename, member.external_attr >> 16
        parts = (name[:-1] if name.endswith("/") else name).split("/")
        kind = stat.S_IFMT(mode)
        if "" in parts or "." in parts or ".." in parts or "\\" in name or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            problems.append(f"has the member {name!r}, which leads out of it or is a link")
        elif name != member.orig_filename or _UNSEEN.search(name) or is_too_long(name):
            problems.append(f"has the member {name!r}, whose name is too long or has characters that no name should")
        elif (kind == stat.S_IFDIR) > name.endswith("/") or (name.endswith("/") and member.file_size):
            problems.append(f"has the member {name!r}, which is said to be both a file and a folder")
        elif mode & (stat.S_ISUID | stat.S_ISGID):
            problems.append(f"has the member {name!r}, which is setuid or setgid")
        other = names.setdefault(fold("/".join(parts)), name)
        if other is not name:
            twice = "twice" if other == name else f"and {other!r}, which differ only by letter case or Unicode form"
            problems.append(f"has the member {name!r} {twice}")
        if len(problems) > 20:
            break
    return problems


def is_too_long(name: str) -> bool:
    """Whether a disk may not hold a file of this name."""
    longest = max(len(each.encode("utf-8")) for each in name.split("/"))
    return len(name.encode("utf-8")) > LIMIT_MEMBER_NAME or longest > LIMIT_FILE_NAME


class WheelPolicy(NamedTuple):
    """What a manifest lets wheels do: how many bytes they may unpack to, and files by wheel, place and digest."""

    size: int
    allowed: Set[Tuple[str, str, str]]

    @classmethod
    def of(cls, manifest: Dict[str, Any]) -> "WheelPolicy":
        listed = manifest["policy"].get("unusual_files", [])
        allowed = {(each["wheel"], each["path"], each["sha256"]) for each in listed}
        packed = sum(each["size"] for each in manifest["files"] if each["kind"] == "wheel")
        return cls(max(manifest["totals"]["installed_bytes"], LEAST_UNPACKED, MOST_TIMES * packed), allowed)


# Commands that a wheel may not bring, since whoever has the environment's bin/ in PATH would run them by mistake. The
# owner of a name may: pip brings pip.
_COMMANDS = re.compile(
    r"(python|pypy)[0-9.]*(t|w|-config)?|pip[0-9.]*|easy_install[0-9.-]*|(de)?activate.*|pyvenv.*|distill-offline.*|"
    r"ssh.*|scp|sftp|openssl|gpg.*|sha[0-9]+sum|md5sum|cksum|(ba|da|z|k|c|tc|fi|a)?sh|busybox|env|exec|eval|sudo|su|doas|"
    r"unshare|nsenter|bwrap|chroot|strace|gdb|mount|umount|systemctl|crontab|nvidia-smi|ldd|ld|cc|gcc|c\+\+|g\+\+|make|"
    r"test|true|false|echo|printf|ls|cat|cp|mv|rm|ln|dd|tar|gzip|unzip|zip|mkdir|rmdir|chmod|chown|touch|find|xargs|grep|"
    r"[ef]grep|sed|awk|cut|tr|sort|uniq|head|tail|wc|tee|less|more|vi|vim|nano|id|who|whoami|ps|kill|pkill|killall|date|"
    r"sleep|timeout|nice|nohup|uname|hostname|df|du|stat|readlink|realpath|dirname|basename|mktemp|which|type|command|"
    r"curl|wget|git|rsync|perl|ruby|node|java"
)
_OWNERS = {"pip": r"pip[0-9.]*", "distill-offline": r"distill-offline"}
_SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_TARGET = re.compile(
    r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\s*:\s*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\s*\[[\w ,.-]*\])?\Z", re.ASCII
)


def script_problem(name: str, owner: str) -> str:
    """Why a distribution may not put a command of this name into bin/, or an empty string."""
    if not _SCRIPT.match(name) or name.endswith("."):
        return "which is no plain name"
    if re.match(_OWNERS.get(owner, r"\Z.") + r"\Z", name):
        return ""
    return "which would stand for another program" if re.match(rf"({_COMMANDS.pattern})\Z", name.lower()) else ""


def start_up_problem(path: str, own: str) -> str:
    """Why a file at this place below site-packages is read or run without being asked for, or an empty string.

    `own` is the wheel's .dist-info folder.
    """
    folded = fold(path)
    top, slash, _ = folded.partition("/")
    if not slash and re.search(r"\.(pth|start|egg-link|egg|egg-info)\Z", folded):
        return "which Python reads at each start"
    if re.match(r"(sitecustomize|usercustomize)(\.|\Z)", top):
        return "which Python runs at each start"
    if re.search(r"\.(dist-info|egg-info|egg)\Z", top) and path.split("/")[0] != own:
        return "which makes it another distribution besides"
    if folded.endswith((".pyc", ".pyo")) or "__pycache__" in folded.split("/"):
        return "which is compiled code that hides what it was made from"
    return ""


class WheelFacts(NamedTuple):
    """What a wheel would put where: place, in the form that is compared, → (place, SHA-256, start-up reason)."""

    places: Dict[str, Tuple[str, str, str]]
    packages: Set[str]  # folders with an __init__.py, in the form that is compared
    size: int


class WheelContents:
    """A wheel's members, read strictly: their places in the archive, their bytes, and their places once installed."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, component: Dict[str, Any]) -> None:
        self.file, self.archive, self.component = file, archive, component
        self.members = sorted(archive.infolist(), key=lambda each: each.header_offset)
        self.starts: Dict[str, int] = {}
        self.digests: Dict[str, Tuple[str, int]] = {}
        stems = {each.filename.split("/")[0] for each in self.members if ".dist-info/" in each.filename}
        found = sorted(each for each in stems if each.endswith(".dist-info"))
        if len(found) != 1:
            raise Unusable(f"has {len(found)} .dist-info folders instead of one")
        self.info = found[0]

    @property
    def size(self) -> int:
        return sum(int(each.file_size) for each in self.members)

    def problems(self, policy: WheelPolicy) -> List[str]:
        """Raises Unusable, zipfile's and zlib's errors."""
        declared = self.component.get("unpacked_bytes")
        if declared is not None and self.size != declared:
            return [f"unpacks to {self.size} bytes, but the manifest says {declared}"]
        if self.size > policy.size:
            return [f"unpacks to {self.size} bytes, more than the {policy.size} that the manifest allows"]
        self._check_structure()
        for member in self.members:
            if not member.filename.endswith("/"):
                self.digests[member.filename] = self._read(member)
        return self._record_problems() or self._place_problems(policy)

    # The archive: nothing before, between or behind the members, and each said the same of in both places.

    def _check_structure(self) -> None:
        """Raises Unusable."""
        size = self.file.seek(0, io.SEEK_END)
        start = self.archive.start_dir
        self._check_end(size, start)
        at = 0
        for position, member in enumerate(self.members):
            end = self.members[position + 1].header_offset if position + 1 < len(self.members) else start
            if member.header_offset != at:
                raise Unusable(f"has bytes between its members, or members that overlap, at {member.filename!r}")
            at = self._check_local(member, end)
        if at != start:
            raise Unusable("has bytes between its members and their list")

    def _check_end(self, size: int, start: int) -> None:
        """The last record: no comment, no second disk, as many members as were read, and the list right before it."""
        end = struct.unpack("<IHHHHIIH", self._at(size - 22, 22))
        counts, length, offset, here = end[3:5], end[5], end[6], size - 22
        if end[0] != 0x06054B50 or end[7]:
            raise Unusable("has bytes after its list of members")
        if 0xFFFF in counts or 0xFFFFFFFF in (length, offset):
            wide = struct.unpack("<IQHHIIQQQQ", self._at(size - 22 - 20 - 56, 56))
            locator = struct.unpack("<IIQI", self._at(size - 22 - 20, 20))
            here = size - 22 - 20 - 56
            if (wide[0], wide[1], locator[0], locator[2]) != (0x06064B50, 44, 0x07064B50, here):
                raise Unusable("has a list of members of which its end says something else")
            counts, length, offset = wide[6:8], wide[8], wide[9]
        said = (tuple(counts), offset, offset + length, end[1:3])
        if said != ((len(self.members),) * 2, start, here, (0, 0)):
            raise Unusable("has a list of members of which its end says something else, or bytes before its first one")

    def _check_local(self, member: zipfile.ZipInfo, end: int) -> int:
        """What stands before the member's bytes against the list; where the member ends."""
        name = member.filename
        header = struct.unpack("<IHHHHHIIIHH", self._at(member.header_offset, 30))
        length, extra_length = header[9:11]
        inner, extra = (
            self._at(member.header_offset + 30, length), self._at(member.header_offset + 30 + length, extra_length)
        )  # fmt: skip
        if member.flag_bits & ~0x80E or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unusable(f"has the member {name!r}, which is encrypted, or packed in a way that wheels are not")
        encoded = name.encode("utf-8" if member.flag_bits & 0x800 else "ascii", "replace")
        sizes: Tuple[int, ...] = header[6:9]  # CRC, packed, unpacked
        for number, field in extra_fields(extra) + extra_fields(member.extra):
            if number == 0x7075:
                raise Unusable(f"has the member {name!r}, which has a second name")
            if number == 1 and sizes[1:] == (0xFFFFFFFF,) * 2 and len(field) >= 16:
                unpacked, packed = struct.unpack("<QQ", field[:16])
                sizes = (sizes[0], packed, unpacked)
        wanted = (member.CRC, member.compress_size, member.file_size)
        later = bool(member.flag_bits & 8)
        same = sizes == wanted or (later and sizes == (0, 0, 0))
        if (
            header[0] != 0x04034B50
            or inner != encoded
            or not same
            or header[2:4] != (member.flag_bits, member.compress_type)
        ):
            raise Unusable(f"has the member {name!r}, of which its list says something else than stands before it")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise Unusable(f"has the member {name!r}, which is not packed and has two sizes")
        start: int = member.header_offset + 30 + length + extra_length
        self.starts[name] = start
        stop = start + int(member.compress_size)
        if later and stop < end <= stop + 24:
            tails = [struct.pack("<III", *wanted)] if max(wanted) < 1 << 32 else []
            tails.append(struct.pack("<IQQ", *wanted))
            if self._at(stop, end - stop) in [mark + each for each in tails for mark in (b"", b"PK\x07\x08")]:
                return end
        return stop

    def _at(self, place: int, length: int) -> bytes:
        if place < 0:
            raise Unusable("is no whole archive")
        self.file.seek(place)
        found = bytes(self.file.read(length))
        if len(found) != length:
            raise Unusable("is no whole archive")
        return found

    def _read(self, member: zipfile.ZipInfo) -> Tuple[str, int]:
        """SHA-256 and size of a member, unpacked by us, and no further than it may be. Raises Unusable."""
        digest, crc, count, left = hashlib.sha256(), 0, 0, member.compress_size
        unpack = zlib.decompressobj(-15) if member.compress_type == zipfile.ZIP_DEFLATED else None
        self.file.seek(self.starts[member.filename])
        waiting = b""
        while True:
            if left and not waiting:
                waiting = self.file.read(min(CHUNK, left))
                left -= len(waiting)
                if not waiting:
                    raise Unusable("is no whole archive")
            if unpack is None:
                chunk, waiting = waiting, b""
            else:
                chunk, waiting = unpack.decompress(waiting, CHUNK), unpack.unconsumed_tail
            count += len(chunk)
            digest.update(chunk)
            crc = zlib.crc32(chunk, crc)
            too_much = count > member.file_size or (unpack is not None and unpack.unused_data)
            # With all of its input, zlib may still hold back what it made of it.
            if too_much or (not left and not waiting and (unpack is None or unpack.eof or not chunk)):
                break
        whole = unpack is None or (unpack.eof and not unpack.unused_data and not left and not waiting)
        if not whole or count != member.file_size or crc != member.CRC:
            raise Unusable(f"has the member {member.filename!r}, whose bytes are not what its list says of them")
        return digest.hexdigest(), count

    def _text(self, name: str) -> str:
        """A small text of the wheel. Raises Unusable."""
        try:
            with self.archive.open(name) as file:
                content = file.read(LIMIT_INNER_TEXT + 1)
            if len(content) > LIMIT_INNER_TEXT:
                raise Unusable(f"has a {name} of more than {LIMIT_INNER_TEXT} bytes")
            text = content.decode("utf-8")
        except KeyError as error:
            raise Unusable(f"has no {name}") from error
        except UnicodeDecodeError as error:
            raise Unusable(f"has a {name} that is not UTF-8") from error
        return text.replace("\r\n", "\n")

    # RECORD: every file, with its size and SHA-256, and nothing else.

    def recorded(self) -> Dict[str, Tuple[str, str]]:
        """path → (digest, size), as RECORD writes them. Raises Unusable."""
        name = self.info + "/RECORD"
        text = self._text(name)
        found: Dict[str, Tuple[str, str]] = {}
        if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text):
            raise Unusable(f"has a {name} with control characters")
        try:
            for row in csv.reader(io.StringIO(text, newline=""), strict=True):
                if len(row) != 3:
                    raise Unusable(f"has a {name} with a line that has no path, digest and size")
                if row[0] in found:
                    raise Unusable(f"has a {name} that lists {row[0]!r} twice")
                found[row[0]] = (row[1], row[2])
        except csv.Error as error:
            raise Unusable(f"has a {name} that cannot be read: {error}") from error
        return found

    def _record_problems(self) -> List[str]:
        name, recorded = self.info + "/RECORD", self.recorded()
        problems = []
        for path in sorted(self.digests.keys() | recorded.keys()):
            if path not in self.digests:
                problems.append(f"has a {name} that lists {path!r}, which is not there")
            elif path not in recorded:
                problems.append(f"has a {name} that does not list {path!r}")
            else:
                digest, size = self.digests[path]
                plain = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode("ascii").rstrip("=")
                wanted = ("", "") if path == name else ("sha256=" + plain, str(size))
                if recorded[path] != wanted:
                    problems.append(f"has a {name} that says of {path!r} what is not so")
        for signature in (name + ".jws", name + ".p7s"):
            if signature in self.digests:
                problems.append(f"has {signature}, a signature that nobody checks")
        return problems[:20]

    # What it does once it is installed.

    def place_of(self, path: str) -> Tuple[str, str]:
        """Where a file goes: ("site" | "bin" | "data" | "headers", path below it). Raises Unusable."""
        parts = path.split("/")
        if not fold(parts[0]).endswith(".data"):
            return "site", path
        if parts[0] != self.info[: -len(".dist-info")] + ".data" or len(parts) < 3:
            raise Unusable(f"has the member {path!r}, which is in no folder for data of its own")
        category, below = parts[1], "/".join(parts[2:])
        if category in ("purelib", "platlib"):
            return "site", below
        if category == "scripts":
            return "bin", below
        if category == "headers":
            return "headers", self.component["name"] + "/" + below
        top, second = fold(parts[2]), fold("/".join(parts[3:4]))
        harmless = top in ("share", "etc", "include", "man", "doc") and len(parts) > 3
        library = top == "lib" and len(parts) > 3 and not re.match(r"python|pypy|site|dist", second)
        if category != "data" or not (harmless or library):
            raise Unusable(f"has the member {path!r}, which would go where no wheel may put anything")
        return "data", below

    def facts(self) -> WheelFacts:
        """Raises Unusable for a file or a command that no wheel may bring."""
        places: Dict[str, Tuple[str, str, str]] = {}
        packages: Set[str] = set()
        for path, (digest, _) in sorted(self.digests.items()):
            kind, below = self.place_of(path)
            why = start_up_problem(below, self.info if path == below else "") if kind == "site" else ""
            if kind == "bin":
                self._check_script(below)
            self._put(places, kind + ":" + below, digest, why)
            if kind == "site" and fold(below).endswith("/__init__.py"):
                packages.add(fold("site:" + below)[: -len("/__init__.py")])
        for name in self.entry_points():
            self._check_script(name)
            self._put(places, "bin:" + name, "", "")
        for key, (place, _, _) in places.items():
            for end in [at for at, each in enumerate(key) if each == "/"]:
                if key[:end] in places:
                    above = places[key[:end]][0].partition(":")[2]
                    raise Unusable("would put {} below the file {}".format(place.partition(":")[2], above))
        return WheelFacts(places, packages, self.size)

    def _put(self, places: Dict[str, Tuple[str, str, str]], place: str, digest: str, why: str) -> None:
        if fold(place) in places:
            raise Unusable("would put two files at {}".format(place.partition(":")[2]))
        places[fold(place)] = (place, digest, why)

    def _check_script(self, name: str) -> None:
        bad = script_problem(name, self.component["name"])
        if bad:
            raise Unusable(f"would put the command {name!r} into bin/, {bad}")

    def entry_points(self) -> List[str]:
        """The commands that an installer makes for it. Raises Unusable for what readers could take in two ways."""
        name = self.info + "/entry_points.txt"
        if name not in self.digests:
            return []
        group, groups, found = "", set(), []  # type: str, Set[str], List[str]
        for number, line in enumerate(self._text(name).split("\n"), 1):
            where = f"has an entry_points.txt whose line {number}"
            text = line.strip(" \t")
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff]", line):
                raise Unusable(f"{where} has a control character")
            if not text or text.startswith("#"):
                continue
            if text.startswith(";"):  # a comment to some readers; pip makes a command of it
                raise Unusable(f"{where} starts with ';', which is no comment to every reader")
            if text.startswith("["):
                group = text[1:-1]
                if not _GROUP.match(text) or fold(group) in groups or _almost_scripts(group):
                    raise Unusable(f"{where} is no group, or is there twice, or some would take it for commands")
                groups.add(fold(group))
            elif not group:
                raise Unusable(f"{where} is in no group")
            elif group in _SCRIPT_GROUPS:
                found.append(command_of(line, where))
        return found

    def _place_problems(self, policy: WheelPolicy) -> List[str]:
        """What it may not do unless the manifest names the file."""
        return [
            "would install {}, {}".format(place.partition(":")[2], why)
            for place, digest, why in self.facts().places.values()
            if why and (self.component["file"], place.partition(":")[2], digest) not in policy.allowed
        ][:20]


_SCRIPT_GROUPS = ("console_scripts", "gui_scripts")
_GROUP = re.compile(r"\[[A-Za-z0-9][A-Za-z0-9._-]*\]\Z")


def _almost_scripts(group: str) -> bool:
    return group not in _SCRIPT_GROUPS and bool(re.match(r"(console|gui)[._-]?scripts\Z", fold(group)))


def command_of(line: str, where: str) -> str:
    """The command that a line of entry points names. Raises Unusable."""
    command, equals, target = line.strip(" \t").partition("=")
    if line[0] in " \t" or not equals or not _TARGET.match(target.strip(" \t")):
        raise Unusable(f"{where} is no command with its function, as NAME = MODULE:FUNCTION")
    return command.strip(" \t")


def extra_fields(extra: bytes) -> List[Tuple[int, bytes]]:
    """The (number, content) of each extra field of a member. Raises Unusable."""
    found = []
    while extra:
        number, length = struct.unpack("<HH", extra[:4]) if len(extra) >= 4 else (0, len(extra))
        if len(extra) < 4 + length:
            raise Unusable("has a member whose extra fields are cut off")
        found.append((number, extra[4 : 4 + length]))
        extra = extra[4 + length :]
    return found


def wheel_facts(file: Any, component: Dict[str, Any]) -> WheelFacts:
    """What a wheel that holds would put where, by its own RECORD. Raises Unusable for one that cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            contents = WheelContents(file, archive, component)
            for path, (digest, _) in contents.recorded().items():
                plain = base64.urlsafe_b64decode(digest.partition("=")[2] + "=") if digest else b""
                contents.digests[path] = (plain.hex(), 0)
            return contents.facts()
    except (OSError, *_NO_ARCHIVE) as error:
        raise Unusable(f"cannot be read as a wheel: {error}") from error


def check_together(manifest: Dict[str, Any], facts: Dict[str, WheelFacts], findings: Findings) -> None:
    """What the wheels of each environment would do to each other."""
    policy = WheelPolicy.of(manifest)
    total = 0
    for environment in manifest["resolution"]["environments"]:
        files = [
            each["file"] for each in manifest["components"]
            if environment["name"] in each["environments"] and each["file"] in facts
        ]  # fmt: skip
        total += sum(facts[file].size for file in files)
        for file, reason in clashes({file: facts[file] for file in files}, policy):
            if file not in findings.paths:
                findings.add("contents", file, reason)
    if total > policy.size:
        findings.add(
            "contents", MANIFEST, f"its wheels unpack to {total} bytes, more than the {policy.size} that it allows"
        )


def clashes(facts: Dict[str, WheelFacts], policy: WheelPolicy) -> Iterator[Tuple[str, str]]:
    """(wheel, what it would do to another one), over the wheels of one environment."""
    owners: Dict[str, List[str]] = {}
    packages: Dict[str, Set[str]] = {}
    folders: Dict[str, str] = {}
    for file in sorted(facts):
        for key in facts[file].places:
            owners.setdefault(key, []).append(file)
            for end in [at for at, each in enumerate(key) if each == "/"]:
                folders.setdefault(key[:end], file)
        for package in facts[file].packages:
            packages.setdefault(package, set()).add(file)
    for key, files in sorted(owners.items()):
        places = [facts[file].places[key] for file in files]
        path = places[0][0].partition(":")[2]
        allowed = all(
            (file, place[0].partition(":")[2], place[1]) in policy.allowed for file, place in zip(files, places)
        )
        if len(files) > 1 and not (allowed and len(set(places)) == 1):
            yield files[-1], f"would overwrite {path}, which {files[0]} installs"
        if key in folders and folders[key] not in files:
            yield files[0], f"would put the file {path} where {folders[key]} has a folder"
        for end in [at for at, each in enumerate(key) if each == "/"]:
            others = packages.get(key[:end], set()) - set(files)
            if others and not set(files) <= packages[key[:end]]:
                yield files[0], f"would put {path} into a package of {sorted(others)[0]}"
                break


def metadata_problems(archive: zipfile.ZipFile, component: Dict[str, Any]) -> List[str]:
    wheel = Wheel.parse(component["file"])
    folders = {name.split("/")[0] for name in archive.namelist() if re.match(r"[^/]+\.dist-info/", name)}
    if wheel is None or len(folders) != 1:
        return [f"has {len(folders)} .dist-info folders instead of one"]
    folder = folders.pop()
    metadata, about = headers(archive, folder + "/METADATA"), headers(archive, folder + "/WHEEL")
    name, version = (" ".join(metadata.get(key, [])) for key in ("name", "version"))
    problems = []
    for word in (name, version):
        if not re.match(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}\Z", word):
            problems.append(f"has a METADATA whose name or version is not plain ASCII: {word!r}")
    outer = (plain_name(wheel.name), plain_version(wheel.version))
    for place, said in (("its METADATA", (name, version)), (folder, folder[: -len(".dist-info")].rpartition("-")[::2])):
        if (plain_name(said[0]), plain_version(said[1])) != outer:
            problems.append("is named as {} {}, but {} says {} {}".format(wheel.name, wheel.version, place, *said))
    if not all(re.match(r"1\.[0-9]+\Z", each) for each in about.get("wheel-version", [""])):
        problems.append(
            "is of a version of the format that pip does not install ({})".format(about.get("wheel-version"))
        )
    inner: Set[str] = set()
    for line in about.get("tag", []):
        inner |= expanded(line)
        if len(inner) > LIMIT_TAGS:
            raise Unusable(f"claims more than {LIMIT_TAGS} tags inside")
    if inner != wheel.tags and not component.get("retagged") and not is_renamed_build(wheel, inner):
        tags = " ".join(sorted(inner))[:200]
        problems.append("is named for other tags than it was built for ({} inside)".format(tags or "none"))
    return problems


def headers(archive: zipfile.ZipFile, name: str) -> Dict[str, List[str]]:
    """The header lines of a file in a wheel, lower-case key → values. Raises Unusable."""
    try:
        with archive.open(name) as file:
            content = file.read(LIMIT_INNER_TEXT + 1)
    except KeyError as error:
        raise Unusable(f"has no {name}") from error
    if len(content) > LIMIT_INNER_TEXT:
        raise Unusable(f"has a {name} of more than {LIMIT_INNER_TEXT} bytes")
    found: Dict[str, List[str]] = {}
    for line in re.split(r"\r?\n", content.decode("utf-8", "replace")):
        if not line:
            break
        if "\r" in line:  # to a reader of e-mail, a line of its own begins there
            raise Unusable(f"has a {name} with a carriage return within a line")
        key, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            found.setdefault(key.lower(), []).append(value.strip())
    return found


def expanded(tag: str) -> Set[str]:
    fields = tag.split("-")
    if len(fields) != 3:
        return {tag}
    pythons, abis, platforms = (field.split(".") for field in fields)
    if len(pythons) * len(abis) * len(platforms) > LIMIT_TAGS:
        raise Unusable(f"claims more than {LIMIT_TAGS} tags inside")
    return {"-".join((p, a, o)) for p in pythons for a in abis for o in platforms}


def is_renamed_build(wheel: Wheel, inner: Set[str]) -> bool:
    """Whether the wheel claims no more inside than a Linux build of the same Python, ABI and architecture."""
    fields = [tag.rpartition("-") for tag in inner]
    own = {tag.rpartition("-")[0] for tag in wheel.tags}
    generic = {platform for _, _, platform in fields}
    if len(generic) != 1 or {start for start, _, _ in fields} != own:
        return False
    match = re.match(r"linux_(\w+)\Z", generic.pop())
    arch = match.group(1) if match else ""
    return all(each.startswith("manylinux") and glibc_of(each, arch) is not None for each in wheel.platforms)


# ---------------------------------------------------------------------------------------------------- model headers

# The formats: huggingface/safetensors (README, Format); ggml (docs/gguf.md), and what llama.cpp's reader insists on.
LIMIT_SAFETENSORS, LIMIT_GGUF, LIMIT_JSON = 16 << 20, 100 << 20, 16 << 20  # bytes: two headers, a configuration
LIMIT_JSON_DEPTH, LIMIT_JSON_PARTS, LIMIT_PADDING = 64, 100_000, 4096  # levels, objects and lists, bytes of blanks
LIMIT_JSON_TEXTS = 1_000_000  # in a configuration or an index
LIMIT_GGUF_TEXTS, LIMIT_GGUF_ENTRIES = 2_000_000, 100_000  # texts in all lists; keys, and tensors

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F16": 16,
    "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_WS = r"[ \t\n\r]{0,99}"
_LENGTHS = rf"\[{_WS}(?:(?:0|[1-9][0-9]{{0,18}})(?![0-9.eE]){_WS}(?:,{_WS}(?=[0-9])|(?=\]))){{0,64}}\]"
_FIELD = rf"\"(?:dtype\"{_WS}:{_WS}\"[A-Z0-9_]{{1,20}}\"|(?:shape|data_offsets)\"{_WS}:{_WS}{_LENGTHS})"
_TENSOR = re.compile(rf"\{{{_WS}{_FIELD}{_WS},{_WS}{_FIELD}{_WS},{_WS}{_FIELD}{_WS}\}}")
_OPENED, _COLON, _NEXT = (re.compile(_WS + token + _WS) for token in (r"\{", ":", "([,}])"))
_FOREIGN = (
    (rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/", "is a Git LFS pointer and not the file itself: run git lfs pull in its repository"),  # noqa: E501
    (rb"(?:\.\./)*(?:\.git)?/?annex/objects/", "is a git-annex pointer and not the file itself: run git annex get"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|!--|html|head|body|\?xml)", "is a web page that was saved in the file's place: get it again"),  # noqa: E501
    (rb"PK\x03\x04|\x80[\x02-\x05]|\x89HDF", "is a pickle, an archive or HDF5 under another name; those can run code and are not loaded"),  # noqa: E501
    (rb"\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh|7z\xbc\xaf", "is compressed: unpack it"),
)  # fmt: skip
_VOCABULARIES = {"tokenizer.json", "vocab.json", "added_tokens.json", "encoder.json"}
_OBJECTS = {"config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"}
_CODE_KEYS = {"auto_map", "custom_pipelines", "custom_pipeline", "custom_generate", "trust_remote_code"}
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes, by GGUF's value type
_BLOCKS = {  # by ggml's tensor type: values in a block, bytes of a block
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip


def model_content_problem(file: Any, path: str, size: int) -> str:
    """Why a file of a model is not what its name says, or asks for code of its own, or an empty string.

    `file` is a seekable binary stream at its start, of `size` bytes. Memory and time are bounded by the limits above.
    Never raises but for what reading the file raises.
    """
    start = file.read(1024)
    file.seek(0)
    bad = foreign_problem(start, path)
    suffix = path.rpartition(".")[2].lower()
    if bad:
        return bad
    if suffix == "safetensors":
        return safetensors_problem(file, size)
    if suffix == "gguf":
        return gguf_problem(file, size)
    if suffix != "json" or path.rpartition("/")[2] in _VOCABULARIES:
        return ""
    return json_problem(file.read(LIMIT_JSON + 1), path)


def foreign_problem(start: bytes, path: str) -> str:
    """What a file is instead of what its name says, as its first bytes tell, or an empty string."""
    if path.lower().endswith(".safetensors") and start[8:9] == b"{":
        return ""  # its first bytes are a length, which can look like anything
    kind = path.rpartition(".")[2].lower()
    if kind in ("safetensors", "gguf", "json") and not start.strip(b"\x00 \t\r\n"):
        return "holds nothing but zero bytes or blanks: get it again" if start else "is empty: get it again"
    known = {"safetensors": 5, "gguf": 5, "json": 3}.get(kind, 2)  # a text may begin as a web page does
    return next((what for pattern, what in _FOREIGN[:known] if re.match(pattern, start, re.IGNORECASE)), "")


def safetensors_problem(file: Any, size: int) -> str:
    """Why these are no safetensors, or an empty string: a header as the format's own writer makes it, and tensors that
    fill the rest of the file without a hole or an overlap."""
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if start[:4] == b"GGUF":
        return "is a GGUF file under another name"
    if not 2 <= length <= LIMIT_SAFETENSORS:
        return f"is not a safetensors file: no header, or one of more than {LIMIT_SAFETENSORS} bytes"
    if length > size - 8:
        return "is not a whole safetensors file: it ends within its header: get it again"
    try:
        text = file.read(length).decode("utf-8")
        tensors = _safetensors(text)
    except UnicodeDecodeError:
        return "is not a safetensors file: its header is not UTF-8"
    except Unusable as unusable:
        return f"is not a safetensors file: {unusable}"
    at = 0
    for begin, end in sorted(tensors):
        if begin != at:
            return f"is not a sound safetensors file: its tensors {'overlap' if begin < at else 'leave a hole'}"
        at = end
    lacking = 8 + length + at - size
    if lacking > 0:
        return f"is not a whole safetensors file: it is cut short, {lacking} bytes are missing: get it again"
    if lacking < 0:
        return f"is not a sound safetensors file: its tensors end elsewhere, {-lacking} bytes follow them"
    return ""


def _safetensors(text: str) -> List[Tuple[int, int]]:
    """Where each tensor begins and ends behind a header. Raises Unusable."""
    body = text.rstrip(" \t\n\r")
    if len(text) - len(body) > LIMIT_PADDING:
        raise Unusable("its header is padded with blanks")
    names: Set[str] = set()
    tensors: List[Tuple[int, int]] = []
    if body[:1] != "{":
        raise Unusable("its header cannot be read")
    at, more = _expect(_OPENED, body, 0).end(), body[1:].strip(" \t\n\r") != "}"
    while more:
        name, at = _text(body, at)
        if name in names:
            raise Unusable(f"its header has the name {name[:80]!a} twice")
        names.add(name)
        at = _expect(_COLON, body, at).end()
        if name == "__metadata__":
            at = _skip_metadata(body, at)
        else:
            match = _expect(_TENSOR, body, at)
            tensors.append(_tensor(name, json.loads(match.group())))
            at = match.end()
        following = _expect(_NEXT, body, at)
        at, more = following.end(), following.group(1) == ","
    if not tensors:
        raise Unusable("it has no tensors")
    if at != len(body):
        raise Unusable("something follows its header")
    return tensors


def _expect(pattern: Any, text: str, at: int) -> Any:
    match = pattern.match(text, at)
    if match is None:
        raise Unusable("its header cannot be read")
    return match


def _text(text: str, at: int) -> Tuple[str, int]:
    """The JSON text that begins at `at`, and where it ends. Raises Unusable."""
    try:
        if text[at : at + 1] != '"':
            raise ValueError
        value, end = json.JSONDecoder().raw_decode(text, at)
        value.encode("utf-8")
    except ValueError as error:
        raise Unusable("its header cannot be read") from error
    return value, end


def _skip_metadata(text: str, at: int) -> int:
    """Where the map of texts to texts that begins at `at` ends. Raises Unusable."""
    at = _expect(_OPENED, text, at).end()
    if text[at : at + 1] == "}":
        return at + 1
    names: Set[str] = set()
    while True:
        name, at = _text(text, at)
        if name in names:
            raise Unusable("its __metadata__ has a name twice")
        names.add(name)
        _, at = _text(text, _expect(_COLON, text, at).end())
        following = _expect(_NEXT, text, at)
        if following.group(1) == "}":
            return int(following.start(1)) + 1
        at = following.end()


def _tensor(name: str, value: Dict[str, Any]) -> Tuple[int, int]:
    """Where a tensor begins and ends. Raises Unusable."""
    if set(value) != {"dtype", "shape", "data_offsets"} or len(value["data_offsets"]) != 2:
        raise Unusable(f"the tensor {name[:80]!a} is not described by dtype, shape and data_offsets")
    if value["dtype"] not in _BITS:
        raise Unusable(f"the tensor {name[:80]!a} has the unknown type {value['dtype'][:20]}")
    bits = _BITS[value["dtype"]]
    for dimension in value["shape"]:
        bits *= dimension
        if bits >= 1 << 63:
            raise Unusable(f"the tensor {name[:80]!a} has an impossible shape")
    begin, end = value["data_offsets"]
    if bits % 8 or end - begin != bits // 8:
        raise Unusable(f"the tensor {name[:80]!a} has other bytes than its shape and type need")
    return begin, end


class _Gguf:
    """A GGUF header, read forwards; `file` at its start, `size` in bytes of the whole file."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.size, self.at, self.texts = file, size, 0, 0

    def take(self, count: int) -> bytes:
        self.room(count)
        self.at += count
        data: bytes = self.file.read(count)
        if len(data) != count:
            raise Unusable("is cut short: get it again")
        return data

    def room(self, count: int) -> None:
        if self.at + count > self.size:
            raise Unusable("is cut short within its header: get it again")
        if self.at + count > LIMIT_GGUF:
            raise Unusable(f"has a header of more than {LIMIT_GGUF} bytes")

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def text(self) -> bytes:
        return self.take(self.number("Q"))

    def name(self, limit: int, what: str) -> str:
        length = self.number("Q")
        if not 0 < length <= limit:
            raise Unusable(f"has {what} of {length} bytes; from 1 to {limit} are possible")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unusable(f"has {what} that is not UTF-8") from error

    def skip(self, count: int) -> None:
        self.room(count)
        self.at += count
        self.file.seek(count, 1)

    def value(self, key: str, keep: bool) -> Any:
        """A value of any type, stepped over; texts and numbers as such if `keep`."""
        kind = self.number("I")
        if kind == 8:
            text = self.text()
            return text if keep else None
        if kind == 9:
            self._list(key)
        elif kind == 4:
            return self.number("I")
        elif kind not in _SCALARS:
            raise Unusable(f"has the value type {kind} at {key[:80]!a}, which is unknown")
        elif self.take(_SCALARS[kind])[0] > 1 and kind == 7:
            raise Unusable(f"has a truth value that is neither 0 nor 1 at {key[:80]!a}")
        return None

    def _list(self, key: str) -> None:
        kind, count = self.number("I"), self.number("Q")
        if kind in _SCALARS:
            self.skip(_SCALARS[kind] * count)
            return
        if kind != 8:
            what = "a list of lists" if kind == 9 else f"the value type {kind}, which is unknown,"
            raise Unusable(f"has {what} at {key[:80]!a}")
        self.room(8 * count)
        self.texts += count
        if self.texts > LIMIT_GGUF_TEXTS:
            raise Unusable(f"has lists of more than {LIMIT_GGUF_TEXTS} texts")
        for _ in range(count):
            self.skip(self.number("Q"))


def gguf_problem(file: Any, size: int) -> str:
    """Why this is no GGUF file, or an empty string."""
    try:
        gguf_header(file, size)
    except Unusable as unusable:
        return str(unusable)
    return ""


def gguf_header(file: Any, size: int, keep: Iterable[str] = ()) -> Dict[str, Any]:
    """The values of the keys in `keep` (texts as bytes, 32-bit numbers), once the whole header is found sound.

    Versions 2 and 3, little-endian. Tensors lie one behind the other in the order of their names, each padded to the
    alignment, and end where the file does: what llama.cpp insists on. Raises Unusable.
    """
    header, wanted = _Gguf(file, size), {"general.alignment", "split.count", *keep}
    if header.take(min(4, size)) != b"GGUF":
        raise Unusable("is not a GGUF file: it does not start as one does")
    version = header.number("I")
    if version not in (2, 3):
        raise Unusable("is a GGUF file of a version other than 2 and 3, or big-endian")
    tensors, keys = header.number("Q"), header.number("Q")
    if 24 * tensors + 13 * keys > size or max(tensors, keys) > LIMIT_GGUF_ENTRIES:
        raise Unusable("is not a GGUF file: it announces more tensors or keys than there can be")
    fields: Dict[str, Any] = {}
    seen: Set[str] = set()
    for _ in range(keys):
        key = header.name(65_535, "a key")
        if key in seen:
            raise Unusable(f"has the key {key[:80]!a} twice")
        seen.add(key)
        value = header.value(key, key in wanted)
        if key in wanted:
            fields[key] = value
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise Unusable("has an alignment that is no power of two")
    if not tensors and "split.count" not in seen:  # the first part of a split model may hold none
        raise Unusable("is a GGUF file without tensors")
    _check_gguf_tensors(header, tensors, alignment)
    return fields


def _check_gguf_tensors(header: _Gguf, count: int, alignment: int) -> None:
    """Raises Unusable unless the tensors fill the rest of the file."""
    names: Set[str] = set()
    at = end = 0  # behind the header: of the next tensor, and of the last one without its padding
    for _ in range(count):
        name = header.name(63, "a tensor's name")
        if name in names:
            raise Unusable(f"has the tensor {name!a} twice")
        names.add(name)
        dimensions = header.number("I")
        if not 1 <= dimensions <= 4:
            raise Unusable(f"has the tensor {name!a} of {dimensions} dimensions; from 1 to 4 are possible")
        shape = [header.number("Q") for _ in range(dimensions)]
        kind, offset = header.number("I"), header.number("Q")
        if kind not in _BLOCKS:
            raise Unusable(f"has the tensor {name!a} of the unknown type {kind}")
        if offset != at:
            raise Unusable(f"has the tensor {name!a} elsewhere than behind the one before it")
        values, (block, width) = 1, _BLOCKS[kind]
        for dimension in shape:
            values *= dimension
        if not 0 < values < 1 << 63 or shape[0] % block:
            raise Unusable(f"has the tensor {name!a} of an impossible shape")
        end = at + values // block * width
        at = end + -end % alignment
    start = header.at + -header.at % alignment if count else header.at
    lacking = start + end - header.size
    if lacking > 0:
        raise Unusable(f"is not a whole GGUF file: it is cut short, {lacking} bytes are missing: get it again")
    if header.size - start > max(at, alignment if not count else 0):
        raise Unusable(f"is not a sound GGUF file: {header.size - start - at} bytes follow its tensors")


def json_problem(content: bytes, path: str) -> str:
    """Why a model's JSON file is none, or asks for code of the model's own, or an empty string.

    Configurations and tokenizers are objects. Vocabularies may have any key, all else none twice.
    """
    name = path.rpartition("/")[2]
    is_vocabulary = name in _VOCABULARIES
    bad = foreign_problem(content[:1024], path)
    if bad:
        return bad
    try:
        value = _parse_json(content, dict if is_vocabulary else _once)
    except Unusable as unusable:
        return str(unusable)
    if not isinstance(value, dict) and (name in _OBJECTS or name.endswith(".index.json")):
        return "is JSON, but not an object"
    if name.endswith(".index.json") and not _names_files_beside(value.get("weight_map"), name):
        return "is not an index of weights: it names something else than files of weights beside it"
    key = "" if is_vocabulary else asks_for_code(value)
    return f"has {key}, which asks for code of the model's own" if key else ""


def _names_files_beside(weights: Any, name: str) -> bool:
    """Whether a map from tensors to files, where there is one, leads nowhere but to files in its own folder."""
    end = r"\.safetensors\Z" if name.endswith(".safetensors.index.json") else r"\Z"
    plain = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*" + end)
    files = list(weights.values()) if isinstance(weights, dict) else []
    return all(isinstance(file, str) and plain.match(file) for file in files)


def _parse_json(content: bytes, pairs: Any) -> Any:
    """Raises Unusable."""
    if pairs is _once and len(content) > LIMIT_JSON:
        raise Unusable(f"is JSON of more than {LIMIT_JSON} bytes")
    depth = opened = 0
    bare = content.replace(b"\\\\", b"").replace(b'\\"', b"")  # without what hides the end of a text
    for number, token in enumerate(re.finditer(rb'"[^"]*(?:"|\Z)|[\[\]{}]', bare)):
        if pairs is _once and number > LIMIT_JSON_TEXTS:
            raise Unusable(f"is JSON of more than {LIMIT_JSON_TEXTS} texts")
        step = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group()[:2], 0)
        depth, opened = depth + step, opened + (step > 0)
        if depth > LIMIT_JSON_DEPTH or (pairs is _once and opened > LIMIT_JSON_PARTS):
            raise Unusable(f"is JSON of more than {LIMIT_JSON_DEPTH} levels or {LIMIT_JSON_PARTS} objects and lists")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=pairs, parse_int=_whole_number)
    except UnicodeDecodeError as error:
        raise Unusable("is not JSON in UTF-8") from error
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        raise Unusable(f"is not JSON (line {line})" if line else "is not JSON") from error


def _whole_number(text: str) -> int:
    if len(text) > 400:  # reading it could take for ever
        raise ValueError
    return int(text)


def _once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names: Set[str] = set()
        for key, _ in pairs:
            if key in _CODE_KEYS:
                raise Unusable(f"has {key}, which asks for code of the model's own")
            if key in names:
                raise Unusable(f"has the key {key[:80]!a} twice in one object")
            names.add(key)
    return value


def asks_for_code(value: Any) -> str:
    """The key by which a configuration asks for code of its own, at whatever depth, or an empty string."""
    waiting = [value]
    while waiting:
        child = waiting.pop()
        if isinstance(child, dict):
            for key in _CODE_KEYS & set(child):
                if key != "trust_remote_code" or child[key] not in (False, None):
                    return key
            for key in child:  # a name with a slash is a repository, whose compiled kernels would be loaded
                if str(key).endswith("_implementation") and "/" in json.dumps(child[key]):
                    return str(key)
            waiting.extend(child.values())
        elif isinstance(child, list):
            waiting.extend(child)
    return ""


# --------------------------------------------------------------------------------------------- a carried interpreter


class Archived(NamedTuple):
    """One member of an archive. `kind` is "file", "folder", "link" (symbolic) or "copy" (of an earlier file)."""

    name: str
    kind: str
    target: str
    size: int
    is_program: bool
    member: Any


class Guarded:
    """A stream for tarfile that gives no more than `limit` bytes, nor many at once, whatever a header asks for."""

    def __init__(self, file: Any, limit: int) -> None:
        self.file, self.limit = file, limit

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise Unusable(f"has a header of more than {CHUNK} bytes")
        self._within(self.file.tell() + size)
        return bytes(self.file.read(size))

    def seek(self, position: int) -> int:
        self._within(position)
        return int(self.file.seek(position))

    def tell(self) -> int:
        return int(self.file.tell())

    def _within(self, position: int) -> None:
        if position > self.limit + HEADROOM:
            raise Unusable(f"unpacks to more than {self.limit} bytes")


class Archive:
    """A tar whose members lead nowhere but into their own folder. Raises Unusable for any other.

    `limit` is for the bytes of all its files. Its symbolic links are followed by name, each through the others, as the
    kernel would; nothing lies below a link; a hard link is a copy of a file of this archive.
    """

    def __init__(self, file: Any, limit: int) -> None:
        self.members: List[Archived] = []
        self.kinds: Dict[str, str] = {}
        self.sizes: Dict[str, int] = {}
        self.targets: Dict[str, str] = {}
        self.limit, self.size, self.steps = limit, 0, 0
        try:
            stream: Any = Guarded(decompressed(file), limit)
            self.tar = tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape")
            for member in self.tar:
                self._add(member)
                if len(self.members) > LIMIT_MEMBERS:
                    raise Unusable(f"has more than {LIMIT_MEMBERS} members")
        except _NO_ARCHIVE as error:
            raise Unusable(f"is no tar archive that can be read ({type(error).__name__})") from error
        except OSError as error:
            raise Unusable("is no tar archive that can be read" if error.errno is None else reason_of(error)) from error
        self._check_places()
        for each in self.members:
            if each.kind == "link":
                self._follow(each)

    def content(self, member: Archived) -> Iterator[bytes]:
        """A file's bytes, in pieces. Raises Unusable where the archive does not have them."""
        left = member.size
        try:
            with self.tar.extractfile(member.member) or io.BytesIO() as file:
                while left:
                    chunk = file.read(min(left, CHUNK // 2))
                    if not chunk:
                        raise Unusable(f"ends within {member.name}")
                    left -= len(chunk)
                    yield chunk
        except _NO_ARCHIVE as error:
            raise Unusable(f"cannot be read at {member.name} ({type(error).__name__})") from error

    def _add(self, member: Any) -> None:
        kinds = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "folder",
                 tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "copy"}  # fmt: skip
        kind = kinds.get(member.type, "")
        name = member_name(member.name)
        if not kind:
            raise Unusable(f"holds {name}, which is neither file, folder nor link")
        odd = sorted(key for key in member.pax_headers if key == "size" or key.startswith("GNU.sparse"))
        if odd or member.sparse is not None or member.size < 0:
            raise Unusable(f"holds {name}, whose header gives it another size")
        target = member_name(member.linkname) if kind == "copy" else member.linkname if kind == "link" else ""
        if kind == "link" and (not 0 < len(target) <= LIMIT_MEMBER or _UNSEEN.search(target)):
            raise Unusable(f"holds {name}, a link whose target is empty, too long, or has characters that nobody sees")
        if kind == "copy" and self.kinds.get(target) != "file":
            raise Unusable(f"holds {name}, a second name of {target}, which is no file before it")
        if name in self.kinds and not self.kinds[name] == kind == "folder":
            raise Unusable(f"holds {name} twice")
        self.kinds[name] = kind
        if kind == "link":
            self.targets[name] = target
        size = {"file": member.size, "copy": self.sizes.get(target, 0)}.get(kind, 0)
        self.sizes[name] = size
        self.size += size
        if self.size > self.limit:
            raise Unusable(f"unpacks to more than {self.limit} bytes")
        self.members.append(Archived(name, kind, target, size, bool(member.mode & 0o111), member))

    def _check_places(self) -> None:
        """That nothing lies below a file or link, and no two names are one on a disk that ignores case."""
        folded: Dict[str, str] = {}
        for each in self.members:
            parts = each.name.split("/")
            for end in range(1, len(parts) + 1):
                path = "/".join(parts[:end])
                if end < len(parts) and self.kinds.get(path, "folder") != "folder":
                    raise Unusable(f"holds {each.name}, which lies below a {self.kinds[path]}")
                other = folded.setdefault(fold(path), path)
                # A terminal's description may differ from another one by case alone, in every real interpreter.
                if other != path and not ("terminfo" in parts and "link" not in (each.kind, self.kinds.get(other))):
                    raise Unusable(f"holds {path} and {other}, which differ only by letter case or Unicode form")

    def _follow(self, link: Archived) -> None:
        """Raises Unusable for a symbolic link that leads outside at any step, or round in a circle."""
        here, left, steps = link.name.split("/")[:-1], list(reversed(link.target.split("/"))), 0
        if link.target.startswith("/"):
            raise Unusable(f"holds {link.name}, which leads outside")
        while left:
            step = left.pop()
            self.steps += 1
            if len(here) > LIMIT_LEVELS:
                raise Unusable(f"holds {link.name}, which leads deeper than {LIMIT_LEVELS} levels")
            if self.steps > LIMIT_STEPS:
                raise Unusable(f"holds {link.name} and links before it that lead through more than {LIMIT_STEPS} names")
            if step == ".." and not here:
                raise Unusable(f"holds {link.name}, which leads outside")
            if step == "..":
                here.pop()
            elif step not in ("", "."):
                here.append(step)
            target = self.targets.get("/".join(here))
            if target is not None:
                steps += 1
                if steps > LIMIT_LINKS:
                    raise Unusable(f"holds {link.name}, which leads through more than {LIMIT_LINKS} links")
                here.pop()
                left += reversed(target.split("/"))


def member_name(name: str) -> str:
    """A member's name without a leading `./`. Raises Unusable for one that leads outside or is no plain name."""
    while name.startswith("./"):
        name = name[2:]
    size = len(name.encode("utf-8", "surrogateescape"))
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise Unusable(f"holds {name[:200]}, which leads outside")
    longest = max(len(each.encode("utf-8", "surrogateescape")) for each in parts)
    if size > LIMIT_MEMBER or len(parts) > LIMIT_LEVELS or longest > 255:
        raise Unusable(f"holds {name[:200]}, a name of {size} bytes in {len(parts)} levels, which is too long")
    if (any(each in ("", ".") for each in parts) and name != ".") or _UNSEEN.search(name):
        raise Unusable(f"holds {name[:200]!r}, which has empty parts or characters that nobody sees in its name")
    return name


def decompressed(file: Any) -> Any:
    """What a file holds, by its first bytes: gzip, bzip2, xz, or as it is. Raises Unusable."""
    start = file.read(6)
    file.seek(0)
    for magic, name, opener in ((b"\x1f\x8b", "gzip", "GzipFile"), (b"BZh", "bz2", "BZ2File"),
                                (b"\xfd7zXZ\0", "lzma", "LZMAFile")):  # fmt: skip
        if start.startswith(magic):
            try:
                made = getattr(importlib.import_module(name), opener)
            except ImportError:
                raise Unusable(f"needs Python's {name}, which is not in this one") from None
            return made(fileobj=file) if name == "gzip" else made(file)
    return file


# ------------------------------------------------------------------------------------------------------- the verdict


class Report:
    """What a verification found. `manifest` is None until signature, form and schema held."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.raw = b""
        self.manifest: Optional[Dict[str, Any]] = None
        self.manifest_sha256 = ""
        self.signatures: List[Dict[str, str]] = []
        self.signed = False
        self.checked = dict.fromkeys(("hashed_files", "hashed_bytes", "reused_files", "reused_bytes"), 0)
        self.notes: List[str] = []

    @property
    def exit_code(self) -> int:
        if self.findings.stages:
            return UNFIT if self.findings.stages == {"target"} else INVALID
        if not self.signed:
            return INTEGRITY_ONLY
        return RESUMED if self.checked["reused_files"] else VALID

    @property
    def verdict(self) -> str:
        return VERDICTS[self.exit_code]

    def as_json(self) -> Dict[str, Any]:
        known = self.manifest or {}
        return {
            "schema": REPORT_SCHEMA,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "manifest_sha256": self.manifest_sha256 or None,
            "bundle": {
                key: known.get(key) for key in ("bundle_id", "name", "version", "sequence", "created", "expires")
            },
            "signatures": self.signatures,
            "checked": self.checked,
            "problems": [each._asdict() for each in self.findings.listed],
            "problems_total": self.findings.total,
            "notes": self.notes,
        }

    def lines(self) -> List[str]:
        """For people: a line for each problem, then notes, then the verdict."""
        lines = [f"{each.path}: {each.reason}" for each in self.findings.listed]
        if self.findings.total > len(self.findings.listed):
            lines.append(f"and {self.findings.total - len(self.findings.listed)} more problems")
        return lines + ["note: " + shown(note) for note in self.notes] + self._verdict_lines()

    def _verdict_lines(self) -> List[str]:
        if self.exit_code == INVALID:
            return [f"INVALID: {self.findings.total} problem(s). Do not use this bundle."]
        if self.exit_code == UNFIT:
            return ["UNFIT: this machine is not the bundle's target. Its digests were not checked."]
        known = self.manifest or {}
        about = "{bundle_id} (sequence {sequence})".format(**known)
        files = "{hashed_files} files, {hashed_bytes} bytes hashed".format(**self.checked)
        signers = " and ".join(each["signer"] for each in self.signatures if each["result"] == "good")
        lines = [f"{'RESUMED' if self.checked['reused_files'] else 'VALID'}: {about}: {files}, signed by {signers}"]
        if not self.signed:
            lines = [f"NOT SIGNED BY A KEY YOU TRUST: integrity only. {about}: {files}"]
        if self.checked["reused_files"]:
            reused = "{reused_files} files, {reused_bytes} bytes".format(**self.checked)
            again = "A medium may be altered in between: for a verdict of valid, run without --state."
            lines.insert(0, f"note: {reused} were not read now but held in an earlier run. {again}")
        return lines


def verify(
    bundle: str, options: Options, progress: Optional[Progress] = None, stop: Optional[threading.Event] = None
) -> Report:
    """What holds of the bundle in this folder, in the order of docs/bundle-format.md.

    `progress` is called from worker threads; setting `stop` ends the hashing with Stopped.
    Raises UsageFault, MachineFault; what is wrong with the bundle is in the report.
    """
    refuse_own_files_inside(bundle, options)
    medium = Medium(bundle)
    try:
        findings = Findings(options.max_problems)
        report = Report(findings)
        if not read_trusted_manifest(medium, options, report):
            return report
        manifest = report.manifest or {}
        report.notes += check_sequence(manifest, report.manifest_sha256, options.last_sequence_file, findings)
        check_expiry(manifest, time.time() if options.now is None else options.now, findings)
        if options.check_target:
            check_target(manifest, options, findings)
        else:
            report.notes.append("This machine was not compared with the bundle's target.")
        if options.target_dir is not None:
            check_space(manifest, options.target_dir, findings)
        in_vain = findings.total > 0
        tree = medium.walk(lambda path, reason: findings.add("files", path, reason))
        check_set(tree, manifest, findings)
        if not in_vain:
            hash_all(medium, tree, options, report, progress, stop)
            # What is wrong by itself was told by the first walk, or differs from it.
            check_unchanged(tree, medium.walk(lambda path, reason: None), findings)
        return report
    finally:
        medium.close()


def read_trusted_manifest(medium: Medium, options: Options, report: Report) -> bool:
    """Signature first, then form and schema; whether to go on."""
    findings = report.findings
    try:
        report.raw = medium.read(MANIFEST, LIMIT_MANIFEST)
    except Unusable as unusable:
        findings.add("signature", MANIFEST, str(unusable))
        return False
    report.manifest_sha256 = sha256(report.raw)
    report.signatures = check_signatures(medium, report.raw, options, findings)
    if findings.total:
        return False
    report.signed = options.has_key
    try:
        manifest = parse_manifest(report.raw)
        check_manifest(manifest, findings)
    except Unusable as unusable:
        findings.add("manifest", MANIFEST, str(unusable))
    if findings.total:
        return False
    report.manifest = manifest
    retagged = [each["file"] for each in manifest["components"] if each.get("retagged")]
    report.notes += [
        f"{file} has other tags inside than in its name; its signer vouches for the name." for file in retagged
    ]
    report.notes += [
        "{wheel} installs {path}, which is run or read without being asked for, or shared; its signer allows it".format(
            **each
        )
        for each in manifest["policy"].get("unusual_files", [])
    ]
    return True


def hash_all(
    medium: Medium, tree: Tree, options: Options, report: Report, progress: Optional[Progress],
    stop: Optional[threading.Event],
) -> None:  # fmt: skip
    hashing = Hashing(medium, tree, report.manifest or {}, report.findings)
    hashing.progress, hashing.stop = progress, stop or hashing.stop
    state = State(options.state, report.manifest_sha256)
    if state.note:
        report.notes.append(state.note)
    hashing.run(state, options.jobs)
    check_together(hashing.manifest, hashing.facts, report.findings)
    report.checked = {key: getattr(hashing, key) for key in report.checked}


OWN_FILES = (
    "allowed_signers", "openssl_key", "revoked", "last_sequence_file", "state", "ssh_keygen", "openssl", "python",
    "target_dir",
)  # fmt: skip


def refuse_own_files_inside(bundle: str, options: Options) -> None:
    """What is trusted, and what is written, must not be on the medium. Raises UsageFault."""
    root = os.path.realpath(bundle)
    for place in temporary_places()[:1]:
        if os.path.commonpath([root, os.path.realpath(place)]) == root:
            raise UsageFault(f"TMPDIR {place} lies inside the bundle")
    for name in OWN_FILES:
        given = getattr(options, name)
        if given is not None and not given:
            raise UsageFault("--{} is given without a value".format(name.replace("_", "-")))
        if given is not None and os.path.commonpath([root, os.path.realpath(given)]) == root:
            raise UsageFault("--{} {} lies inside the bundle".format(name.replace("_", "-"), given))


def arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="verify.py", allow_abbrev=False, description="Verify an air-gap bundle before anything of it is used.",
        epilog="exit: 0 valid, 1 invalid, 2 usage, 3 intact but no key given, 4 this machine, 5 partly from an earlier "
        "run, 130 interrupted",
    )  # fmt: skip
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="the bundle's folder")
    ssh = parser.add_mutually_exclusive_group()
    ssh.add_argument("--allowed-signers", metavar="FILE", help="your list of signers (ssh-keygen's ALLOWED SIGNERS)")
    ssh.add_argument("--fingerprint", metavar="SHA256:...", help="fingerprint of the one ssh key that you trust")
    add("--signer", metavar="IDENTITY", help="who of the allowed signers (needed before OpenSSH 8.2)")
    add("-r", "--revoked", metavar="FILE", help="revoked ssh keys: public keys or a KRL")
    add("--openssl-key", metavar="PEM", help="the P-256 public key that you trust")
    add("--last-sequence-file", metavar="FILE", help="record of the last installed bundle: refuses an older one")
    add("--target-dir", metavar="DIR", help="where it is to be installed: checks the space there")
    add("--not-the-target", dest="check_target", action="store_false", help="this machine is not to run it")
    add("--python", metavar="PROGRAM", help="the Python that is to run it")
    add(
        "--state",
        metavar="FILE",
        help="remember what held, and go on after an interruption; not for a verdict of valid",
    )
    add("--jobs", type=int, default=0, help="threads (default: one a core, at most 4)")
    add("--max-problems", type=int, default=100, help="how many problems are listed (default: 100)")
    add("--now", metavar="TIME", help="judge by this time instead of the clock, as 2026-01-31T23:59:59Z")
    add("--ssh-keygen", metavar="PROGRAM", help="default: in " + ", ".join(PROGRAM_FOLDERS))
    add("--openssl", metavar="PROGRAM", help="default: in " + ", ".join(PROGRAM_FOLDERS))
    add("--json", action="store_true", help="print the report as JSON")
    add("--quiet", action="store_true", help="no progress")
    return parser.parse_args(given)


def options_of(given: argparse.Namespace) -> Options:
    """Raises UsageFault for options that would have no effect or cannot be meant."""
    if given.fingerprint is not None and not re.match(r"SHA256:[A-Za-z0-9+/]{43}=?\Z", given.fingerprint):
        raise UsageFault("--fingerprint must be SHA256: and 43 characters, as ssh-keygen -l shows it")
    if given.revoked is not None and given.allowed_signers is None and given.fingerprint is None:
        raise UsageFault("-r names revoked ssh keys: it needs --allowed-signers or --fingerprint")
    if given.signer is not None and given.allowed_signers is None:
        raise UsageFault("--signer chooses among --allowed-signers")
    if given.signer is not None and not (given.signer and re.match(r"[^\x00-\x1f\x7f]+\Z", given.signer)):
        raise UsageFault("--signer must be a name without control characters")
    if given.jobs < 0 or given.max_problems < 1:
        raise UsageFault("--jobs and --max-problems must be positive")
    now = None if given.now is None else seconds(given.now)
    if given.now is not None and now is None:
        raise UsageFault("--now must be a time as 2026-01-31T23:59:59Z")
    known = {name: getattr(given, name) for name in Options._fields if name != "namespace"}
    return Options(**dict(known, now=now))


def progress_line() -> Progress:
    """Shows on stderr how far it is, once a second."""
    last = [time.monotonic()]

    def show(path: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] >= 1:
            last[0] = time.monotonic()
            line = f"{100.0 * done / max(total, 1):5.1f}% of {total // 1_000_000} MB  {shown(path, 60)}"
            tell("\r\x1b[K" + line if sys.stderr.isatty() else line + "\n")

    return show


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def tell(text: str) -> None:
    """To standard error, for whoever listens: that nobody does is no reason to stop."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(2)


def silence(descriptor: int) -> None:
    """From now on what is written there is lost: what is left in a buffer shall not fail once more at the end."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def own_process() -> None:
    """Make our own what a process inherits and what would change its answer.

    An ignored SIGCHLD takes every child's exit code away; a blocked signal, the end by Ctrl-C; a closed standard stream
    would give its number to the next file that is opened.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere == descriptor:
                os.set_inheritable(descriptor, True)
            else:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))


def command_line(name: str, work: Callable[[], int]) -> int:
    """The exit code of a script's work; never 0 where its report could not be written or memory ran out."""
    own_process()
    signal.signal(signal.SIGTERM, interrupt)
    lost = ""
    try:
        code = work()
    except SystemExit as end:  # by the reader of the command line
        code = end.code if isinstance(end.code, int) else USAGE
    except MemoryError:
        code, lost = UNFIT, "there is not enough memory; nothing is decided"
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        silence(1)
        lost = f"the report cannot be written: {getattr(error, 'strerror', error)}"
    tell(f"{name}: {lost}\n" if lost else "")
    return code or (UNFIT if lost else VALID)


def main() -> int:
    """The command line's exit code."""
    if not (sys.flags.isolated and sys.flags.no_site):
        tell("verify.py: run me as python3 -I -S -B verify.py ..., so that nothing of this host is imported\n")
        return USAGE
    given = arguments()
    try:
        report = verify(given.bundle, options_of(given), None if given.quiet else progress_line())
    except UsageFault as fault:
        tell(f"verify.py: {shown(str(fault))}\n")
        return USAGE
    except MachineFault as fault:
        tell(f"verify.py: {shown(str(fault))}\n")
        return UNFIT
    except KeyboardInterrupt:
        again = "Run the same command to go on." if given.state else "With --state FILE it could go on later."
        tell(f"\nverify.py: interrupted; nothing is decided. {again}\n")
        return INTERRUPTED
    if sys.stderr.isatty() and not given.quiet:
        tell("\r\x1b[K")
    text = json.dumps(report.as_json(), indent=1, sort_keys=True) if given.json else "\n".join(report.lines())
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        silence(1)
        tell(f"verify.py: the report cannot be written: {error.strerror}\n")
        return report.exit_code or UNFIT
    return report.exit_code


if __name__ == "__main__":
    sys.exit(command_line("verify.py", main))
