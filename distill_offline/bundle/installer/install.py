"""Install an air-gap bundle: verify it, copy it, build its environments, prove that they work, then switch to it.

    python3 -I -S -B install.py install BUNDLE --root DIR --allowed-signers FILE     # and every option of verify.py
    python3 -I -S -B install.py rollback|uninstall|list --root DIR [RELEASE]

Standard library only, Python 3.6 to 3.13, nothing written to the medium. It imports one file, the verify.py beside it.
docs/air-gap.md says what comes before it is run at all. This file travels alone; read it from top to bottom:

    faults and files        what goes wrong, and how a file is written so that it is whole or not there
    the root                its lock, what it remembers, the one switch
    copying                 from the medium, hashed on the way
    children                a clean environment, a network namespace, and what is written down of each run
    the interpreter         the carried one, unpacked without following a link, or the host's
    environments            the lock, a venv, pip without a network, and what is then installed
    layout                  models by id, and the commands in bin/
    proof                   imports, a smoke run, the evidence
    the commands            install, rollback, uninstall, list

    DIR/  .lock  last-installed.json  history.json  current -> releases/<bundle id>
          installed/<bundle id>.json   what the release was like when it was installed
          releases/<bundle id>/  the bundle's own files  bin/  environments/  models-by-id/  evidence/  release.json

A virtual environment holds its own path, so a release is built where it will stay: a rename afterwards would break it.
What makes a release whole is `release.json`, written last. A folder without it is half of one: `install` goes on with
it, `list` names it, nothing switches to it.

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 intact but no key was given, 4 this machine, 130 interrupted.
"""

# The oldest Python that this runs on is 3.6: typing's own names, os.path, and no unions written with a bar.
# ruff: noqa: UP006, UP035, UP045, PTH100, PTH103, PTH104, PTH105, PTH106, PTH108, PTH112, PTH113, PTH114
# ruff: noqa: PTH101, PTH115, PTH118, PTH119, PTH120, PTH123, PTH202, PTH208, PTH211

import os

if __name__ == "__main__":
    # hashlib brings OpenSSL, which would load the library that the caller's own configuration names: into this process.
    for _name in [each for each in os.environ if each.startswith("OPENSSL_")]:
        del os.environ[_name]

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import types
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

RELEASE_SCHEMA = "distill-offline-release/1"
EVIDENCE_SCHEMA = "distill-offline-install-evidence/1"
INSTALLED_SCHEMA = "distill-offline-installed/1"
HISTORY_SCHEMA = "distill-offline-history/1"
ENVIRONMENT_SCHEMA = "distill-offline-environment/1"

FAILED, USAGE, UNSIGNED, MACHINE, INTERRUPTED = 1, 2, 3, 4, 130
CHUNK = 1 << 20
SMOKE_SECONDS = 3_600  # for one command of the smoke run
LIMIT_OUTPUTS = 2_000  # files of the smoke run that the evidence lists
LIMIT_LEVELS = 100  # of folders in a release: no bundle, wheel or carried interpreter has as many

# What distill_offline.offline sets for itself, here for whatever else is started from bin/.
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1",
    "LLAMA_ARG_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "VLLM_USE_MODELSCOPE": "0", "RAY_USAGE_STATS_ENABLED": "0",
    "OTEL_SDK_DISABLED": "true", "WANDB_MODE": "offline", "MLFLOW_DISABLE_TELEMETRY": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}  # fmt: skip

SMALL = (
    "annotate.limit=8", "annotate.gold=[]", "annotate.max_quarantined=1", "annotate.max_failure_rate=1",
    "train.updates=6", "train.eval_every=3", "train.seeds=1", "train.arms=[{name: simple_mix}]", "adapt=null",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------- faults and files


class Fault(Exception):
    """The command cannot go on; the message says why and what to do, `code` is its exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def load_verifier() -> Any:
    """verify.py as a module, from its source alone: a .pyc that someone put beside it would be no one's to check."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.join(here, "verify.py")]
    if os.path.basename(here) == "installer":  # in the source tree
        places.append(os.path.join(os.path.dirname(here), "verifier", "verify.py"))
    for place in places:
        if os.path.isfile(place):
            with open(place, "rb") as file:
                source = file.read()
            module = types.ModuleType("verify")
            module.__file__ = place
            module.__dict__["SOURCE_SHA256"] = hashlib.sha256(source).hexdigest()
            sys.modules["verify"] = module
            exec(compile(source, place, "exec", dont_inherit=True), module.__dict__)
            return module
    raise SystemExit("install.py: verify.py does not lie beside me; both come from the bundle")


verifier = load_verifier()


def say(text: str) -> None:
    verifier.tell(f"install.py: {verifier.shown(text)}\n")


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """The file is there as a whole, or as it was before: also after a power cut."""
    partial = path + ".partial"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(os.path.dirname(path))


def write_json(path: str, value: Any) -> None:
    write_file(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode("ascii")


def put_link(target: str, path: str) -> None:
    """A symbolic link, in place of an older one in one step."""
    partial = path + ".partial"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    os.symlink(target, partial)
    os.replace(partial, path)
    sync_folder(os.path.dirname(path))


def read_json(path: str, flags: int = os.O_NOFOLLOW | os.O_NONBLOCK) -> Any:
    """The value, or None where the file is missing or damaged, a link or a FIFO."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
            return json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def remove_tree(path: str) -> None:
    """Remove a folder or file with all that is below it, if it is there, however deep that is."""
    while os.path.isdir(path) and not os.path.islink(path):
        if not bring_up(path):
            shutil.rmtree(path)
    if os.path.lexists(path):
        os.unlink(path)


def bring_up(path: str) -> bool:
    """Whether there were folders so deep that rmtree could not remove them; they lie at the top now."""
    found = False
    for number, deep in enumerate(list(deep_folders(path))):
        found = True
        os.rename(deep, os.path.join(path, f".deep-{number}-{secrets.token_hex(8)}"))
    return found


def deep_folders(path: str) -> Iterator[str]:
    """Folders at the last level that is looked at, none with a path that is too long to be named."""
    for parent, folders, _ in os.walk(path):
        inner = os.path.relpath(parent, path)
        if inner.count("/") + 1 >= LIMIT_LEVELS or len(os.fsencode(inner)) > 1_500:
            yield from (
                os.path.join(parent, each) for each in folders if not os.path.islink(os.path.join(parent, each))
            )
            folders.clear()


def tree_bytes(path: str) -> int:
    """The space that the regular files below a folder occupy, in bytes."""
    total = 0
    for parent, folders, names in os.walk(path):
        if os.path.relpath(parent, path).count("/") >= LIMIT_LEVELS:
            folders.clear()
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --------------------------------------------------------------------------------------------------------- the root


class Root:
    """The folder that holds releases; one name of bundle a root, since sequences are counted by name."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        # Scripts of a virtual environment carry its path in their first line, within double quotes of the shell.
        if re.search(r"[\x00-\x1f\x7f:\"'\\$`]", self.path):
            raise Fault("--root: the path may not hold quotes, colons, $, \\ or control characters", USAGE)
        self.releases, self.current = os.path.join(self.path, "releases"), os.path.join(self.path, "current")
        self.last = os.path.join(self.path, "last-installed.json")
        self.history_file = os.path.join(self.path, "history.json")
        self.installed = os.path.join(self.path, "installed")
        self.lock_descriptor = -1

    def make(self) -> None:
        require_folder(self.path)
        os.makedirs(self.path, exist_ok=True)
        for place in (self.releases, self.installed):
            require_folder(place)
            os.makedirs(place, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this root, and what an interrupted removal left is gone. Raises Fault where another one works."""
        self._check_places()
        self.lock_descriptor = os.open(os.path.join(self.path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            try:
                fcntl.flock(self.lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise Fault("another installer is at work in this root: wait for it, then run again", MACHINE) from None
            for name in self._names("."):
                remove_tree(os.path.join(self.releases, name))
            yield
        finally:
            os.close(self.lock_descriptor)

    def _check_places(self) -> None:
        """Raises Fault where everyone may put something else in place of a release; says where some others may."""
        above = [self.path]
        while above[-1] != "/":
            above.append(os.path.dirname(above[-1]))
        for place in [self.releases, self.installed, *above]:
            require_folder(place)
            if not os.path.lexists(place):
                continue
            status = os.lstat(place)
            is_own = place in (self.releases, self.installed, self.path)
            if status.st_mode & stat.S_IWOTH and (is_own or not status.st_mode & stat.S_ISVTX):
                raise Fault(f"--root: everyone may write there, in {place}. Run chmod o-w on it first", USAGE)
            owners = {0, os.geteuid()} | ({verifier.NOBODY} if place in verifier.SYSTEM_FOLDERS else set())
            if status.st_uid not in owners:
                say(f"note: {place} belongs to user {status.st_uid}, who can change what runs from this root")
            if status.st_mode & stat.S_IWGRP and (is_own or not status.st_mode & stat.S_ISVTX):
                say(f"note: group {status.st_gid} may write in {place}, and so change what runs from this root")

    def _names(self, start: str) -> List[str]:
        require_folder(self.releases)
        try:
            return sorted(name for name in os.listdir(self.releases) if name.startswith(start))
        except FileNotFoundError:
            return []

    def names(self) -> List[str]:
        """All releases, unfinished ones included."""
        return [name for name in self._names("") if not name.startswith(".")]

    def folder(self, release: str) -> str:
        return os.path.join(self.releases, release)

    def seal(self, release: str) -> Optional[Dict[str, Any]]:
        """What `release.json` says, or None for a release that is not whole."""
        folder = self.folder(release)
        found = None if problem_of_folder(folder) else read_json(os.path.join(folder, "release.json"))
        whole = isinstance(found, dict) and found.get("schema") == RELEASE_SCHEMA and found.get("bundle_id") == release
        return found if whole else None

    def current_name(self) -> Optional[str]:
        """Raises Fault for a link that leads anywhere but to a release of this root."""
        try:
            target = os.readlink(self.current)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Fault(f"{self.current} is not a link; move it away") from error
        name = os.path.basename(target)
        if target != os.path.join("releases", name) or verifier.name_problem(name):
            raise Fault(f"{self.current} leads to {target}, which is no release of this root. Remove that link")
        return name

    def history(self) -> List[str]:
        """Whole releases in the order in which they were last switched to."""
        found = read_json(self.history_file)
        known = found.get("activated") if isinstance(found, dict) else []
        known = known if isinstance(known, list) else []
        return [
            name for name in known if isinstance(name, str) and verifier.name_problem(name) == "" and self.seal(name)
        ]

    def switch(self, release: str) -> None:
        """Make a whole release the current one; a kill in the middle leaves the old one in place."""
        if self.current_name() == release:
            return
        left = self.current_name()
        earlier = [name for name in self.history() if name not in (release, left)]
        order = [*earlier, *([left] if left else []), release]
        write_json(self.history_file, {"schema": HISTORY_SCHEMA, "activated": order})
        put_link(os.path.join("releases", release), self.current)

    # What is remembered of releases. Sequences never go down, whatever was deleted.

    def remember(self) -> Dict[str, str]:
        """Bring the record of the last sequence up to the highest that anything here tells of.

        Gives the releases that cannot tell, with the reason. Raises Fault, MachineFault for a record that is no such
        thing, or that contradicts what is installed.
        """
        known = before = verifier.last_installed(self.last)
        silent: Dict[str, str] = {}
        for release in self.names():
            try:
                told = self._told_by(release)
            except verifier.Unusable as unusable:
                silent[release] = str(unusable)
                continue
            if told is None:
                continue
            if known is not None and told["name"] != known["name"]:
                raise Fault(f"{self.last} is of {known['name']}, but {release} is installed. Restore it")
            if known is not None and told["sequence"] == known["sequence"] and told != known:
                raise Fault(
                    f"{self.last} contradicts the installed {release}: the same sequence, another manifest. Restore it"
                )
            if known is None or told["sequence"] > known["sequence"]:
                known = told
        if known is not None and known != before:
            was = "was gone" if before is None else "said {}".format(before["sequence"])
            say("note: the record of the last sequence {}, but {} is installed".format(was, known["sequence"]))
            write_json(self.last, known)
        return silent

    def _told_by(self, release: str) -> Optional[Dict[str, Any]]:
        """A record like the last sequence's, by what was once whole under this name, else None. Raises Unusable."""
        folder = self.folder(release)
        problem = problem_of_folder(folder)
        if problem:
            raise verifier.Unusable(problem)
        if not os.path.lexists(os.path.join(folder, "release.json")) and self.facts(release).get("contents") is None:
            return None  # it never was whole, so it never was the last one
        medium = verifier.Medium(folder)
        try:
            raw = medium.read(verifier.MANIFEST, verifier.LIMIT_MANIFEST)
        except verifier.Unusable as unusable:
            raise verifier.Unusable(f"its manifest.json {unusable}") from unusable
        finally:
            medium.close()
        findings = verifier.Findings(1)
        manifest = verifier.parse_manifest(raw)
        verifier.check_manifest(manifest, findings)
        # A release is named by its manifest's own digest.
        if findings.total or manifest["bundle_id"] != release:
            raise verifier.Unusable("its manifest.json is not the one that it was installed with")
        return last_record(manifest, verifier.sha256(raw))

    def record(self, manifest: Dict[str, Any], digest: str) -> None:
        """Remember the highest sequence; written before the switch, so that it is never behind what is current."""
        known = verifier.last_installed(self.last)
        if known is None or known["sequence"] < manifest["sequence"]:
            write_json(self.last, last_record(manifest, digest))

    def facts(self, release: str) -> Dict[str, Any]:
        """What was written down of a release while it was installed, outside of it: `contents`, `seal`, `parts`."""
        place = os.path.join(self.installed, release + ".json")
        if problem_of_folder(self.installed):
            return {}
        found = read_json(place)
        known = isinstance(found, dict) and found.get("schema") == INSTALLED_SCHEMA and found.get("release") == release
        if not known or not isinstance(found.get("parts"), (dict, type(None))):
            return {}
        return dict(found)

    def note(self, release: str, **facts: Any) -> None:
        """Write down more of a release; None takes a fact away."""
        known = dict(self.facts(release), schema=INSTALLED_SCHEMA, release=release, **facts)
        write_json(os.path.join(self.installed, release + ".json"), known)

    def note_part(self, release: str, part: str, digest: Optional[str]) -> None:
        """Write down what a finished part of an unfinished release is, so that a later run need not believe it."""
        parts = dict(self.facts(release).get("parts") or {})
        parts[part] = digest
        self.note(release, parts=parts)

    def holds_part(self, release: str, part: str, folder: str) -> bool:
        noted = (self.facts(release).get("parts") or {}).get(part)
        return bool(noted) and os.path.isdir(folder) and noted == digest_of(contents_of(folder))

    def forget(self, release: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.installed, release + ".json"))

    def changes(self, release: str) -> List[str]:
        """What is otherwise in a whole release than when it was installed, each as words; every byte is read again."""
        folder, facts = self.folder(release), self.facts(release)
        wanted = facts.get("contents")
        problem = problem_of_folder(folder)
        if problem:
            return [problem]
        if not isinstance(wanted, dict) or not facts.get("seal"):
            return ["nothing here says what it was like when it was installed"]
        try:
            found = contents_of(folder, progress=release)
        except Fault as fault:
            return [str(fault)]
        seal = found.pop("release.json", "missing")
        differing = [] if seal == facts["seal"] else ["release.json was changed"]
        for path in sorted(found.keys() | wanted.keys()):
            if path not in found:
                differing.append(f"{path} is gone")
            elif path not in wanted:
                differing.append(f"{path} was added")
            elif found[path] != wanted[path]:
                differing.append(f"{path} was changed")
        return differing

    def require_unchanged(self, release: str) -> None:
        """Raises Fault for a release that is not as it was installed: it must not become current."""
        changes = self.changes(release)
        if changes:
            raise Fault(
                f"{release} was changed after it was installed ({in_short(changes)}). It does not become current: "
                "install its bundle again, or uninstall it"
            )


def last_record(manifest: Dict[str, Any], digest: str) -> Dict[str, Any]:
    return {
        "schema": verifier.LAST_INSTALLED_SCHEMA, "name": manifest["name"],
        "sequence": manifest["sequence"], "manifest_sha256": digest,
    }  # fmt: skip


def in_short(words: List[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def problem_of_folder(path: str) -> str:
    """Why there is no folder of our own at this path, or an empty string; never follows a link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "is gone"
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link, which is not followed"
    return "" if stat.S_ISDIR(status.st_mode) else "is no folder"


def require_folder(path: str) -> None:
    """Raises Fault where something else than a folder has this name."""
    problem = problem_of_folder(path)
    if problem and problem != "is gone":
        code = MACHINE if problem == "is no folder" else FAILED
        raise Fault(f"{path} {problem}. Is --root a folder where you may write? Move it away", code)


def contents_of(folder: str, progress: str = "") -> Dict[str, str]:
    """Every name below a folder → kind, permissions, and size with SHA-256, or where a link leads. Follows none."""
    found: Dict[str, str] = {}
    last = time.monotonic()
    for parent, folders, names, descriptor in walked(folder):
        folders.sort()
        for name in [*folders, *names]:
            path = os.fsencode(os.path.relpath(os.path.join(parent, name), folder)).decode("utf-8", "surrogateescape")
            if progress and time.monotonic() - last > 5:
                last = time.monotonic()
                say(f"looking at {progress}: {path}")
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            mode = f"{stat.S_IMODE(status.st_mode):o}"
            if stat.S_ISLNK(status.st_mode):
                target = os.fsencode(os.readlink(name, dir_fd=descriptor))
                found[path] = "link " + target.decode("utf-8", "surrogateescape")
            elif stat.S_ISREG(status.st_mode):
                opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
                with os.fdopen(opened, "rb") as file:
                    digest = hashlib.sha256()
                    for chunk in iter(lambda: file.read(CHUNK), b""):
                        digest.update(chunk)
                found[path] = f"file {mode} {status.st_size} {digest.hexdigest()}"
            else:
                found[path] = f"{'folder' if stat.S_ISDIR(status.st_mode) else 'special'} {mode}"
    return found


def walked(folder: str) -> Iterator[Tuple[str, List[str], List[str], int]]:
    """As os.fwalk gives it. Raises Fault for folders that are nested deeper than any release has them, and OSError."""
    for parent, folders, names, descriptor in os.fwalk(folder, onerror=_raise):
        if os.path.relpath(parent, folder).count("/") >= LIMIT_LEVELS:
            raise Fault(f"folders in {folder} are nested deeper than {LIMIT_LEVELS} levels. Uninstall this release")
        yield parent, folders, names, descriptor


def _raise(error: OSError) -> None:
    raise error


def digest_of(contents: Dict[str, str]) -> str:
    return str(verifier.sha256(json.dumps(contents, sort_keys=True).encode("ascii")))


# ---------------------------------------------------------------------------------------------------------- copying


def copy_all(medium: Any, manifest: Dict[str, Any], folder: str) -> int:
    """Put every file of the bundle into the release, parts joined; how many had to be copied.

    What is there already is hashed again. Raises Fault for bytes that differ from the manifest.
    """
    staging = os.path.join(folder, ".partial")  # no bundle has a file there
    remove_tree(staging)
    os.makedirs(staging)
    copied, last = 0, time.monotonic()
    for number, entry in enumerate(manifest["files"]):
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say("copying file {} of {}: {}".format(number + 1, len(manifest["files"]), entry["path"]))
        target = os.path.join(folder, entry["path"])
        if holds(target, entry):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        copy_file(medium, entry, os.path.join(staging, "file"), target)
        copied += 1
    os.rmdir(staging)
    return copied


def holds(path: str, entry: Dict[str, Any]) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    same = (status.st_size, stat.S_IMODE(status.st_mode)) == (entry["size"], mode_of(entry))
    return plain and same and file_sha256(path) == entry["sha256"]


def mode_of(entry: Dict[str, Any]) -> int:
    return 0o755 if entry["path"].endswith(".sh") else 0o644


def copy_file(medium: Any, entry: Dict[str, Any], partial: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    whole = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(partial, flags, mode_of(entry)), "wb") as file:
        for piece in verifier.pieces(entry):
            try:
                copy_piece(medium, piece, file, whole)
            except verifier.Unusable as unusable:
                raise Fault(
                    "{} {}, although it was verified just now: the medium changed or is failing. Nothing of it is in "
                    "use. Take another copy of the bundle".format(piece["path"], unusable)
                ) from unusable
        if whole.hexdigest() != entry["sha256"]:
            raise Fault("{} is not what was verified: the medium changed".format(entry["path"]))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, target)


def copy_piece(medium: Any, piece: Dict[str, Any], file: Any, whole: Any) -> None:
    digest, left = hashlib.sha256(), piece["size"]
    descriptor = medium.open(piece["path"])
    try:
        while left:
            try:
                chunk = os.read(descriptor, min(CHUNK, left))
            except OSError as error:
                raise verifier.Unusable(verifier.reason_of(error)) from error
            if not chunk:
                raise verifier.Unusable("is shorter than it was")
            left -= len(chunk)
            digest.update(chunk)
            whole.update(chunk)
            file.write(chunk)
    finally:
        os.close(descriptor)
    if digest.hexdigest() != piece["sha256"]:
        raise verifier.Unusable("has another SHA-256")


def copy_manifest(medium: Any, report: Any, options: Any, folder: str) -> None:
    """The manifest as it was verified and its signatures, which are then checked once more where they now lie."""
    write_file(os.path.join(folder, verifier.MANIFEST), report.raw)
    for name in (verifier.SSH_SIGNATURE, verifier.P256_SIGNATURE):
        with contextlib.suppress(
            verifier.Unusable
        ):  # a missing one was no problem to the verifier, or it is told below
            write_file(os.path.join(folder, name), medium.read(name, verifier.LIMIT_SIGNATURE))
    findings = verifier.Findings(10)
    copy = verifier.Medium(folder)
    try:
        verifier.check_signatures(copy, report.raw, options, findings)
    finally:
        copy.close()
    if findings.total:
        first = findings.listed[0]
        raise Fault(f"{first.path} {first.reason}, although it was verified just now: the medium changed")


# --------------------------------------------------------------------------------------------------------- children

# Runs in the child before its command: dies with the installer, brings loopback up (vLLM and torch.distributed need
# it), and says what the network looks like from there. 0x8913/0x8914 are SIOCGIFFLAGS/SIOCSIFFLAGS, 0x1 is IFF_UP.
LAUNCH = """
import fcntl, json, os, socket, struct, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
except Exception:
    pass
report, isolated = int(sys.argv[1]), sys.argv[2] == "isolated"
found = {"namespace": os.readlink("/proc/self/ns/net"), "interfaces": [], "outside": "could not be asked"}
if isolated:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack_from("16xh", fcntl.ioctl(control, 0x8913, struct.pack("16sh22x", b"lo", 0)))[0]
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", flags | 1))
try:
    found["interfaces"] = sorted(name for _, name in socket.if_nameindex())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; it asks the kernel for a route
    found["outside"] = "there is a route"
except OSError as error:
    found["outside"] = os.strerror(error.errno)
os.write(report, json.dumps(found).encode())
os.close(report)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Step(NamedTuple):
    """One child as it ran: the evidence of it, and where its standard output lies."""

    evidence: Dict[str, Any]
    output: str
    errors: str

    @property
    def code(self) -> int:
        return int(self.evidence["exit_code"])

    def result(self) -> Any:
        """The JSON on the last line of what it printed, or None."""
        try:
            with open(self.output, "rb") as file:
                return json.loads(file.read().decode("utf-8").strip().split("\n")[-1])
        except (OSError, ValueError):
            return None

    def answer(self, word: str) -> Any:
        """What a script of ours `found`, or None unless it was run by an interpreter, now, with this word."""
        said = self.result()
        return said.get("found") if isinstance(said, dict) and said.get("word") == word else None

    def said(self, lines: int = 8) -> str:
        """The last lines that it printed, for a message."""
        text = ""
        for path in (self.output, self.errors):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                file.seek(max(0, os.path.getsize(path) - 4000))
                text += file.read().decode("utf-8", "replace")
        return " | ".join(line.strip() for line in text.strip().split("\n")[-lines:])


class Children:
    """Starts programs with nothing of the caller's environment and, where the host permits, no network."""

    def __init__(self, folder: str, lock_descriptor: int) -> None:
        self.folder, self.lock_descriptor = folder, lock_descriptor
        self.outer = namespace_of(os.getpid())
        self.wrap, self.fault = find_isolation()

    def environment(self, home: str, temporary: str) -> Dict[str, str]:
        return dict(
            OFFLINE, PATH=":".join((*verifier.PROGRAM_FOLDERS, "/usr/sbin", "/sbin")), LC_ALL="C.UTF-8",
            HOME=home, TMPDIR=temporary, XDG_CACHE_HOME=os.path.join(home, "cache"), PIP_CONFIG_FILE=os.devnull,
        )  # fmt: skip

    def run(self, name: str, command: List[str], logs: str, home: str, seconds: Optional[int] = None) -> Step:
        """Run a command in `home`; its output goes to `logs`. Raises Fault where it cannot be started or hangs."""
        os.makedirs(logs, exist_ok=True)
        step = Step({}, os.path.join(logs, name + ".out"), os.path.join(logs, name + ".err"))
        started = time.monotonic()
        # Not below the release: engines put sockets there, whose whole path may have 107 bytes.
        with verifier.private_folder() as temporary:
            code, network = self._run(name, command, step, self.environment(home, temporary), seconds)
        network["isolated"] = bool(
            self.wrap and network.get("interfaces") == ["lo"] and network.get("namespace") != self.outer
        )
        step.evidence.update(
            name=name, command=[self._shown(each) for each in command], exit_code=code, network=network,
            seconds=round(time.monotonic() - started, 1),
            output_sha256=file_sha256(step.output), errors_sha256=file_sha256(step.errors),
        )  # fmt: skip
        return step

    def _run(
        self, name: str, command: List[str], step: Step, environment: Dict[str, str], seconds: Optional[int]
    ) -> Tuple[int, Dict[str, Any]]:
        """The exit code, and what the network looked like from inside."""
        reader, writer = os.pipe()
        launch = [sys.executable, "-I", "-S", "-B", "-c", LAUNCH, str(writer), "isolated" if self.wrap else "open"]
        try:
            with open(step.output, "wb") as out, open(step.errors, "wb") as err:
                # The lock is inherited: a child that outlives a killed installer keeps the next one out.
                child = verifier.Process(
                    [*self.wrap, *launch, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    cwd=environment["HOME"], env=environment, pass_fds=(writer, self.lock_descriptor),
                    start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            os.close(reader)
            raise Fault(f"{name} cannot be started: {error.strerror}", MACHINE) from error
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as said:
            code = self._wait(child, name, seconds)
            seen = said.read(65_536)
        return code, json.loads(seen.decode("ascii")) if seen else {}

    def _shown(self, word: str) -> str:
        """An argument without the paths of this host."""
        if word.startswith("/") and not word.startswith(self.folder + "/"):
            return "<host>/" + os.path.basename(word)
        return word.replace(self.folder, "<release>")

    @staticmethod
    def _wait(child: Any, name: str, seconds: Optional[int]) -> int:
        try:
            return int(child.wait(timeout=seconds))
        except subprocess.TimeoutExpired:
            raise Fault(f"{name} did not end within {seconds} seconds") from None
        finally:
            if child.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def find_isolation() -> Tuple[List[str], str]:
    """The start of a command that runs the rest without a network, or an empty one and why there is none."""
    faults = []
    candidates = (
        ("unshare", ["-rn"]), ("unshare", ["-n"]),
        ("bwrap", ["--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]),
    )  # fmt: skip
    for name, options in candidates:
        try:
            found = [verifier.program(name, None), *options]
            with verifier.private_folder() as folder:
                # Loopback must come up, too: some hosts permit the namespace and nothing in it.
                done = verifier.run([*found, sys.executable, "-I", "-S", "-c", PROBE], folder)
        except verifier.MachineFault as fault:
            faults.append(str(fault).split(". ")[0])
            continue
        if done.code == 0:
            return found, ""
        faults.append("{} {}: {}".format(name, " ".join(options[-2:]), done.said))
    return [], "; ".join(faults)


PROBE = (
    LAUNCH.replace("sys.argv[1]", '"2"')
    .replace("sys.argv[2]", '"isolated"')
    .replace("os.execv(sys.argv[3], sys.argv[3:])", 'sys.exit(found["interfaces"] != ["lo"])')
)


# -------------------------------------------------------------------------------------------------- the interpreter


def unpack(archive: str, folder: str, limit: Optional[int] = None) -> None:
    """Unpack a carried interpreter: regular files first, links after all of them, so that none is written through.

    Raises Fault for a member that leads outside, for anything but files, folders and links, and for more bytes than
    `limit` in all (by default ten times the archive's own).
    """
    try:
        with open(archive, "rb") as file:
            opened = verifier.Archive(file, 10 * os.path.getsize(archive) if limit is None else limit)
            order = {"folder": 0, "file": 1, "copy": 2, "link": 3}
            for member in sorted(opened.members, key=lambda each: order[each.kind]):  # keeps the order within a kind
                unpack_member(opened, member, folder)
    except verifier.Unusable as unusable:
        raise Fault(f"the carried interpreter cannot be unpacked: it {unusable}") from unusable
    except FileExistsError as error:
        raise Fault("the carried interpreter cannot be unpacked: two of its names are one on this disk") from error


def unpack_member(opened: Any, member: Any, folder: str) -> None:
    """Raises Unusable where the archive ends early, FileExistsError for two names that are one on this disk."""
    path = os.path.join(folder, member.name)
    if member.kind == "folder":
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.kind == "link":
        os.symlink(member.target, path)
        return
    mode = 0o755 if member.is_program else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as written:
        if member.kind == "copy":
            with open(os.path.join(folder, member.target), "rb") as read:
                shutil.copyfileobj(read, written, CHUNK)
            return
        for chunk in opened.content(member):
            written.write(chunk)


def interpreter_of(
    manifest: Dict[str, Any], folder: str, given: Optional[str], root: Optional[Root] = None
) -> str:  # fmt: skip
    """The Python that the environments are made with: the given one, the carried one, this one, or the host's."""
    version, carried = manifest["target"]["python"], manifest["target"]["interpreter"]
    if given is None and carried is not None:
        if is_noexec(folder):
            raise Fault("--root is mounted noexec, and the carried interpreter would have to run from there", MACHINE)
        unpacked = os.path.join(folder, "interpreter")
        release = os.path.basename(folder)
        is_there = root.holds_part(release, "interpreter", unpacked) if root else os.path.isdir(unpacked)
        if not is_there:
            partial = unpacked + ".partial"
            for place in (partial, unpacked):
                remove_tree(place)
            os.makedirs(partial)
            sizes = {each["path"]: each["size"] for each in manifest.get("files", [])}
            declared = manifest.get("totals", {}).get("installed_bytes", 0)
            unpack(os.path.join(folder, carried), partial, max(declared, 10 * sizes.get(carried, 1 << 20)))
            os.rename(partial, unpacked)
        places = [os.path.join(parent, "python" + version) for parent, _, names in os.walk(unpacked)
                  if os.path.basename(parent) == "bin" and "python" + version in names]  # fmt: skip
        found: Optional[str] = min(places, key=len) if places else None
        missing = f"the carried interpreter holds no bin/python{version}"
    elif given is None and "{}.{}".format(*sys.version_info[:2]) == version:
        return sys.executable
    else:
        found = given or shutil.which("python" + version, path=":".join(verifier.PROGRAM_FOLDERS))
        missing = f"this machine has no Python {version}. Name one with --python"
    if not found or not verifier.has_python(version, found):
        raise Fault(missing if not found else f"{found} is not a Python {version} that runs here", MACHINE)
    if given is None and carried is not None and root is not None and not is_there:
        compile_all(found, unpacked)
        root.note_part(release, "interpreter", digest_of(contents_of(unpacked)))
    return os.path.abspath(found)


def compile_all(python: str, unpacked: str) -> None:
    """Compile what Python would compile when it is first run, since a release stays as it was installed."""
    say("compiling the carried interpreter's library")
    code = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2)"
    with verifier.private_folder() as home, contextlib.suppress(verifier.MachineFault):
        verifier.run([python, "-I", "-S", "-c", code, unpacked], home)


def pip_of(manifest: Dict[str, Any], folder: str, python: str) -> str:
    """A wheel of pip, to be run and not installed: the bundle's own, else the one that the interpreter's ensurepip has.

    Raises Fault where there is none.
    """
    for component in manifest["components"]:
        if component["name"] == "pip":
            return os.path.join(folder, component["file"])
    ask = (
        "import ensurepip, os, sys; places = [os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'), "
        "'/usr/share/python-wheels', '/usr/share/python3-wheels']; sys.stdout.write('\\n'.join(os.path.join(p, n) "
        "for p in places if os.path.isdir(p) for n in sorted(os.listdir(p)) if n.startswith('pip-')))"
    )
    with verifier.private_folder() as home:
        done = verifier.run([python, "-I", "-S", "-c", ask], home)
    found = done.out.decode("utf-8", "surrogateescape").split("\n")
    if done.code != 0 or not found[0]:
        raise Fault(
            f"{python} has no pip for new environments (ensurepip; on Debian: python3-venv), and the bundle carries "
            "none. Install that package, or name another Python with --python", MACHINE,
        )  # fmt: skip
    return str(found[0])


# ----------------------------------------------------------------------------------------------------- environments

# What a child prints of itself holds a word that it was given just now: an exit code alone proves that something ended.
LIST = """
import importlib.metadata as metadata, json, sys
found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
print(json.dumps({"word": sys.argv[1], "found": found}))
"""

# A distribution is imported by the module of its own name where it has one, else by all of its public packages.
IMPORT = """
import importlib, importlib.metadata as metadata, json, re, sys, traceback
def modules(name):
    found = set()
    for file in metadata.distribution(name).files or ():
        parts = file.parts
        if len(parts) == 1 and re.match(r"[a-z]\\w*(\\.[\\w-]+)*\\.(py|so)$", parts[0], re.I):
            found.add(parts[0].split(".")[0])
        elif parts[-1] == "__init__.py" and all(part.isidentifier() for part in parts[:-1]):
            found.add(".".join(parts[:-1]))
    tops = {each for each in found if not any(each.startswith(other + ".") for other in found)}
    own = {each for each in tops if re.sub(r"[-_.]+", "-", each).lower() == name}
    public = {each for each in tops if not re.match(r"_|tests?$|testing$|examples?$|docs?$|benchmarks?$", each)}
    return sorted(own or public or tops)
result = {}
for name in sys.argv[2:]:
    print("importing", name, file=sys.stderr, flush=True)
    row = result[name] = {"version": metadata.version(name), "modules": modules(name), "fault": ""}
    try:
        for module in row["modules"]:
            importlib.import_module(module)
        if not row["modules"]:
            row["fault"] = "has nothing to import"
    except BaseException as error:
        traceback.print_exc()
        row["fault"] = "%s: %s" % (type(error).__name__, str(error)[:300])
print("\\n" + json.dumps({"word": sys.argv[1], "found": result}))
"""


def components_of(manifest: Dict[str, Any], environment: str) -> List[Dict[str, Any]]:
    return [each for each in manifest["components"] if environment in each["environments"]]


def lock_for_pip(manifest: Dict[str, Any], environment: Dict[str, Any], folder: str) -> bytes:
    """What pip is told: a lock of our own writing, each package of the environment with its one wheel's digest.

    The bundle's lock must say the same and nothing else. Raises Fault.
    """
    lock, digests = environment["lock"], {each["path"]: each["sha256"] for each in manifest["files"]}
    with open(os.path.join(folder, lock), "rb") as file:
        content = file.read(verifier.LIMIT_INNER_TEXT + 1)
    if hashlib.sha256(content).hexdigest() != digests[lock]:
        raise Fault(f"{lock}: changed after it was copied")
    try:
        locked = {each.name: each for each in verifier.parse_lock(content)}
    except verifier.Unusable as unusable:
        raise Fault(f"{lock}: {unusable}") from unusable
    components = components_of(manifest, environment["name"])
    for each in locked.values():
        if not each.hashes:
            raise Fault(f"{lock}: {each.name} is not a requirement with hashes")
    for name in sorted(locked.keys() - {each["name"] for each in components}):
        raise Fault(f"{lock}: locks {name}, of which this bundle has no wheel for {environment['name']}")
    own = []
    for component in components:
        name, digest = component["name"], digests[component["file"]]
        found = locked.get(name)
        same = found and verifier.plain_version(found.version) == verifier.plain_version(component["version"])
        if not found or not same or digest not in found.hashes:
            raise Fault(f"{lock}: does not lock {name} to the wheel of this bundle")
        own.append(verifier.Locked(name, found.version, (digest,)))
    return bytes(verifier.write_lock(own))


def build_environment(
    manifest: Dict[str, Any], environment: Dict[str, Any], folder: str, python: str, children: Children, root: Root
) -> Dict[str, Any]:
    """What is known of a finished environment, as its seal says it; built unless it is there, and as it was noted.

    Each attempt has a folder of its own, so that nothing which outlives a kill can write into the next one.
    """
    name, home = environment["name"], os.path.join(folder, "environments")
    seal, release, part = os.path.join(home, name + ".json"), os.path.basename(folder), "environments/" + name
    known = read_json(seal)
    if isinstance(known, dict) and re.match(re.escape(part) + r"\.\d+\Z", str(known.get("folder"))):
        noted = root.holds_part(release, part, os.path.join(folder, known["folder"]))
        if noted and root.facts(release)["parts"].get(part + ".json") == file_sha256(seal):
            keep_only(home, name, known["folder"])
            return known
    os.makedirs(home, exist_ok=True)
    older = keep_only(home, name, "")
    number = 1 + max([int(each.rpartition(".")[2]) for each in older] or [0])
    inner = os.path.join("environments", f"{name}.{number}")
    place, logs = os.path.join(folder, inner), os.path.join(home, name + "-logs")
    say(f"building the environment {name}")
    locked = lock_for_pip(manifest, environment, folder)
    with working_folder(folder) as scratch:
        steps = [make_venv(name, python, place, logs, scratch, children)]
        own = os.path.join(place, "bin", "python")
        if components_of(manifest, name):
            steps.append(run_pip(manifest, name, locked, folder, own, logs, scratch, children))
        word = secrets.token_hex(16)
        listing = children.run(name + "-listing", [own, "-I", "-c", LIST, word], logs, scratch)
    check_installed(components_of(manifest, name), listing, listing.answer(word), name)
    known = {
        "schema": ENVIRONMENT_SCHEMA, "name": name, "folder": inner, "python": listing_python(place),
        "installed": listing.answer(word), "steps": [each.evidence for each in [*steps, listing]],
    }  # fmt: skip
    root.note_part(release, part, digest_of(contents_of(place)))
    root.note_part(release, part + ".json", verifier.sha256(json_bytes(known)))
    write_json(seal, known)
    return known


def keep_only(home: str, name: str, kept: str) -> List[str]:
    """Remove every attempt at an environment but one; the names of the others."""
    older = [each for each in os.listdir(home) if re.match(re.escape(name) + r"\.\d+\Z", each)]
    older = [each for each in older if each != os.path.basename(kept)]
    for each in older:
        remove_tree(os.path.join(home, each))
    return older


def listing_python(place: str) -> str:
    """The full version of the interpreter, from the venv's own record."""
    with open(os.path.join(place, "pyvenv.cfg"), encoding="utf-8") as file:
        match = re.search(r"^version(?:_info)?\s*=\s*(\S+)", file.read(), re.M)
    return match.group(1) if match else ""


def make_venv(name: str, python: str, place: str, logs: str, scratch: str, children: Children) -> Step:
    step = children.run(name + "-venv", [python, "-I", "-m", "venv", "--without-pip", place], logs, scratch)
    if step.code != 0:
        raise Fault(f"the environment {name} cannot be made: {step.said()}", MACHINE)
    return step


def run_pip(
    manifest: Dict[str, Any], name: str, locked: bytes, folder: str, python: str, logs: str, scratch: str,
    children: Children,
) -> Step:  # fmt: skip
    wheels = os.path.join(folder, "python", "wheels")
    pip = os.path.join(pip_of(manifest, folder, os.path.realpath(python)), "pip")  # a wheel is a zip that runs
    with verifier.private_folder() as place:
        lock = os.path.join(place, "lock")
        write_file(lock, locked, 0o600)
        step = children.run(
            name + "-pip",
            [
                python, "-I", pip, "--isolated", "--disable-pip-version-check", "--no-cache-dir", "--no-input",
                "install", "--no-index", "--find-links", wheels, "--require-hashes", "--no-deps",
                "--only-binary=:all:", "--no-warn-script-location", "--progress-bar", "off", "-r", lock,
            ],
            logs, scratch,
        )  # fmt: skip
    if step.code != 0:
        free = verifier.free_bytes(folder)
        raise Fault(
            f"pip could not install the environment {name} ({free} bytes are free on the disk): {step.said()}. "
            "Run the same command again: it starts this step over", MACHINE if free < 64 << 20 else FAILED,
        )  # fmt: skip
    return step


def check_installed(components: List[Dict[str, Any]], listing: Step, found: Any, name: str) -> None:
    """Whether exactly the manifest's distributions are in the environment. Raises Fault."""
    if listing.code != 0 or not isinstance(found, dict):
        raise Fault(f"the environment {name} does not run: {listing.said()}")
    installed = {verifier.plain_name(key): verifier.plain_version(value) for key, value in found.items()}
    wanted = {each["name"]: verifier.plain_version(each["version"]) for each in components}
    if installed != wanted:
        differing = sorted(key for key in {*installed, *wanted} if installed.get(key) != wanted.get(key))
        raise Fault("the environment {} differs from the manifest in {}".format(name, ", ".join(differing[:10])))


@contextlib.contextmanager
def working_folder(folder: str) -> Iterator[str]:
    """A folder inside the release for what children write besides their results; gone afterwards."""
    place = tempfile.mkdtemp(prefix=".work-", dir=folder)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


# ----------------------------------------------------------------------------------------------------------- layout


def lay_out(manifest: Dict[str, Any], environments: Dict[str, Dict[str, Any]], folder: str) -> List[str]:
    """Models under their ids, and the commands in bin/; the commands' names."""
    models, commands = os.path.join(folder, "models-by-id"), os.path.join(folder, "bin")
    for place in (models, commands):
        remove_tree(place)
        os.makedirs(place)
    for model in manifest["models"]:
        os.symlink(os.path.join("..", "models", "{id}@{revision}".format(**model)), os.path.join(models, model["id"]))
    for place in ("configs", "project/models"):  # without one, the package's own catalogue counts
        if os.path.isfile(os.path.join(folder, place, "catalogue.yaml")):
            os.symlink(os.path.join("..", place, "catalogue.yaml"), os.path.join(models, "catalogue.yaml"))
            break
    able = [
        name for name in sorted(environments)
        if any(each["name"] == "distill-offline" for each in components_of(manifest, name))
    ]  # fmt: skip
    first = "main" if "main" in able else (able or [""])[0]
    names = {"distill-offline": first, **{f"distill-offline-{name}": name for name in able if len(able) > 1}}
    for command, name in names.items():
        if name:
            write_file(os.path.join(commands, command), wrapper(folder, environments[name]["folder"]), 0o755)
    return sorted(os.listdir(commands))


def wrapper(folder: str, environment: str) -> bytes:
    """A script that starts distill_offline with the release's models, offline, and with no module of the caller's."""
    lines = [
        "#!/bin/sh",
        "# Written by install.py. Models of your own: set DISTILL_MODELS before you call it.",
        f"DISTILL_RELEASE={shlex.quote(folder)}",
        'DISTILL_MODELS="${DISTILL_MODELS:-$DISTILL_RELEASE/models-by-id}"',
        "export DISTILL_RELEASE DISTILL_MODELS",
        "unset LD_PRELOAD LD_AUDIT OPENSSL_CONF OPENSSL_MODULES OPENSSL_ENGINES",
        "unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE PYTHONWARNINGS PYTHONBREAKPOINT",
        *(f"export {name}={value}" for name, value in sorted(OFFLINE.items())),
        # B: a release stays as it was installed, and what Python compiled later would count as a change of it.
        f'exec "$DISTILL_RELEASE"/{environment}/bin/python -IB -m distill_offline "$@"',
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------------------------------ proof


class Proof:
    """What was shown of a release by running it, and what could not be."""

    def __init__(self) -> None:
        self.steps: List[Dict[str, Any]] = []
        self.outputs: List[Dict[str, Any]] = []
        self.imported: Dict[str, Any] = {}
        self.proven: List[str] = []
        self.not_proven: List[str] = []


def prove(
    manifest: Dict[str, Any], environments: Dict[str, Dict[str, Any]], folder: str, children: Children,
    smoke: Optional[List[List[str]]],
) -> Proof:  # fmt: skip
    """Import every direct requirement, then run the smoke commands. Raises Fault where one fails."""
    proof, logs = Proof(), os.path.join(folder, "evidence")
    remove_tree(logs)
    os.makedirs(logs)
    if is_noexec(folder):
        proof.not_proven.append(
            "Anything: --root lies on a filesystem that is mounted noexec, from which no program is started and no "
            "library loaded. Imports and smoke run were left out."
        )
        return proof
    for name, known in sorted(environments.items()):
        wanted = [each["name"] for each in manifest["direct_requirements"] if each["environment"] == name]
        if wanted:
            import_all(name, known, wanted, folder, logs, children, proof)
    if smoke is None:
        proof.not_proven.append("No smoke run: it was declined, or the bundle says none and carries no quickstart.")
    else:
        run_smoke(smoke, folder, logs, children, proof)
        proof.proven.append(f"{len(smoke)} smoke commands ended well.")
        if manifest["target"]["accelerator"] == "cuda":
            proof.not_proven.append("Whether the smoke run used the GPU: see its output in evidence/.")
    alone = [each["network"]["isolated"] for each in proof.steps]
    if alone and all(alone):
        proof.proven.append("Imports and smoke run had no network but loopback: the kernel's namespace had only lo.")
    elif alone:
        why = children.fault or "the namespace had other interfaces than lo"
        proof.not_proven.append(f"That nothing reaches for the network: no namespace without one can be made ({why}).")
    return proof


def is_noexec(folder: str) -> bool:
    """Whether the kernel starts nothing from there. What is interpreted may seem to run all the same."""
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


def import_all(
    name: str, known: Dict[str, Any], wanted: List[str], folder: str, logs: str, children: Children, proof: Proof
) -> None:
    say(f"importing the direct requirements of {name}")
    python = os.path.join(folder, known["folder"], "bin", "python")
    with working_folder(folder) as home:
        word = secrets.token_hex(16)
        line = [python, "-I", "-c", IMPORT, word, *wanted]
        step = children.run(f"imports-{name}", line, logs, home, SMOKE_SECONDS)
    proof.steps.append(dict(step.evidence, command=["<environment>", "import", *wanted]))
    found = step.answer(word)
    if step.code != 0 or not isinstance(found, dict) or sorted(found) != sorted(wanted):
        raise Fault(f"importing the requirements of {name} failed (exit code {step.code}): {step.said()}")
    bad = [f"{key}: {row['fault']}" for key, row in sorted(found.items()) if row["fault"]]
    if bad:
        raise Fault("in the environment {} these do not import: {}".format(name, "; ".join(bad)))
    proof.imported[name] = found
    proof.proven.append(f"{len(found)} direct requirements of {name} are imported.")


def run_smoke(commands: List[List[str]], folder: str, logs: str, children: Children, proof: Proof) -> None:
    """Each command is arguments of distill-offline; the first may name another command of bin/ instead."""
    programs = os.path.join(folder, "bin")
    if not os.path.isfile(os.path.join(programs, "distill-offline")):
        raise Fault("the smoke run needs distill-offline, and no environment of the bundle has it. See --no-smoke")
    with working_folder(folder) as home:
        for name in ("data", "configs"):  # as configurations name them, relative to where the command runs
            if os.path.isdir(os.path.join(folder, name)):
                os.symlink(os.path.join(folder, name), os.path.join(home, name))
        for number, arguments in enumerate(commands, 1):
            known = arguments[0] in os.listdir(programs)
            words = arguments if known else ["distill-offline", *arguments]
            say("smoke {} of {}: {}".format(number, len(commands), " ".join(words[:3])))
            line = ["/bin/sh", os.path.join(programs, words[0]), *words[1:]]
            step = children.run(f"smoke-{number}", line, logs, home, SMOKE_SECONDS)
            proof.steps.append(step.evidence)
            if step.code != 0:
                raise Fault(f"the smoke run failed (exit code {step.code}): {step.said()}")
        proof.outputs = outputs_below(home)


def outputs_below(home: str) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = []
    for parent, folders, names in os.walk(home):
        folders[:] = sorted(each for each in folders if each != "cache")
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path) and len(found) < LIMIT_OUTPUTS:
                inner = os.path.relpath(path, home)
                found.append({"path": inner, "size": os.path.getsize(path), "sha256": file_sha256(path)})
    return found


def is_argument(word: Any) -> bool:
    """Whether a program can be given it: a text without NUL and without half a character."""
    return isinstance(word, str) and not re.search("[\0\ud800-\udfff]", word)


def smoke_commands(folder: str, given: Optional[str], declined: bool) -> Optional[List[List[str]]]:
    """Arguments of distill-offline, one list a command: the given file's, the bundle's, or the quickstart's.

    Raises Fault for a file that is no such list.
    """
    place = given or os.path.join(folder, "configs", "smoke.json")
    if declined:
        return None
    if given or os.path.isfile(place):
        found = read_json(place, 0 if given else os.O_NOFOLLOW)
        good = isinstance(found, list) and all(
            isinstance(command, list) and command and all(map(is_argument, command))
            for command in found
        )  # fmt: skip
        if not good or not found:
            raise Fault(f'{place}: is not a JSON list of argument lists, as [["doctor"]]', USAGE if given else FAILED)
        return list(found)
    if not os.path.isfile(os.path.join(folder, "configs", "quickstart.yaml")):
        return None
    common = ["configs/quickstart.yaml", "-o", "smoke", *(word for each in SMALL for word in ("--set", each))]
    return [["annotate", *common], ["train", *common], ["run", *common]]  # what is left for `run` is to evaluate


# ----------------------------------------------------------------------------------------------------- the commands


def install(given: argparse.Namespace, rest: List[str]) -> int:
    asked = verifier.arguments(rest)
    if asked.last_sequence_file or asked.target_dir or not asked.check_target:
        raise Fault("--last-sequence-file, --target-dir and --not-the-target are the installer's own to say", USAGE)
    # A release is for every user of the machine, whoever installs it; close the root to keep it to some.
    os.umask(0o022)
    bundle, path = os.path.realpath(asked.bundle), os.path.realpath(given.root)
    if os.path.commonpath([bundle, path]) == bundle:
        raise Fault("--root lies inside the bundle", USAGE)
    root = Root(given.root)
    root.make()
    with root.locked():
        root.current_name()
        silent = root.remember()
        report, options = verified(root, given, asked)
        release = report.manifest["bundle_id"]
        for name, reason in sorted(silent.items()):
            if name != release:
                raise Fault(f"the installed {name} was changed: {reason}. Uninstall it first; nothing was installed")
        medium = verifier.Medium(asked.bundle)
        try:
            make_release(root, medium, report, options, given)
        finally:
            medium.close()
        root.record(report.manifest, report.manifest_sha256)
        root.switch(release)
    sys.stdout.write(f"current: {release}\n")
    return 0


def verified(root: Root, given: argparse.Namespace, asked: argparse.Namespace) -> Tuple[Any, Any]:
    """The report of a bundle that may be installed here, and the options it was verified with. Raises Fault."""
    unfinished = [name for name in root.names() if root.seal(name) is None]
    options = verifier.options_of(asked)._replace(
        last_sequence_file=None if given.allow_older else root.last,
        target_dir=None if unfinished else root.path,  # an unfinished one has used part of the space: asked below
    )
    report = verifier.verify(asked.bundle, options, None if asked.quiet else verifier.progress_line())
    for line in report.lines():
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if report.exit_code == verifier.INTEGRITY_ONLY and not given.unsigned_ok:
        raise Fault("nobody whom you trust signed this bundle: name a key, or say --unsigned-ok", UNSIGNED)
    if report.exit_code not in (verifier.VALID, verifier.RESUMED, verifier.INTEGRITY_ONLY):
        first = "{}: {}".format(*report.findings.listed[0][1:])
        raise Fault(f"the bundle was refused ({first}); nothing was installed", report.exit_code)
    if given.allow_older:
        check_all_but_age(root, report)
    used = tree_bytes(root.folder(report.manifest["bundle_id"]))
    needed, free = report.manifest["totals"]["installed_bytes"] - used, verifier.free_bytes(root.path)
    if root.seal(report.manifest["bundle_id"]) is None and free < needed:
        raise Fault(f"{free} bytes are free for --root, and {needed} more are needed. Make room", MACHINE)
    return report, options


def check_all_but_age(root: Root, report: Any) -> None:
    """With --allow-older a smaller sequence passes; another name, or another bundle of the same sequence, does not."""
    findings = verifier.Findings(10)
    verifier.check_sequence(report.manifest, report.manifest_sha256, root.last, findings)
    known = read_json(root.last) or report.manifest
    is_older = known["name"] == report.manifest["name"] and known["sequence"] > report.manifest["sequence"]
    if findings.total and not is_older:
        raise Fault(f"{findings.listed[0].path} {findings.listed[0].reason}; nothing was installed")


def make_release(root: Root, medium: Any, report: Any, options: Any, given: argparse.Namespace) -> None:
    """Bring the release to be whole, from wherever an earlier run left it."""
    manifest, release = report.manifest, report.manifest["bundle_id"]
    folder = root.folder(release)
    require_folder(folder)
    os.makedirs(folder, exist_ok=True)
    check_own(manifest, folder)
    if root.seal(release) is None:
        clear(manifest, folder, r"(environments|interpreter)(/|\Z)")  # parts that are believed only as they were noted
    copied = copy_all(medium, manifest, folder)
    if root.seal(release) is not None:
        put_back = f"; {copied} files of it were damaged and are as they were again" if copied else ""
        changes = root.changes(release)
        if not changes:
            say(f"this bundle is installed already{put_back}")
            return
        say(f"this bundle is installed already, but was changed since ({in_short(changes)}): it is made anew")
        clear(manifest, folder)
    copy_manifest(medium, report, options, folder)
    python = interpreter_of(manifest, folder, options.python, root)
    children = Children(folder, root.lock_descriptor)
    environments = {
        each["name"]: build_environment(manifest, each, folder, python, children, root)
        for each in manifest["resolution"]["environments"]
    }
    commands = lay_out(manifest, environments, folder)
    proof = prove(manifest, environments, folder, children, smoke_commands(folder, given.smoke, given.no_smoke))
    if not report.signed:
        proof.not_proven.append("Who made the bundle: no key was given (--unsigned-ok).")
    write_evidence(report, environments, proof, folder)
    for line in proof.proven:
        sys.stdout.write(f"proven: {verifier.shown(line)}\n")
    for line in proof.not_proven:
        sys.stdout.write(f"NOT proven: {verifier.shown(line)}\n")
    seal = {
        "schema": RELEASE_SCHEMA, "bundle_id": release, "name": manifest["name"], "version": manifest["version"],
        "sequence": manifest["sequence"], "manifest_sha256": report.manifest_sha256, "installed": now(),
        "signers": [each["signer"] for each in report.signatures if each["result"] == "good"],
        "environments": {name: known["folder"] for name, known in environments.items()}, "commands": commands,
        "proven": proof.proven, "not_proven": proof.not_proven,
    }  # fmt: skip
    # What environments wrote is on the disk before the file is that says so; and what they are like is noted before.
    contents = contents_of(folder, progress=release)
    contents.pop("release.json", None)
    root.note(release, contents=contents, seal=sealed_as(json_bytes(seal)), parts=None)
    os.sync()
    write_json(os.path.join(folder, "release.json"), seal)


def sealed_as(content: bytes) -> str:
    """What contents_of will say of a file that write_file wrote."""
    return f"file 644 {len(content)} {verifier.sha256(content)}"


def check_own(manifest: Dict[str, Any], folder: str) -> None:
    """Raises Fault for a link in the release that would be followed, before anything is written into it.

    Environments and a carried interpreter have links, and so has what a killed self-test leaves behind; nothing is
    written below them. In the place of a file a link is replaced.
    """
    files = {each["path"] for each in manifest["files"]} | verifier.UNLISTED
    linked = re.compile(r"(environments/[a-z0-9-]+\.\d+|interpreter(\.partial)?|models-by-id|\.work-[a-z0-9_]+)/")
    for path, kind in contents_of_names(folder):
        if kind == "link" and path not in files and not linked.match(path):
            raise Fault(
                f"{os.path.join(folder, path)} is a symbolic link, which is not followed. Uninstall this release"
            )
        if kind == "special":
            raise Fault(f"{os.path.join(folder, path)} is neither file, folder nor link. Uninstall this release")


def contents_of_names(folder: str) -> Iterator[Tuple[str, str]]:
    """(path, file | folder | link | special) of every name below a folder."""
    for parent, folders, names, descriptor in walked(folder):
        for name in [*folders, *names]:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            kind = "link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "special"
            yield os.path.relpath(os.path.join(parent, name), folder), "file" if stat.S_ISREG(mode) else kind


def clear(manifest: Dict[str, Any], folder: str, kept: str = r"\Z.") -> None:
    """Take from a release its seal, and every name that is neither a file of the bundle nor matches `kept`.

    What was noted of it stays until new facts are written: it was whole once, and counts for the sequence.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "release.json"))
    sync_folder(folder)
    own = {each["path"] for each in manifest["files"]}
    own |= {path[:end] for path in own for end, each in enumerate(path) if each == "/"}
    for path, kind in sorted(contents_of_names(folder), reverse=True):
        if re.match(kept, path):
            continue
        if path not in own:
            remove_tree(os.path.join(folder, path))
        elif kind == "folder":
            os.chmod(os.path.join(folder, path), 0o755)
    os.chmod(folder, 0o755)


def write_evidence(report: Any, environments: Dict[str, Any], proof: Proof, folder: str) -> None:
    """What ran, where, how it ended and what came out; no name of this host, no path of it."""
    listed = {each["path"]: each["sha256"] for each in report.manifest["files"]}
    own, source = file_sha256(os.path.abspath(__file__)), verifier.SOURCE_SHA256
    evidence = {
        "schema": EVIDENCE_SCHEMA, "time": now(), "verification": report.as_json(),
        "installer": {"sha256": own, "is_the_bundles": own == listed.get("install.py")},
        "verifier": {"sha256": source, "is_the_bundles": source == listed.get("verify.py")},
        "machine": {
            "arch": os.uname().machine, "kernel": os.uname().release, "glibc": verifier.host_glibc(),
            "python": "{}.{}.{}".format(*sys.version_info[:3]), "driver": verifier.host_driver(),
            "installed_as_root": os.geteuid() == 0,
        },
        "environments": environments, "imported": proof.imported, "steps": proof.steps, "outputs": proof.outputs,
        "proven": proof.proven, "not_proven": proof.not_proven,
    }  # fmt: skip
    write_json(os.path.join(folder, "evidence", "install.json"), evidence)


def existing(given: argparse.Namespace) -> Root:
    root = Root(given.root)
    if not os.path.isdir(root.releases):
        raise Fault(f"--root {given.root}: nothing was ever installed there", USAGE)
    return root


def whole(root: Root, release: str) -> str:
    if release not in root.names():
        raise Fault(f"{release} is not installed; see: list", USAGE)
    if root.seal(release) is None:
        raise Fault(f"{release} is not whole: install it again, or uninstall it")
    return release


def rollback(given: argparse.Namespace, rest: List[str]) -> int:
    """Switch to the release that was current before this one, or to the named one."""
    root = existing(given)
    with root.locked():
        now_current, history = root.current_name(), root.history()
        if given.release:
            target = whole(root, given.release)
        else:
            earlier = history[: history.index(now_current)] if now_current in history else history
            if not earlier:
                raise Fault("there is no earlier release to go back to; see: list")
            target = earlier[-1]
            # What was left stays after what is gone back to: the next rollback goes one further.
        root.remember()
        root.require_unchanged(target)
        put_link(os.path.join("releases", target), root.current)
    sys.stdout.write(f"current: {target}\n")
    return 0


def uninstall(given: argparse.Namespace, rest: List[str]) -> int:
    """Remove a release, or all of them; the record of the last sequence stays."""
    root = existing(given)
    with root.locked():
        names = [given.release] if given.release else root.names()
        if given.release and given.release not in root.names():
            raise Fault(f"{given.release} is not installed; see: list", USAGE)
        root.remember()  # what goes now has been installed, and an older one is older still
        current = root.current_name()
        if current in names and not given.force:
            raise Fault(f"{current} is the current release: rollback first, or say --force")
        for name in names:
            if name == current:
                os.unlink(root.current)
                sync_folder(root.path)
            # Under another name at once, so that no half of it is ever taken for a release.
            gone = os.path.join(root.releases, ".removed-" + name[:200])
            os.rename(root.folder(name), gone)
            sync_folder(root.releases)
            remove_tree(gone)
            root.forget(name)
            sys.stdout.write(f"removed: {verifier.shown(name)}\n")
    return 0


def list_releases(given: argparse.Namespace, rest: List[str]) -> int:
    """What is installed, each whole release read again to the last byte; no program of a release is run for that."""
    root = existing(given)
    rows, current = [], None  # type: List[Dict[str, Any]], Optional[str]
    try:
        current = root.current_name()
    except Fault as fault:
        say(str(fault))
    for name in root.names():
        seal, problem = root.seal(name), problem_of_folder(root.folder(name))
        changes = [problem] if problem else root.changes(name) if seal is not None else []
        state = "changed" if changes else "unfinished" if seal is None else "current" if name == current else "whole"
        seal = seal or {}
        rows.append({"release": name, "state": state, "is_current": name == current, "changes": changes[:20],
                     "sequence": seal.get("sequence"), "installed": seal.get("installed"),
                     "not_proven": seal.get("not_proven", [])})  # fmt: skip
    if given.json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return 0
    for row in rows:
        line = "{state:10} {sequence!s:>5}  {installed!s:20}  {release}".format(**row)
        line += ": " + in_short(row["changes"]) if row["changes"] else ""
        line += " (current)" if row["is_current"] and row["state"] != "current" else ""
        sys.stdout.write(verifier.shown(line) + "\n")
    return 0


def arguments(given: Optional[List[str]] = None) -> Tuple[argparse.Namespace, List[str]]:
    """The installer's own options, and for `install` the rest, which are the verifier's."""
    parser = argparse.ArgumentParser(
        prog="install.py", allow_abbrev=False, description="Install an air-gap bundle, and go back from it.",
        epilog="exit: 0 done, 1 refused or failed, 2 usage, 3 no key given, 4 this machine, 130 interrupted",
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="install | rollback | uninstall | list")
    verbs.required = True
    made = {
        name: verbs.add_parser(name, allow_abbrev=False, help=help_text, description=help_text, epilog=epilog)
        for name, help_text, epilog in (
            ("install", "verify a bundle, install it and switch to it", "and all of verify.py's own options"),
            ("rollback", "switch to the release before the current one, or to RELEASE", None),
            ("uninstall", "remove RELEASE, or without one all of them", None),
            ("list", "say what is installed", None),
        )
    }  # fmt: skip
    for name, verb in made.items():
        verb.add_argument("--root", metavar="DIR", required=True, help="the folder that holds the releases")
        if name in ("rollback", "uninstall"):
            verb.add_argument("release", metavar="RELEASE", nargs="?", help="a bundle id, as list shows it")
    add = made["install"].add_argument
    add("--unsigned-ok", action="store_true", help="install without a key: nobody vouches for the bundle then")
    add("--allow-older", action="store_true", help="accept a smaller sequence than the last installed one")
    add("--smoke", metavar="FILE", help="a JSON list of argument lists for distill-offline, in place of the bundle's")
    add("--no-smoke", action="store_true", help="do not run anything but imports; the evidence says so")
    made["uninstall"].add_argument("--force", action="store_true", help="also the current release")
    made["list"].add_argument("--json", action="store_true", help="for machines")
    found, rest = parser.parse_known_args(given)
    if rest and found.verb != "install":
        made[found.verb].error("unrecognized arguments: " + " ".join(rest))
    return found, rest


COMMANDS = {"install": install, "rollback": rollback, "uninstall": uninstall, "list": list_releases}


def main() -> int:
    """The command line's exit code."""
    if not (sys.flags.isolated and sys.flags.no_site):
        verifier.tell("install.py: run me as python3 -I -S -B install.py ..., so that nothing is imported here\n")
        return USAGE
    given, rest = arguments()
    again = "Run the same command again: it goes on"
    try:
        return COMMANDS[given.verb](given, rest)
    except Fault as fault:
        say(str(fault))
        return fault.code
    except (verifier.UsageFault, verifier.MachineFault) as fault:
        say(str(fault))
        return USAGE if isinstance(fault, verifier.UsageFault) else MACHINE
    except OSError as error:
        remedies = {errno.ENOSPC: "Make room. " + again, errno.EDQUOT: "Make room. " + again}
        refused = "Is --root a folder where you may write?"
        remedies[errno.ENAMETOOLONG] = "Take a shorter path"
        remedies[errno.EFBIG] = "Raise the limit on the size of files (ulimit -f). " + again
        remedies[errno.EISDIR] = "A folder lies where a file belongs. Move it away"
        remedies.update(dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR), refused))
        place = verifier.shown(str(error.filename or "--root"), 200)
        say(f"{place}: {error.strerror}. {remedies.get(error.errno or 0, again)}")
        return MACHINE
    except KeyboardInterrupt:
        say(f"interrupted. {again}")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(verifier.command_line("install.py", main))
