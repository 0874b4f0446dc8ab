"""model_headers: what is none is refused with its reason, what passes loads in the formats' own libraries."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from crafted_models import BAD, GOOD, KEYS, TENSORS, gguf, safetensors

from distill_offline.bundle.verifier import verify
from distill_offline.models import headers as model_headers

READERS = [pytest.param(model_headers, id="package"), pytest.param(verify, id="verifier")]
RULE = "# " + "-" * 100 + " model headers\n"


def problem(name: str, content: bytes, reader: ModuleType = model_headers) -> str:
    found = reader.model_content_problem(io.BytesIO(content), name, len(content))
    assert isinstance(found, str)
    return found


def text_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text("utf-8").partition(RULE)[2].partition("\n# -----")[0].rstrip()


def test_the_verifier_reads_headers_as_the_package_does() -> None:
    assert text_of(verify) == text_of(model_headers)
    assert "def model_content_problem" in text_of(verify)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("title", BAD)
@pytest.mark.attack("bad model files")
def test_what_is_no_model_file_is_refused_with_its_reason(title: str, reader: ModuleType) -> None:
    name, content, message = BAD[title]
    found = problem(name, content, reader)
    assert message in found
    assert len(found) < 200


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("title", GOOD)
def test_sound_file_passes(title: str, reader: ModuleType) -> None:
    assert problem(*GOOD[title], reader) == ""


def loads(name: str, content: bytes, folder: Path) -> bool:
    """Whether the format's own library takes the file, whole."""
    path = folder / name
    path.write_bytes(content)
    if name.endswith(".gguf"):
        import numpy

        try:
            reader = pytest.importorskip("gguf").GGUFReader(path)
            return all(isinstance(each.data, numpy.ndarray) for each in reader.tensors)
        except (ValueError, KeyError, IndexError, OverflowError, TypeError, MemoryError):
            return False
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as opened:
            return all(opened.get_slice(key).get_shape() is not None for key in opened.keys())  # noqa: SIM118
    except SafetensorError:
        return False


@pytest.mark.parametrize("title", [title for title, (name, _) in GOOD.items() if name.startswith("m.")])
def test_sound_file_loads_in_its_library(title: str, tmp_path: Path) -> None:
    assert loads(*GOOD[title], tmp_path)


def changed(content: bytes, draw: random.Random) -> bytes:
    """The content with a few bytes changed, put in, taken out, or moved; most often in its header."""
    raw = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        place = draw.randrange(len(raw))
        match draw.randrange(6):
            case 0:
                raw[place] = draw.randrange(256)
            case 1:
                raw[place] ^= 1 << draw.randrange(8)
            case 2:
                raw[place:place] = draw.choice((b"[", b"{", b"}", b'"', b" ", b"0", b"-", b",", b"\xff" * 8, bytes(8)))
            case 3:
                del raw[place : place + draw.choice((1, 4, 8, 32))]
            case 4:
                raw[place : place + 8] = draw.choice((0, 1, 2**31, 2**62, 2**63, 2**64 - 1)).to_bytes(8, "little")
            case _:
                other = draw.randrange(len(raw))
                raw[place:place] = raw[other : other + draw.choice((8, 24, 60))]
        if not raw:
            return b""
    return bytes(raw)


def test_whatever_is_changed_in_a_file_what_passes_loads(tmp_path: Path) -> None:
    draw, passed = random.Random(7), 0
    seeds = [(name, content) for name, content in GOOD.values() if name.startswith("m.")]
    for turn in range(3000):
        name, content = seeds[turn % len(seeds)]
        mutant = changed(content, draw)
        if not problem(name, mutant):
            passed += 1
            assert loads(name, mutant, tmp_path), mutant
    assert 100 < passed < 2500


def test_what_the_writers_of_the_libraries_make_passes(tmp_path: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    arrays = {f"layer.{i}.weight": numpy.ones((i, 7), numpy.float16) for i in range(1, 30)}
    save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "np"})
    writer = pytest.importorskip("gguf").GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_token_list([f"<{i}>" for i in range(300)])
    writer.add_array("scores", [0.5] * 300)
    writer.add_bool("yes", True)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in ("m.safetensors", "m.gguf"):
        assert problem(name, (tmp_path / name).read_bytes()) == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.safetensors", safetensors(header=b'{"w": "' + b"\\n" * 4_000_000, data=b"")),
        ("m.safetensors", safetensors(header=b'{"w": {"dtype": "F32", "shape": [' + b"0," * 4_000_000, data=b"")),
        ("m.safetensors", safetensors(header=b'{"__metadata__": {' + b'"a": "b", ' * 800_000, data=b"")),
        ("config.json", b'{"a": [' + b"[]," * 2_500_000 + b"1]}"),
        ("config.json", b'{"a": "' + b'\\"' * 4_000_000),
        ("config.json", b" " * (17 << 20)),
    ],
    ids=["escapes", "dimensions", "metadata", "lists", "quotes", "blanks"],
)
@pytest.mark.slow
def test_a_header_made_to_cost_much_costs_little(name: str, content: bytes) -> None:
    tracemalloc.start()
    try:
        assert problem(name, content)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


@pytest.mark.attack("bad model files")
def test_a_configuration_of_nothing_but_quotes_is_refused_before_it_is_parsed() -> None:
    found = problem("config.json", b'{"a": [' + b'"",' * 1_000_001 + b"1]}")
    assert found == "is JSON of more than 1000000 texts"


def test_wanted_values_of_a_gguf_header_are_given() -> None:
    content = gguf(KEYS, TENSORS)
    found = model_headers.gguf_header(io.BytesIO(content), len(content), ["general.architecture", "absent"])
    assert found == {"general.architecture": b"llama"}
