"""Labels of students together, and soft ones, without those of which the students are unsure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentences import sentence
from studying import write_config
from test_committee import AGAIN, LABELLERS, SENTENCES, weights
from tiny_training import TINY, selected_and_trained, training_settings

from distill_offline.errors import InputError
from distill_offline.label_kinds import kind_of
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.schema import Example
from distill_offline.study import Study
from distill_offline.train.committee import labelled_together
from distill_offline.train.soft_labels import SoftExample, SoftStudent
from distill_offline.train.stage import distilled_pool
from distill_offline.train.sure_labels import hardened, without_unsure

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")


def tagged(text: str, *tags: tuple[str, float]) -> SoftExample:
    """A sentence whose tokens have these tags, each so probable; what is left is shared by the other tags."""
    shares = np.empty((len(tags), len(TAGS)), np.float32)
    for row, (tag, share) in zip(shares, tags, strict=True):
        row[:] = (1 - share) / (len(TAGS) - 1)
        row[TAGS.index(tag)] = share
    return SoftExample(sentence(text), tuple(tag for tag, _ in tags), "distilled", shares=shares)


def classed(labels: tuple[str, ...], shares: list[list[float]]) -> SoftExample:
    return SoftExample(SENTENCES[0], labels, "distilled", shares=np.array(shares, np.float32))


def test_an_entity_is_masked_whole_if_one_of_its_tags_is_unsure() -> None:
    tags = kind_of("token-classification")
    given = [
        tagged("Anna Smith of Acme left", ("B-PER", 0.95), ("I-PER", 0.7), ("O", 0.99), ("B-ORG", 0.9), ("O", 0.6)),
        tagged("Rain again", ("O", 0.8), ("O", 0.99)),
        tagged("Acme", ("B-ORG", 0.79)),
    ]
    found, counts = without_unsure(tags, TAGS, given, 0.8)
    assert [example.masked for example in found] == [(0, 1, 4), (), (0,)]
    assert counts == {"distilled_spans_unsure": 2, "distilled_tokens_unsure": 4}
    assert all(np.array_equal(a.shares, b.shares) for a, b in zip(found, given, strict=True))
    assert without_unsure(tags, TAGS, given, 0.5)[1].get("distilled_tokens_unsure", 0) == 0


def test_a_text_is_left_out_if_one_of_its_classes_is_unsure() -> None:
    names = ("sport", "trade")
    one = [classed(("sport",), [[0.9, 0.1]]), classed(("trade",), [[0.4, 0.6]])]
    found, counts = without_unsure(kind_of("sequence-classification"), names, one, 0.8)
    assert (list(found), counts) == (one[:1], {"distilled_texts_unsure": 1})
    several = [
        classed(("sport", "trade"), [[0.1, 0.9], [0.3, 0.7]]),
        classed(("trade",), [[0.6, 0.4], [0.05, 0.95]]),
        classed((), [[0.55, 0.45], [0.6, 0.4]]),  # nothing is said of it
    ]
    kind = kind_of("multi-label-classification")
    found, counts = without_unsure(kind, names, several, 0.8)
    assert (list(found), counts) == (several[1:], {"distilled_texts_unsure": 1})
    with pytest.raises(
        InputError, match=r"no text is left with classes of at least 0\.99\. Set min_label_confidence lower"
    ):
        without_unsure(kind, names, several[:2], 0.99)
    assert without_unsure(kind, names, [], 0.99) == ((), {})


def test_nothing_is_learnt_from_a_masked_token_and_the_others_keep_their_own_rows(encoder: Path) -> None:
    given = tagged(
        "Anna Smith of Acme left", *[("B-PER", 0.9), ("I-PER", 0.5), ("O", 0.99), ("B-ORG", 0.9), ("O", 0.9)]
    )
    (masked,), _ = without_unsure(kind_of("token-classification"), TAGS, [given], 0.8)
    student = SoftStudent.create(encoder, TAGS, "token-classification")
    ((window,),) = student.encode([masked])
    shares = student.batch([window])["shares"][0].numpy()
    at = {word: position for position, word in reversed(list(enumerate(window.words))) if word is not None}
    assert not shares[[at[0], at[1]]].any()
    assert np.array_equal(shares[[at[2], at[3], at[4]]], given.shares[2:])
    (plain,) = hardened([masked])
    assert type(plain) is Example
    assert (plain.labels, plain.masked, plain.sentence) == (given.labels, (0, 1), given.sentence)


@pytest.mark.parametrize(("labellers", "soft"), [(None, True), (2, True), (2, False)])
def test_an_arm_learns_from_what_its_labellers_are_sure_of(
    encoder: Path, tmp_path: Path, labellers: int | None, soft: bool
) -> None:
    again, said = {**AGAIN, "labellers": labellers, "soft_labels": soft}, list[str]()
    given = training_settings(encoder, **{**TINY, "arms": [again, LABELLERS], "seeds": 1})
    selected_and_trained(tmp_path / "run", given)
    before = weights(tmp_path / "run", "again")
    names, folder = ("simple_mix", "simple_mix-2")[: labellers or 1], RunFolder(tmp_path / "run", given)
    pool, _ = labelled_together(folder, names, distilled_pool(folder), soft=True)
    place = {tag: number for number, tag in enumerate(make_task(given).labels)}
    shares = [
        float(row[place[tag]])
        for example in pool
        if isinstance(example, SoftExample)
        for row, tag in zip(example.shares, example.labels, strict=True)
    ]
    least = round(float(np.quantile(shares, 0.1)), 6)
    sure = training_settings(
        encoder, **{**TINY, "arms": [{**again, "min_label_confidence": least}, LABELLERS], "seeds": 1}
    )
    counts = selected_and_trained(tmp_path / "run", sure, say=said.append)["again"]
    unsure, spans = counts["distilled_tokens_unsure"], counts.get("distilled_spans_unsure", 0)
    assert len(shares) > unsure >= sum(share < least for share in shares) > 0
    who = "simple_mix and simple_mix-2 are" if labellers else "simple_mix is"
    told = f"less sure than {least:g} of {spans} entities and, with these, {unsure} of {len(shares)} tokens"
    assert f"train: {who} {told}: not learnt from" in said
    assert weights(tmp_path / "run", "again") != before


def test_how_sure_labellers_must_be_is_part_of_what_a_cell_is(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: dict[str, Any] = {"name": "again", "schedule": "union", "labelled_by": "union", "labellers": 2}
    config = write_config(tmp_path / "small.yaml", encoder, seeds=[0])

    def key(**changes: Any) -> str:
        arm = ", ".join(f"{name}: {value}" for name, value in {**again, **changes}.items())
        study = Study.load(config, [f"train.arms=[{{name: original_only}}, {{name: union}}, {{{arm}}}]"])
        return study.key(study.cells[2])

    def keys() -> list[str]:
        return [
            key(),
            key(min_label_confidence=0.5),
            key(min_label_confidence=0.7),
            key(soft_labels="true"),
            key(soft_labels="true", min_label_confidence=0.7),
        ]

    before = keys()
    assert len(set(before)) == 5
    monkeypatch.setattr("distill_offline.study.grid.digest_of_modules", lambda modules: f"of other code {modules}")
    after = keys()
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before)
