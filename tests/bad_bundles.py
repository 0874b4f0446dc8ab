"""The table of bad bundles: how each is spoiled, and what the verifier must say of which file."""

from __future__ import annotations

import json
import os
import platform
import shutil
from typing import Any, NamedTuple

from bad_texts import LOCKS, ODD_TIMES, UNSEEN
from bundles import LONG, MODEL, NATIVE, WHEEL, repacked, replaced, safetensors, wheel
from spoiling import (
    Spoil,
    add,
    add_wheel,
    edit,
    flip,
    inconsistent_parts,
    instead,
    link_folder,
    listen,
    move,
    one_foreign,
    part,
    part_of_another_bundle,
    parts_of,
    put,
    raw,
    record_of,
    relist,
    remove,
    set_in,
    signed,
    swap,
)  # fmt: skip


def lock_of(text: bytes) -> Spoil:
    return add("python/main.lock", text)


class Case(NamedTuple):
    """How to spoil a bundle, and what must then be said of which file; `options` are the verifier's."""

    name: str
    spoil: Spoil
    message: str
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)


DEEP = b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}"
SHORT_HEX = "0" * 63
NO_SSH = {"allowed_signers": None}
NO_P256 = {"openssl_key": None}
LAST = {"last_sequence_file": "last.json"}
ROOT = os.geteuid() == 0

SIGNATURES = [
    Case("manifest flipped at its start", flip("manifest.json", 0), "manifest.json.sig: does not belong to this"),
    Case("manifest flipped in the middle", flip("manifest.json", 999), "manifest.json.p256: does not belong to this"),
    Case("manifest flipped at its end", flip("manifest.json", -1), "manifest.json.sig: does not belong to this"),
    Case("manifest empty", put("manifest.json", b""), "manifest.json.sig: does not belong to this"),
    Case("manifest missing", remove("manifest.json"), "manifest.json: is missing"),
    Case("manifest a link", instead("manifest.json", lambda p: p.symlink_to("/etc/hostname")), "is a symbolic link"),
    Case("manifest a FIFO", instead("manifest.json", lambda p: os.mkfifo(p)), "manifest.json: is a FIFO"),
    Case("manifest a folder", instead("manifest.json", lambda p: p.mkdir()), "manifest.json: is a folder"),
    Case(
        "manifest huge",
        lambda b: os.truncate(b.file("manifest.json"), 40 << 20),
        "manifest.json: is larger than 33554432 bytes",
    ),
    Case("garbage", put("manifest.json.sig", b"garbage"), "manifest.json.sig: is not a signature by ssh-keygen"),
    Case("garbage in armour", lambda b: b.file("manifest.json.sig").write_bytes(
        b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf////8=\n-----END SSH SIGNATURE-----\n"),
        "manifest.json.sig: is not a signature by ssh-keygen"),
    Case("garbage for openssl", put("manifest.json.p256", b"\0" * 70), "manifest.json.p256: does not belong to this"),
    Case("signature flipped", flip("manifest.json.sig", 300), "manifest.json.sig: "),
    Case("P-256 signature cut", put("manifest.json.p256", b"\x30\x44"), "manifest.json.p256: does not belong to this"),
    Case("signature missing", remove("manifest.json.sig"), "manifest.json.sig: is missing, and a key"),
    Case("P-256 signature missing", remove("manifest.json.p256"), "manifest.json.p256: is missing, and a key"),
    Case("signature huge", put("manifest.json.sig", b"x" * 70_000), "manifest.json.sig: is larger than"),
    Case("foreign", signed(key="foreign"), "manifest.json.sig: is not by a key of the allowed signers", NO_P256),
    Case("foreign by fingerprint", signed(key="foreign"), "manifest.json.sig: is by the key SHA256:", {
        "allowed_signers": None, "fingerprint": "OWN"}),
    Case("foreign P-256", signed(key="foreign"), "manifest.json.p256: does not belong to this", NO_SSH),
    Case("one good, one foreign", one_foreign, "manifest.json.p256: does not belong to this"),
    Case("expired", lambda b: None, "manifest.json.sig: is by a key that has expired", {
        "allowed_signers": "expired.allowed"}),
    Case("revoked", lambda b: None, "manifest.json.sig: is by a key that is revoked", {"revoked": "own.pub"}),
    Case("revoked, by fingerprint", lambda b: None, "manifest.json.sig: is by a key that is revoked", {
        "allowed_signers": None, "fingerprint": "OWN", "revoked": "own.pub"}),
    Case("other signer wanted", lambda b: None, "manifest.json.sig: does not belong", {"signer": "other@site"}),
    Case("other namespace", signed(namespace="file"), "manifest.json.sig: was made for the namespace file", NO_P256),
]  # fmt: skip

FORMS = [
    Case("no JSON", raw(lambda _: b"{"), "manifest.json: is not JSON"),
    Case("a list", raw(lambda _: b"[]\n"), "manifest.json: is not a JSON object"),
    Case("deep", raw(lambda _: DEEP), "manifest.json: is nested deeper than 16 levels"),
    Case("duplicate key", raw(replaced('"name": "demo"', '"name": "demo",\n "name": "demo"')), "'name' twice in one"),
    Case("duplicate inner key", raw(replaced('"size": ', '"size": 1, "size": ')), "has the key 'size' twice"),
    Case("duplicate key, escaped", raw(replaced('"name": "demo"', '"name": "demo", "n\\u0061me": "x"')), "twice in"),
    Case("NaN", raw(replaced('"sequence": 3', '"sequence": NaN')), "has the number NaN"),
    Case("infinite", raw(replaced('"sequence": 3', '"sequence": 1e999')), "has the number 1e999"),
    Case("fraction", raw(replaced('"sequence": 3', '"sequence": 3.0')), "has the number 3.0"),
    Case("negative", raw(replaced('"sequence": 3', '"sequence": -3')), "has the number -3; it must be from 0"),
    Case("huge number", raw(replaced('"sequence": 3', f'"sequence": {"9" * 5000}')), "it must be from 0 to 2^53-1"),
    Case("a blank more", raw(lambda r: r + b" "), "is not in canonical form"),
    Case("compact", raw(lambda r: json.dumps(json.loads(r)).encode()), "is not in canonical form"),
    Case("byte order mark", raw(lambda r: b"\xef\xbb\xbf" + r), "has bytes other than ASCII"),
    Case("not ASCII", raw(replaced('"MIT"', '"M\u00efT"')), "has bytes other than ASCII"),
    Case("other schema", edit(set_in("schema", "distill-offline-bundle/2")), "schema: is 'distill-offline-bundle/2'"),
    Case("unknown key", edit(set_in("files", 0, "mode", 493)), "files[0].mode: is unknown"),
    Case("missing key", edit(lambda m: m["files"][0].pop("kind")), "files[0].kind: is missing"),
    Case("true for a number", edit(set_in("sequence", True)), "sequence: must be a whole number"),
    Case("a string for a list", edit(set_in("models", "")), "models: must be a list"),
    Case("a list for an object", edit(set_in("builder", [])), "builder: must be an object"),
    Case("short digest", edit(set_in("files", 0, "sha256", SHORT_HEX)), "files[0].sha256: must be 64 lower-case"),
    Case("no such day", edit(set_in("created", "2026-02-30T00:00:00Z")), "created: must be a time"),
    Case("expires before it is created", edit(set_in("expires", "2020-01-01T00:00:00Z")), "expires: must be later"),
    Case("turned text", edit(set_in("builder", "name", "a\u202eb")), "builder.name: has control or direction"),
    *(Case(f"unseen U+{ord(each):04X} in {key}", edit(set_in(*keys, f"a{each}b")), f"{key}: ")
      for each in UNSEEN for key, *keys in (
          ("builder.name", "builder", "name"), ("components[0].licence", "components", 0, "licence"),
          ("version", "version"), ("models[0].outputs", "models", 0, "outputs"),
      )),
    *(Case(f"looks like another: {key}", edit(set_in(*keys, value)), f"{key}: must be")
      for key, *keys, value in (
          ("builder.name", "builder", "name", "\u0441onda"), ("builder.version", "builder", "version", "\u0661.0"),
          ("resolution.tool", "resolution", "tool", "p\u0456p"),
          ("components[0].purl", "components", 0, "purl", "\uff50"),
          ("resolution.tool_version", "resolution", "tool_version", "2\u2024 6"),
          ("target.python", "target", "python", "3.\u0661\u0661"), ("target.arch", "target", "arch", "x\u04458_64"),
          ("components[0].version", "components", 0, "version", "1.\uff10"), ("name", "name", "dem\u043e"),
          ("components[0].name", "components", 0, "name", "tiny\u2010one"),
      )),
    *(Case(f"time {moment}", edit(set_in("created", moment)), "created: must be a time") for moment in ODD_TIMES),
    Case("half a surrogate", edit(set_in("builder", "name", "a\ud800b")), "builder.name: has control or direction"),
    Case("other id", raw(replaced('"bundle_id": "demo', '"bundle_id": "dem')), "bundle_id: must be demo-1.0-linux"),
    Case("content under an old id", raw(replaced('"version": "1.0"', '"version": "1.1"')), "bundle_id: must be"),
    Case("files out of order", edit(lambda m: m["files"].reverse()), "is out of order"),
    Case("path twice", edit(lambda m: m["files"].insert(0, m["files"][0])), "files[1]: README.txt stands twice"),
    Case("total of bytes", raw(replaced('"bytes": [0-9]+', '"bytes": 5')), "totals.bytes: must be 50"),
    Case("../", relist("data/train.conll", "data/../../x"), "'data/../../x' has the component '..'"),
    Case("./", relist("data/train.conll", "data/./x"), "has the component '.'"),
    Case("//", relist("data/train.conll", "data//x"), "has the component ''"),
    Case("absolute", relist("data/train.conll", "/etc/passwd"), "'/etc/passwd' is an absolute path"),
    Case("NUL", relist("data/train.conll", "data/a\0b"), "'data/a\\x00b' has a control character"),
    Case("newline", relist("data/train.conll", "data/a\nb"), "'data/a\\nb' has a control character"),
    Case("escape", relist("data/train.conll", "data/\x1b[2J"), "has a control character"),
    Case("backslash", relist("data/train.conll", "data\\x"), "has characters other than"),
    Case("blank in a name", relist("data/train.conll", "data/a b"), "has characters other than"),
    Case("leading dash", relist("data/train.conll", "data/-rf"), "'data/-rf' has a name that starts with '-'"),
    Case("trailing dot", relist("data/train.conll", "data/x."), "ends with '.'"),
    Case("long path", relist("data/train.conll", "data/" + "x" * 200), "is a path of more than 200 bytes"),
    Case("no ASCII", relist("data/train.conll", "data/\u00e4"), "has characters other than"),
    Case("case", relist("data/train.conll", "data/TRAIN2.conll"), "TRAIN2.conll and data/train2.conll differ only"),
    Case("case of folders", relist("data/train.conll", "data/Train2.CONLL/x"), "differ only by letter case"),
    Case("file and folder", relist("data/train.conll", "data/train2.conll/x"), "is both a file and a folder"),
    Case("lists the manifest", relist("README.txt", "manifest.json"), "manifest.json is called a script"),
    Case("kind of another place", edit(set_in("files", 0, "kind", "data")), "README.txt is called a data"),
    Case("unknown folder", relist("data/train.conll", "bin/x"), "bin/x is called a data, but this is the place of no"),
    Case("part under another name", edit(lambda m: parts_of(m)[0].update(path="volumes/x")),
        "volumes/x must be volumes/"),
    Case("part missing from the list", edit(lambda m: parts_of(m).pop()), "do not sum up to its size"),
    Case("parts listed in another order", edit(lambda m: parts_of(m).reverse()), ".00002.part must be volumes/"),
    Case("part size", edit(lambda m: parts_of(m)[0].update(size=7)), "parts[0].size: must be 200000"),
    Case("parts not needed", edit(set_in("policy", "volume_limit", 600_000)), "must have parts exactly when"),
    Case("not in parts", edit(set_in("policy", "volume_limit", 20)), "must have parts exactly when it is above"),
    Case("wheel without a component", edit(lambda m: m["components"].pop()), "tiny_two-2.0"),
    Case("component without a wheel", edit(set_in("components", 0, "file", "data/x")), "data/x is not a wheel of this"),
    Case("component of another version", edit(set_in("components", 0, "version", "1.1")), "not named as tiny-one 1.1"),
    Case("unknown environment", edit(set_in("components", 0, "environments", ["gpu"])), "environment gpu is not in"),
    Case("no lock", edit(set_in("resolution", "environments", 0, "lock", LONG)), "must be the path of a lock"),
    Case("quietly downgraded", edit(set_in("direct_requirements", 0, "floor", "1.10")), "1.0 is below its floor 1.10"),
    Case("a pre-release", edit(lambda m: m["direct_requirements"][0].update(floor="1.0", resolved="1.0rc1")),
        "tiny-one 1.0rc1 is below its floor 1.0"),
    Case("requirement not there", edit(set_in("direct_requirements", 0, "resolved", "1.2")), "is not among the compon"),
    Case("wheel for another Python", add_wheel("python/wheels/tiny_three-3.0-cp312-cp312-any.whl", b""),
        "is not for Python 3.11"),
    Case("wheel for another machine", add_wheel("python/wheels/tiny_three-3.0-py3-none-win_amd64.whl", b""),
        "is not for Linux on"),
    Case("wheel for a newer glibc", add_wheel(
        f"python/wheels/tiny_three-3.0-py3-none-manylinux_2_34_{platform.machine()}.whl", b""), "needs glibc 2.34"),
    Case("wheel without tags", add_wheel("python/wheels/tiny_three-3.0.whl", b""), "is not named as a wheel"),
    Case("model nobody lists", add("models/x@1/a.json", b"{}"), "in the folder of no model"),
    Case("model in the catalogue's place", edit(set_in("models", 0, "id", "catalogue.yaml")),
        "catalogue.yaml would lie where the catalogue lies"),
    Case("models that differ by case", edit(lambda m: m["models"].insert(0, {**m["models"][0], "id": "Tiny"})),
        "tiny would lie where Tiny lies"),
    Case("too many environments", edit(set_in("resolution", "environments", [
        {"name": f"e{number:03}", "lock": "python/main.lock"} for number in range(101)])), "a list of 0 to 100"),
    Case("component of too many environments", edit(set_in("components", 0, "environments", [
        f"e{number:03}" for number in range(101)])), "a list of 1 to 100 entries"),
    Case("model without files", edit(lambda m: m["models"].append({**m["models"][0], "id": "u"})), "has no files"),
    *(Case(f"model with {suffix}", add(f"{MODEL}/weights{suffix}", b"x"), "is of a kind that can run code")
      for suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".py", ".so")),
    Case("model with an unknown kind", add(f"{MODEL}/x.exe", b"x"), "x.exe is of a kind that no model may hold"),
    Case("model with capitals", add(f"{MODEL}/x.PKL", b"x"), "is of a kind that can run code"),
    Case("kinds widened", edit(set_in("policy", "model_kinds", [".py"])), "policy.model_kinds[0]: must be"),
]  # fmt: skip

MACHINES = [
    Case("expired", edit(set_in("expires", "2026-01-02T00:00:00Z")), "manifest.json: has expired at 2026-01-02"),
    Case("expires this second", lambda b: None, "has expired at 2099-01-01", {"now": 4_070_908_800}),
    Case("clock behind", lambda b: None, "was created at 2026-01-01T00:00:00Z, but the clock", {"now": 1_700_000_000}),
    Case("older sequence", record_of("demo", 4, "b" * 64), "has sequence 3, older than the installed 4", LAST),
    Case("same sequence", record_of("demo", 3, "b" * 64), "has sequence 3, as another installed bundle", LAST),
    Case("another history", record_of("demo", 2, "b" * 64), "does not follow the installed bundle", LAST),
    Case("another name", record_of("other", 1, "b" * 64), "is of demo, but other is installed", LAST),
    Case("architecture", edit(lambda m: (m["target"].update(arch="vax"), m["components"].pop(),
         m["files"].remove(next(each for each in m["files"] if each["path"] == NATIVE)))),
         "this machine: is linux on"),
    Case("glibc", edit(set_in("target", "min_glibc", "2.999")), "the bundle needs 2.999"),
    Case("Python", edit(lambda m: (m["target"].update(python="3.99", interpreter=None))),
         "this machine: has no Python 3.99, and the bundle carries none"),
    Case("command", edit(set_in("target", "tools", ["no-such-tool"])), "this machine: has no command no-such-tool"),
    Case("driver", edit(lambda m: m["target"].update(accelerator="cuda", min_driver="99999.1")), "NVIDIA driver"),
    Case("space", edit(set_in("totals", "installed_bytes", 1 << 52)), "bytes free for the target directory; 45035",
         {"target_dir": "not/there"}),
]  # fmt: skip

FILES = [
    *(Case(f"byte {at} of {name}", flip(name, at), f"{name}: has another SHA-256")
      for name, at in [(WHEEL, 0), (WHEEL, 200), (WHEEL, -1), (f"{MODEL}/model.safetensors", 20), ("VERIFY.sh", 3),
                       ("python/main.lock", 5), (part(0), 0), (part(1), 50_000), (part(2), -1)]),
    Case("swapped alike", swap("python/wheels/" + WHEEL[14:], "data/train2.conll"), f"{WHEEL}: has 11 bytes"),
    Case("swapped in the same size", swap("data/train.conll", "data/train2.conll"), "train.conll: has another SHA"),
    Case("swapped parts", swap(part(0), part(1)), f"{part(1)}: has another SHA-256"),
    Case("cut", lambda b: os.truncate(b.file(WHEEL), 100), f"{WHEEL}: has 100 bytes, not"),
    Case("cut by a byte", lambda b: os.truncate(b.file("README.txt"), 13), "README.txt: has 13 bytes, not 14"),
    Case("longer", lambda b: os.truncate(b.file("README.txt"), 15), "README.txt: has 15 bytes, not 14"),
    Case("zero-length", put("configs/demo.yaml", b""), "configs/demo.yaml: has 0 bytes"),
    Case("filled", put("project/py.typed", b"x"), "project/py.typed: has 1 bytes, not 0"),
    Case("missing", remove("data/train.conll"), "data/train.conll: is missing"),
    Case("folder missing", lambda b: shutil.rmtree(b.file("configs")), "configs/demo.yaml: is missing"),
    Case("renamed", move("data/train.conll", "data/train3.conll"), "data/train3.conll: is not in the manifest"),
    Case("moved", move("data/train.conll", "train.conll"), "data/train.conll: is missing"),
    Case("extra", put("data/extra"), "data/extra: is not in the manifest"),
    Case("extra at the top", put("sitecustomize.py"), "sitecustomize.py: is not in the manifest"),
    Case("extra hidden", put(".hidden"), ".hidden: is not in the manifest"),
    Case("extra part", put(part(3)), f"{part(3)}: is not in the manifest"),
    Case("extra signature", put("manifest.json.asc"), "manifest.json.asc: is not in the manifest"),
    Case("the whole beside its parts", put(LONG), f"{LONG}: is not in the manifest"),
    Case("extra folder", lambda b: b.file("empty").mkdir(), "empty: is a folder that the manifest does not know"),
    Case("folder for a file", instead("README.txt", lambda p: p.mkdir()), "README.txt: is missing"),
    Case("name with a newline", put("data/a\nb"), "data/a\\x0ab: has a control character"),
    Case("name with an escape", put("data/\x1b[2Jb"), "data/\\x1b[2Jb: has a control character"),
    Case("name with a leading dash", put("data/-rf"), "data/-rf: has a name that starts with '-'"),
    Case("name with a blank", put("data/a b"), "data/a b: has characters other than"),
    Case("name in no encoding", put("data/\udcff"), "data/\\udcff: has characters other than"),
    Case("name in another case", put("readme.txt"), "readme.txt: differs from README.txt only by letter case"),
    Case("names in two Unicode forms", lambda b: (put("data/\u00e4")(b), put("data/a\u0308")(b)),
         "only by letter case or Unicode form"),
    Case("link", instead("README.txt", lambda p: p.symlink_to("VERIFY.sh")), "README.txt: is a symbolic link"),
    Case("link outwards", instead("README.txt", lambda p: p.symlink_to("/etc/passwd")), "README.txt: is a symbolic li"),
    Case("dangling link", lambda b: b.file("x").symlink_to("nowhere"), "x: is a symbolic link"),
    Case("linked folder", link_folder, "data: is a symbolic link"),
    Case("hard link inside", lambda b: os.link(b.file("README.txt"), b.file("data/x")), "README.txt: has 2 names"),
    Case("hard link outside", lambda b: os.link(b.file("README.txt"), b.path.parent / "x"), "README.txt: has 2 names"),
    Case("FIFO", instead("README.txt", lambda p: os.mkfifo(p)), "README.txt: is a FIFO"),
    Case("socket", instead("README.txt", listen), "README.txt: is a socket"),
    Case("setuid", lambda b: b.file("VERIFY.sh").chmod(0o4755), "VERIFY.sh: is setuid or setgid"),
    Case("setgid", lambda b: b.file("VERIFY.sh").chmod(0o2755), "VERIFY.sh: is setuid or setgid"),
    Case("part missing", remove(part(1)), f"{part(1)}: is missing"),
    Case("part of another bundle", part_of_another_bundle, f"{part(1)}: has another SHA-256"),
    Case("part cut", lambda b: os.truncate(b.file(part(0)), 5), f"{part(0)}: has 5 bytes, not 200000"),
    Case("parts that are not the file", inconsistent_parts, f"{LONG}: has another SHA-256, joined"),
    Case("re-packed wheel", lambda b: b.file(WHEEL).write_bytes(repacked(b.file(WHEEL).read_bytes())),
         f"{WHEEL}: has another SHA-256"),
    *([Case("device", instead("README.txt", lambda p: os.mknod(p, 0o20644, os.makedev(1, 3))), "README.txt: is a dev"),
       Case("block device", instead("README.txt", lambda p: os.mknod(p, 0o60644, os.makedev(7, 0))), "is a device")]
      if ROOT else []),
]  # fmt: skip

OLDER = f"python/wheels/tiny_three-3.0-py3-none-manylinux1_{platform.machine()}.whl"
THREE = "python/wheels/tiny_three-3.0-py3-none-any.whl"
CONTENTS = [
    Case("wheel renamed to an older platform", add_wheel(OLDER, wheel(
        "tiny_three", "3.0", f"py3-none-manylinux_2_34_{platform.machine()}")), "is named for other tags than"),
    Case("wheel renamed to any platform", add_wheel(THREE, wheel(
        "tiny_three", "3.0", f"py3-none-linux_{platform.machine()}")), "is named for other tags than it was built for"),
    *(Case(f"wheel with METADATA of {inner!a}", add_wheel(THREE, wheel(
        "tiny_three", "3.0", "py3-none-any", inner_name=inner)), "not plain ASCII")
      for inner in ("tiny\u200b_three", "\u0442iny_three", "tiny three", "t\u0131ny_three")),
    *(Case(f"lock: {name}", lock_of(text), message) for name, text, message in LOCKS),
    Case("wheel without tags inside", add_wheel(THREE, wheel("tiny_three", "3.0")), "(none inside)"),
    Case("wheel of another name inside", add_wheel(THREE, wheel(
        "tiny_three", "3.0", "py3-none-any", inner_name="evil")),
         "but its METADATA says evil 3.0"),
    Case("wheel of another version inside", add_wheel(THREE, wheel("tiny_three", "2.9", "py3-none-any")),
         "is named as tiny_three 3.0, but"),
    Case("no wheel", add_wheel(THREE, b"PK\3\4 no"), f"{THREE}: cannot be read as a wheel"),
    Case("wheel with two of .dist-info", add_wheel(THREE, wheel(
        "tiny_three", "3.0", "py3-none-any", extra={"x-1.dist-info/METADATA": b""})), "2 .dist-info folders"),
    Case("wheel that leads outside", add_wheel(THREE, wheel(
        "tiny_three", "3.0", "py3-none-any", extra={"../../x.pth": b""})), "'../../x.pth', which leads out of it"),
    Case("auto_map", add(f"{MODEL}/config.json", b'{"auto_map": {"AutoModel": "x.Y"}}'), "has auto_map"),
    Case("auto_map, deep", add(f"{MODEL}/tokenizer_config.json", b'{"a": [{"auto_map": 1}]}'), "has auto_map"),
    Case("auto_map, escaped", add(f"{MODEL}/config.json", b'{"auto\\u005fmap": 1}'), "has auto_map"),
    Case("auto_map, shadowed", add(f"{MODEL}/config.json", b'{"auto_map": {}, "auto_map": null}'), "has auto_map"),
    *(Case(f"index that names {file}", add(f"{MODEL}/{name}.index.json", json.dumps(
        {"weight_map": {"w": "model.safetensors", "x": file}}).encode()), "than files of weights beside it")
      for name, file in (("model.safetensors", "../x@1/model.safetensors"), ("model.safetensors", "pytorch_model.bin"),
                         ("pytorch_model.bin", "/etc/x.bin"), ("model.safetensors", ".safetensors"),
                         ("model.safetensors", ["model.safetensors"]))),
    *(Case(f"kernels of a repository: {key}", add(f"{MODEL}/config.json", json.dumps(value).encode()), f"has {key},")
      for key, value in (("attn_implementation", {"attn_implementation": "someone/kernels"}),
                         ("_attn_implementation", {"text": {"_attn_implementation": "someone/kernels:f"}}),
                         ("experts_implementation", {"experts_implementation": {"": "a/b@v1"}}))),
    Case("config that is no JSON", add(f"{MODEL}/config.json", b"\x80\x04."), "config.json: is not JSON"),
    Case("pickle as safetensors", add(f"{MODEL}/model.safetensors", b"\x80\x04\x95" + bytes(40)), "is a pickle, an"),
    Case("safetensors cut", add(f"{MODEL}/model.safetensors", safetensors(tensors=b"")), "is not a whole safetensors"),
    Case("safetensors of a list", add(f"{MODEL}/model.safetensors", safetensors(header=b"[]")), "cannot be read"),
    Case("pickle as gguf", add(f"{MODEL}/model.gguf", b"\x80\x04\x95"), "is a pickle, an archive or HDF5"),
]  # fmt: skip

GROUPS = {"signature": SIGNATURES, "form": FORMS, "machine": MACHINES, "files": FILES, "contents": CONTENTS}
