"""train.capitals: an uncased encoder tells capitals from small letters, and reads every word that it read before."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_families import tiny_family
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from sentences import sentence
from tiny_models import tiny_encoder
from tiny_training import training_settings

from distill_offline import pipeline
from distill_offline.config.settings import CrossFitSettings, TrainSettings
from distill_offline.doctor import needs
from distill_offline.errors import InputError
from distill_offline.models.casing import reads_capitals
from distill_offline.pipeline.opened import Run
from distill_offline.pipeline.run import run
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Example
from distill_offline.select.cross_fit import cross_fit
from distill_offline.student.capitals import twins, with_capitals
from distill_offline.student.model import Student
from distill_offline.train import loop
from distill_offline.train.blending import Blend, make_schedule
from distill_offline.train.stage import decides

LABELS = ("O", "B-X", "I-X")


def student(encoder: Path, *, capitals: bool = True) -> Student:
    torch.manual_seed(3)
    return Student.create(encoder, LABELS, "token-classification", capitals=capitals)


def subwords(of: Student, *words: str) -> list[str]:
    ids = of.tokenizer(list(words), is_split_into_words=True)["input_ids"][1:-1]
    found: list[str] = of.tokenizer.convert_ids_to_tokens(ids)
    return found


def test_each_subword_has_twins_with_a_capital_and_in_capitals() -> None:
    vocabulary = {"[PAD]": 0, "[unused1]": 1, "may": 2, "##ing": 3, "7": 4, "a": 5, "##a": 6, "é": 7, "ß": 8}
    found = {twin: (kind, of) for twin, kind, of in twins(vocabulary, {"[PAD]"}, "##")}
    assert found == {
        "May": ("capital", "may"),
        "MAY": ("capitals", "may"),
        "##ING": ("capitals", "##ing"),
        "A": ("capital", "a"),
        "##A": ("capitals", "##a"),
        "É": ("capital", "é"),
        "ẞ": ("capital", "ß"),
    }


def test_text_is_cut_where_it_was_and_twins_differ_by_one_direction_a_kind(encoder: Path) -> None:
    before, now = student(encoder, capitals=False), student(encoder)
    words = ["pump", "Pump", "PUMP", "zzq", "Zzq", "ZZQ", "P-204"]
    cut = subwords(now, *words)
    assert [piece.lower() for piece in cut] == subwords(before, *words)
    assert cut[:3] == ["pump", "Pump", "PUMP"]
    assert cut[3:12] == ["z", "##z", "##q", "Z", "##z", "##q", "Z", "##Z", "##Q"]
    table, number = now.model.get_input_embeddings().weight.detach(), now.tokenizer.convert_tokens_to_ids
    rows = len(before.model.get_input_embeddings().weight)
    assert torch.equal(table[:rows], before.model.get_input_embeddings().weight)
    capital = table[number("Pump")] - table[number("pump")]
    capitals = table[number("PUMP")] - table[number("pump")]
    assert torch.allclose(capital, table[number("Valve")] - table[number("valve")], atol=1e-6)
    assert torch.allclose(capitals, table[number("##Q")] - table[number("##q")], atol=1e-6)
    assert abs(float(capital @ capitals)) < 0.9 * float(capital.norm() * capitals.norm())
    assert float(capital.norm()) == pytest.approx(0.5 * float(table[:rows].norm(dim=1).median()), rel=1e-4)
    assert torch.equal(now.model.classifier.weight, before.model.classifier.weight)  # a seed draws the same head


def test_small_letters_are_read_as_before(encoder: Path) -> None:
    before, now = student(encoder, capitals=False), student(encoder)
    small = [sentence("the pump in hall 3 has failed")]
    for old, new in zip(before.scored(small), now.scored(small), strict=True):
        assert torch.allclose(torch.tensor(old.scores), torch.tensor(new.scores), atol=1e-6)


@pytest.fixture(scope="module")
def both(encoder: Path) -> tuple[Student, Student]:
    return student(encoder, capitals=False), student(encoder)


@trying(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_no_word_is_unknown_that_was_known(both: tuple[Student, Student], word: str) -> None:
    before, now = both
    if "[UNK]" not in subwords(before, word):
        assert "[UNK]" not in subwords(now, word)


@pytest.mark.parametrize("word", ["McDonald", "iPhone", "USAir", "ÉCOLE", "STRASSE", "İzmir", "K2", "ǅ"])
def test_capitals_anywhere_and_of_any_alphabet(both: tuple[Student, Student], word: str) -> None:
    before, now = both
    known = "[UNK]" not in subwords(before, word)
    assert ("[UNK]" not in subwords(now, word)) >= known


def test_it_is_a_plain_model_of_transformers_that_loads_as_it_was_saved(encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    made = student(encoder)
    made.save(tmp_path)
    again = Student.load(tmp_path)
    given_ = [sentence("Pump pump PUMP Zürich zürich McDonald")]
    assert [w.ids for w in made._encode(given_)[0]] == [w.ids for w in again._encode(given_)[0]]
    assert torch.allclose(torch.tensor(made.scored(given_)[0].scores), torch.tensor(again.scored(given_)[0].scores))
    plain = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path, local_files_only=True)
    ids = plain("Pump pump PUMP", return_tensors="pt")
    assert plain.convert_ids_to_tokens(ids["input_ids"][0]) == ["[CLS]", "Pump", "pump", "PUMP", "[SEP]"]
    assert model(**ids).logits.shape == (1, 5, 3)
    # A student as the next one's encoder: it has its capitals, and gets no others.
    assert len(student(tmp_path).model.get_input_embeddings().weight) == len(made.model.get_input_embeddings().weight)


def changed(encoder: Path, core: dict[str, Any], rows: int = 0) -> Path:
    """The encoder with another tokenizer.json, and so many rows more in its table."""
    from transformers import AutoModel

    (encoder / "tokenizer.json").write_text(json.dumps(core), encoding="utf-8")
    if rows:
        model = AutoModel.from_pretrained(encoder)
        model.resize_token_embeddings(len(model.get_input_embeddings().weight) + rows)
        model.save_pretrained(encoder)
    return encoder


def test_the_turkish_capital_i_is_known_where_accents_stay(tmp_path: Path) -> None:
    core = json.loads((tiny_encoder(tmp_path) / "tokenizer.json").read_text("utf-8"))
    core["normalizer"]["strip_accents"] = False
    vocabulary = core["model"]["vocab"]
    first = len(vocabulary)
    vocabulary |= {
        "##\u0307": first,
        "i\u0307zmir": first + 1,
    }  # as \u0130zmir is in small letters: the point stands alone
    changed(tmp_path, core, rows=2)
    before, now = student(tmp_path, capitals=False), student(tmp_path)
    assert subwords(before, "\u0130zmir", "\u0130n") == ["i\u0307zmir", "i", "##\u0307", "##n"]
    assert subwords(now, "\u0130zmir", "\u0130n", "\u0130ZM\u0130R") == [
        "\u0130zmir", "\u0130", "##n", "\u0130", "##Z", "##M", "##\u0130", "##R",
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [0, 3, 40], ids=["no rows for added ones", "their rows", "more rows than subwords"])
@pytest.mark.parametrize("normalized", [True, False])
def test_added_subwords_keep_their_rows_and_have_twins_if_text_is_lowercased_for_them(
    tmp_path: Path, rows: int, normalized: bool
) -> None:
    core = json.loads((tiny_encoder(tmp_path) / "tokenizer.json").read_text("utf-8"))
    first = len(core["model"]["vocab"])
    token = {"lstrip": False, "rstrip": False, "single_word": False}
    for number, content in enumerate(("qzsepsis", "qzstroke")):
        added = {"id": first + number, "content": content, "normalized": normalized, "special": False}
        core["added_tokens"].append(token | added)
    special = {"id": first + 2, "content": "[NOTE]", "normalized": False, "special": True}
    core["added_tokens"].append(token | special)
    changed(tmp_path, core, rows)
    before, now = student(tmp_path, capitals=False), student(tmp_path)
    numbers, old = now.tokenizer.get_vocab(), before.tokenizer.get_vocab()
    assert {piece: numbers[piece] for piece in old} == old
    assert len(set(numbers.values())) == len(numbers)
    assert max(numbers.values()) == len(now.model.get_input_embeddings().weight) - 1
    assert subwords(now, "qzstroke", "Pump", "[NOTE]") == ["qzstroke", "Pump", "[NOTE]"]
    assert (subwords(now, "Qzsepsis", "QZSEPSIS") == ["Qzsepsis", "QZSEPSIS"]) is normalized
    now.save(tmp_path / "saved")
    assert Student.load(tmp_path / "saved").tokenizer.get_vocab() == numbers


@pytest.mark.parametrize("kind", ["distilbert", "electra", "mpnet"])
def test_other_uncased_families_of_bert_have_them_too(tmp_path: Path, kind: str) -> None:
    made = student(tiny_encoder(tmp_path, kind=kind))
    assert subwords(made, "Pump", "PUMP") == ["Pump", "PUMP"]
    assert made.scored([sentence("Pump PUMP pump")])[0].scores.shape[-1] == 3


def test_a_cased_encoder_stays_as_it_is(tmp_path: Path) -> None:
    plain = student(tiny_family(tmp_path / "cased", "bert-cased"), capitals=False)
    made = student(tmp_path / "cased")
    assert reads_capitals(made.tokenizer)
    assert made.tokenizer.get_vocab() == plain.tokenizer.get_vocab()


def test_what_lowercases_otherwise_is_refused_by_name() -> None:
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    core.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Prepend("_")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    assert not reads_capitals(tokenizer)
    with pytest.raises(InputError, match=r"train\.capitals: albert lowercases all text.*Take a cased encoder"):
        with_capitals(None, tokenizer, "albert")


def test_a_run_is_refused_before_the_teacher_is_asked(tmp_path: Path) -> None:
    other = tiny_encoder(tmp_path / "other")
    core = json.loads((other / "tokenizer.json").read_text("utf-8"))
    changed(other, {**core, "normalizer": {"type": "Lowercase"}})
    folder = RunFolder(tmp_path / "run", training_settings(other, capitals=True))
    for start in (run, lambda folder: Run(folder).train(), lambda folder: pipeline.plan(folder, ["train"])):
        with pytest.raises(InputError, match=r"train\.capitals: .*other lowercases all text.*Take a cased encoder"):
            start(folder)
        assert not folder.path.exists()


def learnt(encoder: Path, *, capitals: bool) -> float:
    """The share of 100 sentences with an unseen word, once with a capital, in which that one alone is found."""
    draw = random.Random(0)
    vocabulary = student(encoder, capitals=False).tokenizer.get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
    draw.shuffle(words)

    def example(word: str) -> Example:
        pair = draw.sample([(word, "O"), (word.capitalize(), "B-X")], 2)
        given_ = sentence(f"the {pair[0][0]} and the {pair[1][0]}")
        return Example(given_, ("O", pair[0][1], "O", "O", pair[1][1]), "original")

    pool = [example(word) for word in words]
    seen, unseen = pool[:-100], pool[-100:]
    made = student(encoder, capitals=capitals)
    schedule = make_schedule("original_only", {}, tau=0.5, n_distilled=0, n_original=len(seen))
    train = TrainSettings(updates=150, batch_size=8, learning_rate=3e-3)
    loop.prepare(0)
    blend = Blend(schedule, 0, len(seen), train.updates, train.batch_size, 0)
    loop.train(made, loop.Pools((), seen, ()), blend, train, name="x", metric="entity_f1", watch=lambda _: None)
    said = made.predict([each.sentence for each in unseen])
    return sum(tuple(tags) == each.labels for tags, each in zip(said, unseen, strict=True)) / len(unseen)


def test_what_it_learns_of_capitals_holds_for_words_that_it_never_saw(encoder: Path) -> None:
    assert learnt(encoder, capitals=True) > 0.85
    assert learnt(encoder, capitals=False) < 0.6  # both words of a sentence are the same to it


def test_the_setting_decides_what_a_student_becomes_and_what_judges_labels(encoder: Path, tmp_path: Path) -> None:
    assert decides(TrainSettings(encoder="x")) != decides(TrainSettings(encoder="x", capitals=True))
    crossing = CrossFitSettings(folds=2, updates=2, batch_size=4)
    settings = training_settings(encoder, arms=[{"name": "union"}], updates=2, capitals=True)
    seen: list[Any] = []
    create = Student.create

    def spy(*arguments: Any, **options: Any) -> Student:
        seen.append(options["capitals"])
        return create(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Student, "create", spy)
        folder = RunFolder(tmp_path, replace(settings, select=replace(settings.select, cross_fit=crossing)))
        folder.open()
        cross_fit(folder)
    assert seen == [True, True]


def test_doctor_says_what_an_encoder_that_lowercases_can_be_given(encoder: Path, tmp_path: Path) -> None:
    def said(encoder: Path, *, capitals: bool) -> list[tuple[str, str]]:
        checks = needs.check_needs(training_settings(encoder, capitals=capitals))
        return [(check.status, check.detail) for check in checks if check.name == "train.capitals"]

    (offered,), (taken,) = said(encoder, capitals=False), said(encoder, capitals=True)
    assert offered == ("ok", f"{encoder} lowercases all text; train.capitals: true lets students see capitals")
    assert taken == ("ok", f"{encoder} lowercases all text; students see capitals all the same")
    assert said(tiny_family(tmp_path / "cased", "bert-cased"), capitals=True) == []
    other = tiny_encoder(tmp_path / "other")
    file = other / "tokenizer.json"
    core = json.loads(file.read_text())
    file.write_text(json.dumps({**core, "normalizer": {"type": "Lowercase"}}))
    assert said(other, capitals=False) == []
    assert said(other, capitals=True) == [("fail", f"{other} cannot be given capitals")]


def test_what_train_makes_has_capitals(encoder: Path, tmp_path: Path) -> None:
    for capitals in (True, False):
        folder = RunFolder(
            tmp_path / str(capitals),
            training_settings(encoder, arms=[{"name": "original_only"}], updates=2, capitals=capitals),
        )
        folder.open()
        pipeline.select(folder)
        pipeline.train(folder)
        made = Student.load(folder.path / "train/original_only/student")
        assert reads_capitals(made.tokenizer) is capitals
        said = [made.scored([sentence(text)])[0].scores.tolist() for text in ("Pump", "pump")]
        assert (said[0] != said[1]) is capitals
