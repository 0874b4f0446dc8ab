"""Model files made byte by byte, sound ones and others."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any


def safetensors(
    tensors: dict[str, Any] | None = None, *, header: bytes | None = None, data: bytes | None = None
) -> bytes:
    """A safetensors file of float32 tensors, name → shape; `header` and `data` replace what would follow from them."""
    described, at = {}, 0
    for name, shape in ({"w": [2]} if tensors is None else tensors).items():
        size = 4
        for each in shape:
            size *= each
        described[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(described).encode() if header is None else header
    return struct.pack("<Q", len(header)) + header + (bytes(at) if data is None else data)


def tensor(begin: int, end: int, shape: Sequence[Any] = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def gguf_tensor(name: str, offset: int = 0, shape: Sequence[int] = (8,), kind: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


KEYS = (
    key("general.architecture", 8, text("llama")),
    key("llama.context_length", 4, struct.pack("<I", 2048)),
    key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("ü")),
    key("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
    key("tokenizer.ggml.add_bos", 7, b"\x01"),
)
TENSORS = (gguf_tensor("a.weight"), gguf_tensor("b.weight", 32))


def gguf(
    keys: Sequence[bytes] = KEYS,
    tensors: Sequence[bytes] = TENSORS,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: bytes = bytes(64),
    alignment: int = 32,
) -> bytes:
    """A GGUF file; `counts` (tensors, keys) replaces how many there are."""
    numbers = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def _weights(header: Any, data: bytes = b"") -> bytes:
    return safetensors(header=header if isinstance(header, bytes) else json.dumps(header).encode(), data=data)


_W = b'"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
_DEEP = 100_000

# What is refused: title → (file name, content, what the message says).
BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("m.safetensors", b"", "is empty"),
    "zeros": ("m.gguf", bytes(500), "nothing but zero bytes"),
    "LFS pointer": (
        "m.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 90\n",
        "is a Git LFS pointer",
    ),
    "LFS pointer as gguf": ("m.GGUF", b"version https://git-lfs.github.com/spec/v1\r\n", "is a Git LFS pointer"),
    "LFS pointer as vocabulary": ("vocab.txt", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "LFS pointer as tokenizer": ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "annex pointer": ("m.gguf", b"/annex/objects/SHA256E-s9--00.gguf\n", "is a git-annex pointer"),
    "web page": ("m.safetensors", b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    "web page in XML": ("m.gguf", b"<?xml version='1.0'?><Error/>", "is a web page"),
    "web page as configuration": ("config.json", b"<html>login</html>", "is a web page"),
    "error in JSON": ("m.safetensors", b'{"error": "Entry not found"}', "not a safetensors file: no header"),
    "zip": ("m.safetensors", b"PK\3\4" + bytes(90), "is a pickle, an archive or HDF5"),
    "pickle": ("m.gguf", b"\x80\x02}q\0.", "is a pickle, an archive or HDF5"),
    "gzip": ("m.gguf", b"\x1f\x8b\x08" + bytes(90), "is compressed"),
    "other way round": ("m.safetensors", gguf(), "is a GGUF file under another name"),
    "other way round, gguf": ("m.gguf", safetensors(), "does not start as one does"),
    "cut in the length": ("m.safetensors", safetensors()[:7], "no header"),
    "cut in the header": ("m.safetensors", safetensors()[:20], "it ends within its header"),
    "cut in the tensors": ("m.safetensors", safetensors()[:-1], "cut short, 1 bytes are missing"),
    "grown": ("m.safetensors", safetensors() + b"code", "4 bytes follow them"),
    "blanks for a header": ("m.safetensors", _weights(b"{" + _W + b"}" + b" " * 5000, bytes(8)), "padded with blanks"),
    "blanks inside": ("m.safetensors", _weights(b"{" + b" " * 5000 + _W + b"}", bytes(8)), "cannot be read"),
    "90 MB of header": ("m.safetensors", struct.pack("<Q", 90 << 20) + b"{" + _W + b"}", "no header, or one of more"),
    "deep JSON": ("m.safetensors", _weights(b'{"w": ' + b"[" * _DEEP), "cannot be read"),
    "deep closed JSON": ("m.safetensors", _weights(b'{"w":' * 5000 + b"1" + b"}" * 5000), "cannot be read"),
    "no tensors": ("m.safetensors", _weights(b"{}"), "it has no tensors"),
    "metadata alone": ("m.safetensors", _weights({"__metadata__": {"format": "pt"}}), "it has no tensors"),
    "a list": ("m.safetensors", _weights([1]), "cannot be read"),
    "name twice": ("m.safetensors", _weights(b"{" + _W + b"," + _W + b"}", bytes(8)), "the name 'w' twice"),
    "name twice, escaped": (
        "m.safetensors",
        _weights(b"{" + _W + b"," + _W.replace(b"w", b"\\u0077", 1) + b"}", bytes(8)),
        "the name 'w' twice",
    ),
    "key twice": (
        "m.safetensors",
        _weights(b'{"w": {"dtype": "F32", "dtype": "F32", "data_offsets": [0, 8]}}', bytes(8)),
        "not described by",
    ),
    "key more": (
        "m.safetensors",
        _weights(b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "x": 1}}', bytes(8)),
        "cannot be read",
    ),
    "half a character": ("m.safetensors", _weights({"\ud800": tensor(0, 8)}, bytes(8)), "cannot be read"),
    "not UTF-8": ("m.safetensors", _weights(b"{" + _W.replace(b"w", b"\xff", 1) + b"}", bytes(8)), "not UTF-8"),
    "unknown type": ("m.safetensors", _weights({"w": tensor(0, 8, dtype="F31")}, bytes(8)), "unknown type F31"),
    "negative dimension": ("m.safetensors", _weights({"w": tensor(0, 8, [-1, -2])}, bytes(8)), "cannot be read"),
    "dimension of a fraction": ("m.safetensors", _weights({"w": tensor(0, 8, [2.0])}, bytes(8)), "cannot be read"),
    "dimension as text": ("m.safetensors", _weights({"w": tensor(0, 8, ["2"])}, bytes(8)), "cannot be read"),
    "true as dimension": ("m.safetensors", _weights({"w": tensor(0, 4, [True])}, bytes(4)), "cannot be read"),
    "shape that overflows": ("m.safetensors", _weights({"w": tensor(0, 8, [1 << 40, 1 << 40])}), "impossible"),
    "shape of zero that overflows": (
        "m.safetensors",
        _weights({"w": tensor(0, 0, [1 << 40, 1 << 40, 0])}),
        "impossible",
    ),
    "other size": ("m.safetensors", _weights({"w": tensor(0, 8, [3])}, bytes(8)), "other bytes than its shape"),
    "end before begin": ("m.safetensors", _weights({"w": tensor(8, 0)}, bytes(8)), "other bytes than its shape"),
    "half a byte": ("m.safetensors", _weights({"w": tensor(0, 1, [1], "F4")}, bytes(1)), "other bytes than its shape"),
    "hole": ("m.safetensors", _weights({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)), "leave a hole"),
    "hole in front": ("m.safetensors", _weights({"a": tensor(4, 12)}, bytes(12)), "leave a hole"),
    "overlap": ("m.safetensors", _weights({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "tensors overlap"),
    "metadata of numbers": ("m.safetensors", _weights({"__metadata__": {"a": 1}, "w": tensor(0, 8)}, bytes(8)), "read"),
    "metadata nested": ("m.safetensors", _weights({"__metadata__": {"a": {}}, "w": tensor(0, 8)}, bytes(8)), "read"),
    "metadata of nothing": ("m.safetensors", _weights({"__metadata__": None, "w": tensor(0, 8)}, bytes(8)), "read"),
    "metadata twice": (
        "m.safetensors",
        _weights(b'{"__metadata__": {}, "__metadata__": {}, ' + _W + b"}", bytes(8)),
        "'__metadata__' twice",
    ),
    "text behind the header": ("m.safetensors", _weights(b"{" + _W + b"} x", bytes(8)), "something follows its header"),
    "comma at the end": ("m.safetensors", _weights(b"{" + _W + b",}", bytes(8)), "cannot be read"),
    "gguf cut in the counts": ("m.gguf", gguf()[:20], "is cut short"),
    "gguf cut in a key": ("m.gguf", gguf()[:-len(bytes(64)) - 110], "is cut short"),
    "gguf cut in the tensors": ("m.gguf", gguf()[:-1], "1 bytes are missing"),
    "gguf grown": ("m.gguf", gguf() + b"code", "4 bytes follow its tensors"),
    "gguf of version 1": ("m.gguf", gguf(version=1), "of a version other than"),
    "gguf big-endian": ("m.gguf", gguf(version=3 << 24), "or big-endian"),
    "gguf of too many keys": ("m.gguf", gguf(counts=(2, 1 << 60)), "announces more"),
    "gguf of too many tensors": ("m.gguf", gguf(counts=(1 << 60, 5)), "announces more"),
    "gguf without tensors": ("m.gguf", gguf(tensors=[], data=b""), "without tensors"),
    "gguf list of lists": ("m.gguf", gguf([key("x", 9, struct.pack("<IQ", 9, 1) * _DEEP)]), "a list of lists"),
    "gguf list beyond the end": ("m.gguf", gguf([key("x", 9, struct.pack("<IQ", 0, 1 << 62))]), "cut short"),
    "gguf texts beyond the end": ("m.gguf", gguf([key("x", 9, struct.pack("<IQ", 8, 1 << 62))]), "cut short"),
    "gguf text beyond the end": ("m.gguf", gguf([key("x", 8, struct.pack("<Q", 1 << 62))]), "cut short"),
    "gguf unknown value": ("m.gguf", gguf([key("x", 13, bytes(8))]), "value type 13"),
    "gguf unknown list": ("m.gguf", gguf([key("x", 9, struct.pack("<IQ", 99, 1))]), "value type 99"),
    "gguf truth of 2": ("m.gguf", gguf([key("x", 7, b"\2")]), "neither 0 nor 1"),
    "gguf key twice": ("m.gguf", gguf([*KEYS, KEYS[0]]), "the key 'general.architecture' twice"),
    "gguf key without a name": ("m.gguf", gguf([key("", 7, b"\0")]), "a key of 0 bytes"),
    "gguf key too long": ("m.gguf", gguf([key("x" * 65_536, 7, b"\0")]), "a key of 65536 bytes"),
    "gguf key that is no text": ("m.gguf", gguf([text(b"\xff") + struct.pack("<I", 7) + b"\0"]), "a key that is not"),
    "gguf alignment of 24": ("m.gguf", gguf([key("general.alignment", 4, struct.pack("<I", 24))]), "no power of two"),
    "gguf alignment of 0": ("m.gguf", gguf([key("general.alignment", 4, bytes(4))]), "no power of two"),
    "gguf alignment as text": ("m.gguf", gguf([key("general.alignment", 8, text("32"))]), "no power of two"),
    "gguf tensor twice": ("m.gguf", gguf(tensors=[TENSORS[0], gguf_tensor("a.weight", 32)]), "'a.weight' twice"),
    "gguf tensor's long name": ("m.gguf", gguf(tensors=[gguf_tensor("x" * 64)]), "a tensor's name of 64 bytes"),
    "gguf no dimension": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=())]), "of 0 dimensions"),
    "gguf five dimensions": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=(1,) * 5)]), "of 5 dimensions"),
    "gguf dimension of 0": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=(0, 4))]), "an impossible shape"),
    "gguf shape that overflows": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=(1 << 40, 1 << 40))]), "impossible"),
    "gguf half a block": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=(16, 2), kind=2)]), "an impossible shape"),
    "gguf unknown type": ("m.gguf", gguf(tensors=[gguf_tensor("a", kind=4)]), "unknown type 4"),
    "gguf overlap": ("m.gguf", gguf(tensors=[TENSORS[0], gguf_tensor("b")]), "elsewhere than behind"),
    "gguf hole": ("m.gguf", gguf(tensors=[TENSORS[0], gguf_tensor("b", 64)], data=bytes(96)), "elsewhere than behind"),
    "gguf not aligned": ("m.gguf", gguf(tensors=[gguf_tensor("a", shape=(3,)), gguf_tensor("b", 12)]), "elsewhere"),
    "configuration cut": ("config.json", b'{"model_type": "bert"', "is not JSON"),
    "configuration of blanks": ("config.json", b" \n", "nothing but zero bytes or blanks"),
    "configuration as a list": ("config.json", b"[]", "is JSON, but not an object"),
    "configuration in UTF-16": ("config.json", '{"a": "b"}'.encode("utf-16"), "is not JSON in UTF-8"),
    "configuration in Latin-1": ("config.json", '{"a": "ü"}'.encode("latin-1"), "is not JSON in UTF-8"),
    "configuration with a BOM": ("config.json", b"\xef\xbb\xbf{}", "is not JSON"),
    "deep configuration": ("config.json", b'{"a":' + b"[" * _DEEP, "more than 64 levels"),
    "endless number": ("config.json", b'{"a": ' + b"1" * 1_000_000 + b"}", "is not JSON"),
    "key twice in a configuration": ("tokenizer_config.json", b'{"a": [{"b": 1, "b": 2}]}', "has the key 'b' twice"),
    "auto_map": ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}}', "has auto_map"),
    "auto_map, nested": ("generation_config.json", b'{"a": [[{"auto_map": 1}]]}', "has auto_map"),
    "auto_map, shadowed": ("config.json", b'{"auto_map": {"A": "x.Y"}, "auto_map": null}', "has auto_map"),
    "auto_map, shadowed from above": ("config.json", b'{"t": {"auto_map": {}}, "t": 1}', "has the key 't' twice"),
    "auto_map, escaped": ("preprocessor_config.json", b'{"auto\\u005fmap": 1}', "has auto_map"),
    "pipelines": ("config.json", b'{"custom_pipelines": {"x": {"impl": "y.Z"}}}', "has custom_pipelines"),
    "trust": ("adapter_config.json", b'{"trust_remote_code": true}', "has trust_remote_code"),
}  # fmt: skip

GOOD: dict[str, tuple[str, bytes]] = {
    "one tensor": ("m.safetensors", safetensors()),
    "a scalar, nothing, and more": ("m.safetensors", safetensors({"a": [], "b": [0, 3], "c": [2, 3], "d": [0]})),
    "metadata": ("m.safetensors", _weights({"__metadata__": {"format": "pt", "x": '"\\}{'}, "w": tensor(0, 0, [0])})),
    "metadata without content": ("m.safetensors", _weights({"__metadata__": {}, "w": tensor(0, 8)}, bytes(8))),
    "metadata behind": ("m.safetensors", _weights({"w": tensor(0, 8), "__metadata__": {"a": "b"}}, bytes(8))),
    "other order": ("m.safetensors", _weights({"b": tensor(8, 16), "a": tensor(0, 8)}, bytes(16))),
    "compact, and padded": ("m.safetensors", _weights(b"{" + _W.replace(b" ", b"") + b"}" + b" " * 7, bytes(8))),
    "names of many kinds": ("m.safetensors", _weights({'ü "\\ \n': tensor(0, 8), "": tensor(8, 16)}, bytes(16))),
    "half precision": ("m.safetensors", _weights({"w": tensor(0, 4, dtype="BF16")}, bytes(4))),
    "header of 640 bytes": ("m.safetensors", _weights(b"{" + _W + b"}" + b" " * (640 - len(_W) - 2), bytes(8))),
    "two tensors": ("m.gguf", gguf()),
    "version 2": ("m.gguf", gguf(version=2)),
    "aligned to 64": (
        "m.gguf",
        gguf(
            [*KEYS, key("general.alignment", 4, struct.pack("<I", 64))],
            [gguf_tensor("a", 0, (3, 2)), gguf_tensor("b", 64, (32,), 8)],
            alignment=64,
            data=bytes(64 + 34),
        ),
    ),
    "padded at the end": ("m.gguf", gguf(tensors=[gguf_tensor("a", 0, (3,))], data=bytes(32))),
    "a part without tensors": ("m.gguf", gguf([*KEYS, key("split.count", 2, struct.pack("<H", 2))], [], data=b"")),
    "configuration": ("config.json", b'{"model_type": "bert", "eps": 1e-12, "trust_remote_code": false, "x": NaN}'),
    "a list of sizes": ("data_config.json", b"[]"),
    "a vocabulary with any word": ("vocab.json", b'{"auto_map": 5, "trust_remote_code": 6}'),
    "a page as template": ("chat_template.jinja", b"<!-- {{ messages }} -->"),
}  # fmt: skip
