"""People review labels: which ones, how decisions are kept, the page's server, and what is learnt from it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reviewing import GOOD, run_to_review

from distill_offline import manifest, pipeline
from distill_offline.annotations import AnnotationLine, LineValues, read_lines, write_lines
from distill_offline.cli import commands
from distill_offline.config.loading import dump
from distill_offline.corpus import read_examples, write_examples
from distill_offline.errors import InputError
from distill_offline.review.decisions import Decision, append, labels_of, latest, parse, read
from distill_offline.review.queue import Item, assigned, choose
from distill_offline.review.server import Review, application, page
from distill_offline.review.session import REVIEWED, import_reviews, open_review
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import read_gold
from distill_offline.schema import Rejection, Sentence, Span, text_digest
from distill_offline.storage.files import ANNOTATIONS

NER = "token-classification"


def sentence(number: int, document: str = "d") -> Sentence:
    return Sentence(
        f"{document}:{number}", document, number, "Ann met Bob", ("Ann", "met", "Bob"), ((0, 3), (4, 7), (8, 11))
    )


def line(
    number: int, document: str = "d", sure: float | None = None, type_: str = "PERSON", **more: Any
) -> AnnotationLine:
    return AnnotationLine(
        sentence(number, document), (f"B-{type_}", "O", "O"), (Span(0, 1, type_, sure, "exact"),), **more
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return run_to_review(tmp_path)


def ask(
    review: Review, path: str, *, token: str = "", body: Any = None, host: str = "127.0.0.1:8765"
) -> tuple[int, dict[str, str], bytes]:
    """One request to the page's server, without a socket: status, headers, body."""
    sent: list[Mapping[str, Any]] = []
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET" if body is None else "POST",
        "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"",
        "headers": [(b"host", host.encode()), (b"x-token", token.encode())], "client": None, "server": None,
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(review, ["127.0.0.1", "localhost"])(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:])


def token_of(review: Review, reviewer: str) -> str:
    return next(token for token, name in review.tokens.items() if name == reviewer)


def test_a_decision_is_on_the_disk_at_once_and_half_a_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    append(file, parse(GOOD))
    with file.open("ab") as broken:
        broken.write(b'{"id": "d:2", "rev')  # as a kill leaves it
    assert [decision.id for decision in read(file)] == ["d:1"]
    append(file, parse({**GOOD, "id": "d:3"}))
    assert [decision.id for decision in read(file)] == ["d:1", "d:3"]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"action": "approve"}, "action"),
        ({"spans": [[2, 1, "X"]]}, r"\[2, 1, 'X'\]"),
        ({"spans": [[0, None, "X"]]}, "is not"),
        ({"spans": "O"}, "lists"),
        ({"seconds": True}, "seconds"),
        ({"keys": -1}, "keys"),
        ({"reviewer": ""}, "reviewer"),
        ({"at": "yesterday"}, "no time"),
    ],
)
def test_what_is_no_decision_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, **change}) + "\n")
    with pytest.raises(InputError, match=rf"decisions.jsonl:2: .*{said}"):
        list(read(file))


def test_the_last_decision_of_a_person_counts_and_undo_takes_it_back() -> None:
    def said(reviewer: str, action: str) -> Decision:
        return parse({**GOOD, "reviewer": reviewer, "action": action})

    rows = [said("ana", "accept"), said("ben", "accept"), said("ana", "correct"), said("ben", "undo")]
    assert {key: row.action for key, row in latest(rows).items()} == {("d:1", "ana"): "correct"}


def test_the_latest_decision_counts_whichever_file_it_is_in() -> None:
    new = parse({**GOOD, "at": "2026-01-02T00:00:00Z", "action": "correct"})
    assert latest([new, parse(GOOD)])["d:1", "ana"].action == "correct"


def test_labels_follow_from_what_was_marked_for_each_kind() -> None:
    assert labels_of(NER, [(2, 3, "B"), (0, 2, "A")], 4) == ("B-A", "I-A", "B-B", "O")
    assert labels_of("sequence-classification", [(None, None, "sport")], 1) == ("sport",)
    assert set(labels_of("multi-label-classification", [(None, None, "a"), (None, None, "b")], 1)) == {"a", "b"}
    for wrong in ([(0, 2, "A"), (1, 3, "B")], [(3, 5, "A")], [(None, None, "A")]):
        with pytest.raises(ValueError, match=r"overlaps|ends behind|has no place"):
            labels_of(NER, wrong, 4)


def test_the_most_valuable_sentences_come_first_with_their_reason(tmp_path: Path) -> None:
    file = tmp_path / "annotations.jsonl"
    lines = [line(n, f"doc{n}", 0.9) for n in range(30)]
    lines[4] = line(4, "doc4", 0.2)
    lines[9] = line(9, "doc9", 0.9, rejected=(Rejection("Zed", "not_in_text"),))
    lines[12] = line(12, "doc12", 0.9, type_="PLANT")
    lines[20] = line(20, "doc20", 0.9, beside=LineValues(missed=0.7))
    write_lines(file, lines)
    chosen = choose(file, NER, 4)
    assert [item.sentence.index for item in chosen] == [4, 20, 12, 9]
    assert [item.reason for item in chosen] == [
        "the teacher is 20% sure", "an entity may be missing (70%)", "rare type PLANT",
        "1 mentions of the teacher found no place",
    ]  # fmt: skip

    def student(sentences: Any) -> list[tuple[str, ...]]:
        return [
            ("O", "O", "O") if s.index == 7 else next(x.labels for x in lines if x.sentence.id == s.id)
            for s in sentences
        ]

    assert choose(file, NER, 1, label=student)[0].reason == "teacher and student differ"
    drawn = [[item.sentence.index for item in choose(file, NER, 5, order="random", seed=seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert "doc4:4" not in {item.sentence.id for item in choose(file, NER, 30, without=frozenset(["doc4:4"]))}


def test_sentences_are_spread_over_documents(tmp_path: Path) -> None:
    file = tmp_path / "annotations.jsonl"
    write_lines(file, [line(n, "long", 0.1) for n in range(8)] + [line(n, f"short{n}", 0.15) for n in range(8, 12)])
    documents = [item.sentence.document for item in choose(file, NER, 6)]
    assert documents.count("long") == 2


def test_each_person_has_a_part_and_some_sentences_two_people() -> None:
    items = [Item(sentence(n), (), (), "teacher", 0.0, "") for n in range(10)]
    parts = assigned(items, ["ana", "ben"], 0.2)
    assert sorted(len(part) for part in parts.values()) == [6, 6]
    both = {i.sentence.id for i in parts["ana"]} & {i.sentence.id for i in parts["ben"]}
    assert len(both) == 2
    assert assigned(items, ["ana"], 1.0) == {"ana": items}


def test_the_server_gives_and_takes_only_with_a_persons_token(run: RunFolder) -> None:
    review = open_review(run, ["ana", "ben"], count=6, double=0.5)
    assert ask(review, "/data")[0] == 403
    assert ask(review, "/data", token="guess")[0] == 403
    assert ask(review, "/decisions", body={"id": "x"})[0] == 403
    assert ask(review, "/data", token=token_of(review, "ana"), host="evil.example")[0] == 400
    status, headers, body = ask(review, "/")
    assert status == 200
    assert headers["cache-control"] == "no-store"
    script = re.search(rb"<script>(.*?)</script>", body, re.S)
    assert script
    assert base64.b64encode(hashlib.sha256(script[1]).digest()) in body
    data = json.loads(ask(review, "/data", token=token_of(review, "ana"))[2])
    assert data["reviewer"] == "ana"
    assert data["guideline"] == "Names only."
    mine, item = token_of(review, "ana"), data["items"][0]
    row = {"id": item["id"], "action": "accept", "spans": item["suggested"], "seconds": 2.5, "keys": 1}
    assert ask(review, "/decisions", token=mine, body=row)[0] == 200
    (decision,) = read(review.file)
    assert (decision.reviewer, decision.action, decision.seconds) == ("ana", "accept", 2.5)
    assert "".join(item["tokens"]) not in review.file.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spans": [[0, 1, "NOBODY"]]}, "none of the types"),
        ({"spans": [[0, 999, "PERSON"]]}, "ends behind"),
        ({"id": "elsewhere:1"}, "not yours"),
        ({"action": "destroy"}, "action"),
        ({"reviewer": "ben", "spans": 7}, "lists"),
    ],
)
def test_a_bad_decision_is_refused_and_nothing_is_stored(run: RunFolder, change: dict[str, Any], said: str) -> None:
    review = open_review(run, ["ana"], count=3)
    item = review.items["ana"][0]
    row = {"id": item.sentence.id, "action": "correct", "spans": [], "seconds": 1, "keys": 1, **change}
    status, _, body = ask(review, "/decisions", token=token_of(review, "ana"), body=row)
    assert status == 422
    assert said in json.loads(body)["error"]
    assert ask(review, "/decisions", token=token_of(review, "ana"), body=b"[" * 5000)[0] == 422
    assert ask(review, "/decisions", token=token_of(review, "ana"), body=b"x" * 1_000_001)[0] == 413
    assert not review.file.exists()


def decide(review: Review, reviewer: str, number: int, **more: Any) -> None:
    item = review.items[reviewer][number]
    row = {"action": "accept", "spans": item.suggested, "seconds": 1.0, "keys": 1, **more}
    review.decide(reviewer, {"id": item.sentence.id, **row})


def test_a_review_that_was_stopped_goes_on_with_what_is_left(run: RunFolder) -> None:
    first = open_review(run, ["ana", "ben"], count=8, double=0.25)
    for number in range(2):
        decide(first, "ana", number)
    again = open_review(run, ["ana", "ben"], count=8, double=0.25)
    left = [item.sentence.id for item in first.items["ana"][2:]]
    assert [item.sentence.id for item in again.items["ana"]][: len(left)] == left
    ben = [item.sentence.id for item in first.items["ben"]]
    assert [item.sentence.id for item in again.items["ben"]][: len(ben)] == ben  # ana's decision is not ben's
    third = open_review(run, ["ana", "ben"], count=8, double=0.25)
    assert [i.sentence.id for i in third.items["ana"]] == [i.sentence.id for i in again.items["ana"]]


def test_what_people_agree_on_becomes_human_labels_that_training_takes(run: RunFolder, tmp_path: Path) -> None:
    review = open_review(run, ["ana", "ben"], count=6, double=1.0)
    token = run.settings.task.types
    for number in range(6):
        decide(review, "ana", number)
    ben = review.items["ben"]
    ana_first = review.items["ana"][0].sentence.id
    for number, item in enumerate(ben):
        if item.sentence.id == ana_first:
            decide(review, "ben", number, action="correct", spans=[[0, 1, next(iter(token))]])
        else:
            decide(review, "ben", number)
    joined = import_reviews(run, tmp_path / "reviewed")
    suggested = {i.sentence.id: i.suggested for i in ben}
    expect = 1 if suggested[ana_first] != ((0, 1, next(iter(token))),) else 0
    assert (len(joined.examples), len(joined.differing)) == (6 - expect, expect)
    (row,) = joined.agreement
    assert (row["between"], row["sentences"], row["identical"]) == (["ana", "ben"], 6, 6 - expect)
    assert manifest.show(tmp_path / "reviewed")["counts"]["reviewed"] == 6 - expect
    assert manifest.verify(tmp_path / "reviewed") == []
    preferred = import_reviews(run, tmp_path / "preferred", prefer="ben")
    assert len(preferred.examples) == 6
    with pytest.raises(InputError, match="not empty"):
        import_reviews(run, tmp_path / "reviewed")

    file = str(tmp_path / "preferred" / REVIEWED)
    corpus = run.settings.corpus
    settings = replace(run.settings, corpus=replace(corpus, original=replace(corpus.original, reviewed=file)))
    gold = read_gold(settings)
    assert len(gold.train) == 12
    learning = replace(run, settings=settings)
    counts = pipeline.select(learning)
    assert counts["reviewed"] == 6
    reviewed = {e.sentence.id for e in preferred.examples}
    selected = [row.sentence.id for row in read_lines(learning.folder("select") / ANNOTATIONS, NER)]
    assert not reviewed & set(selected)


def test_another_tools_file_counts_as_a_persons_decisions(run: RunFolder, tmp_path: Path) -> None:
    truth = list(read_examples("package:demo/train.jsonl", origin="original"))[30:34]
    strange = replace(
        truth[0],
        sentence=replace(truth[0].sentence, id="other", text="x", tokens=("x",), offsets=((0, 1),)),
        labels=("O",),
    )
    renamed = [replace(e, sentence=replace(e.sentence, id=f"tool-{n}")) for n, e in enumerate(truth)]
    write_examples(tmp_path / "tool.jsonl", [*renamed, strange])
    joined = import_reviews(run, tmp_path / "out", labelled={"ana": tmp_path / "tool.jsonl"})
    annotated = {x.sentence.text for x in read_lines(run.folder("annotate") / ANNOTATIONS, NER)}
    here = [e for e in truth if e.sentence.text in annotated]
    assert here
    assert {e.labels for e in joined.examples} == {e.labels for e in here}
    assert "other" in joined.lost["no such sentence"]


def test_decisions_about_a_text_that_changed_are_named(run: RunFolder, tmp_path: Path) -> None:
    review = open_review(run, ["ana"], count=2)
    decide(review, "ana", 0)
    row = {**GOOD, "id": review.items["ana"][1].sentence.id, "text": text_digest("another")}
    append(review.file, parse(row))
    joined = import_reviews(run, tmp_path / "out")
    assert joined.lost == {"the sentence has another text now": [row["id"]]}
    assert len(joined.examples) == 1


def test_a_page_without_a_server_carries_its_data_and_comes_back_as_a_file(run: RunFolder, tmp_path: Path) -> None:
    run.path.joinpath("config.yaml").write_text(dump(run.settings), "utf-8")
    target = tmp_path / "review.html"
    result = CliRunner().invoke(
        commands, ["review", str(run.path), "--reviewer", "ana", "--count", "3", "--file", str(target)]
    )
    assert result.exit_code == 0, result.output
    html = target.read_text("utf-8")
    assert target.stat().st_mode & 0o077 == 0
    assert "connect-src" not in html
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    assert found
    data = json.loads(found[1])
    assert len(data["items"]) == 3
    item = data["items"][0]
    said = {
        "id": item["id"], "document": item["document"], "text": item["text_digest"], "reviewer": "ana",
        "at": "2026-01-01T00:00:00Z", "action": "accept", "spans": item["suggested"], "suggested": item["suggested"],
        "source": "teacher", "seconds": 3.2, "keys": 1, "guideline": data["guideline_digest"],
    }  # fmt: skip
    (tmp_path / "back.jsonl").write_text(json.dumps(said) + "\n", "utf-8")
    command = [
        "review",
        "import",
        str(run.path),
        "-o",
        str(tmp_path / "out"),
        "--decisions",
        str(tmp_path / "back.jsonl"),
        "--json",
    ]
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["reviewed"] == 1
    assert "&" not in found[1]
    assert "<" not in found[1]


def test_other_machines_are_served_only_over_tls_and_a_page_that_is_hostile_text_stays_text(run: RunFolder) -> None:
    run.path.joinpath("config.yaml").write_text(dump(run.settings), "utf-8")
    result = CliRunner().invoke(commands, ["review", str(run.path), "--host", "0.0.0.0"])
    assert isinstance(result.exception, InputError)
    assert "TLS" in str(result.exception)
    assert "</script><b>" not in page({"x": "</script><b>"})


def test_purge_takes_decisions_about_a_document_away(run: RunFolder) -> None:
    review = open_review(run, ["ana"], count=20)
    for number in range(len(review.items["ana"])):
        decide(review, "ana", number)
    document = review.items["ana"][0].sentence.document
    assert document is not None
    assert any(row.document == document for row in read(review.file))
    pipeline.purge(document, [run.path])
    rows = list(read(review.file))
    assert rows
    assert not [row for row in rows if row.document == document]
