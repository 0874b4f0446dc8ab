"""What a model's files say of themselves, read strictly: weights that are none, cut or crafted, and asked-for code.

Standard library only, for Python 3.6: from the ruled line on, bundle/verifier/verify.py has the same text, since it
travels alone. A test compares the two.
"""

# ruff: noqa: UP006, UP035

import json
import re
import struct
from typing import Any, Dict, Iterable, List, Set, Tuple

__all__ = [
    "Unusable",
    "asks_for_code",
    "foreign_problem",
    "gguf_header",
    "gguf_problem",
    "json_problem",
    "model_content_problem",
    "safetensors_problem",
]


class Unusable(Exception):
    """A file cannot be used; the message is the reason, without the file's name."""


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
