"""The pages in a real Chromium: they ask for nothing, run no text, and do what their keys and buttons say."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from annotated_runs import TYPES, run_of
from chromium import Chromium, chromium_program
from whole_runs import EVIL, example, whole_run

from distill_offline import pipeline
from distill_offline.config.loading import dump, parse_settings
from distill_offline.corpus import write_examples
from distill_offline.pipeline.report_page import page_of_run
from distill_offline.review import server
from distill_offline.review.decisions import DECISIONS, Decision, read
from distill_offline.review.session import import_reviews, open_review
from distill_offline.run.folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium_program() is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
    ),
]

HOSTILE = "<b>x</b></script><img/src=x/onerror=alert(2)>\u202e\x1b[31m\u2028"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> RunFolder:
    return whole_run(tmp_path_factory.mktemp("page"), encoder)


@pytest.fixture
def to_review(tmp_path: Path) -> RunFolder:
    """Eight sentences that a scripted teacher has labelled perfectly; the first one is hostile."""
    words = [("Signed", HOSTILE, "by", "Ann"), *[(f"Ann{n}", "met", "Bob", "Ray", "🎉") for n in range(7)]]
    tags = [("O", "O", "O", "B-PERSON"), *[("B-PERSON", "O", "O", "O", "O")] * 7]
    pairs = zip(words, tags, strict=True)
    write_examples(
        tmp_path / "texts.jsonl", [example(n, tokens, labels, "notes") for n, (tokens, labels) in enumerate(pairs)]
    )
    settings = {
        "name": "looked-at",
        "task": {"types": TYPES, "guidelines": f"Names only. {EVIL}"},
        "corpus": {"unlabelled": str(tmp_path / "texts.jsonl")},
        "backend": {"name": "scripted"},
        "annotate": {"demonstrations": {"strategy": "none"}},
        "train": {"encoder": "none"},
    }
    folder = run_of(tmp_path, parse_settings(settings, "test"))
    folder.path.joinpath("config.yaml").write_text(dump(folder.settings), "utf-8")
    pipeline.annotate(folder)
    return folder


def test_the_page_of_a_run_shows_hostile_text_asks_for_nothing_and_filters(run: RunFolder, browser: Chromium) -> None:
    address = (run.folder("report") / "index.html").as_uri()
    browser.open(address)
    assert browser.requests == [address]
    assert browser.text(".verdict")
    assert EVIL in browser.text("#list")
    assert browser.evaluate("document.images.length") == 0
    count = "document.querySelectorAll('article').length"
    assert browser.evaluate(count) == 8
    browser.press("/")
    browser.type("Žofie")
    browser.wait(f"{count} === 1")
    assert "secret-7:1" in browser.text("#list")
    browser.evaluate(
        "by('search').value = ''; by('document').value = 'secret-7'; by('document').dispatchEvent(new Event('input'))"
    )
    browser.wait(f"{count} === 2")
    assert browser.nameless() == []
    assert browser.problems == []


def test_a_redacted_page_shows_no_sentence(run: RunFolder, browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "redacted.html"
    page.write_text(page_of_run(run.path, redact=True), "utf-8")
    browser.open(page.as_uri())
    assert browser.text(".verdict")
    assert "Žofie" not in browser.evaluate("document.documentElement.outerHTML")
    assert browser.evaluate("document.querySelectorAll('article, script').length") == 0
    assert (browser.requests, browser.problems) == ([page.as_uri()], [])


@pytest.fixture
def address(to_review: RunFolder) -> Iterator[str]:
    """Where the command serves the review of one person, with the token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "distill_offline", "review", str(to_review.path), "--reviewer", "ana", "--port", str(port)]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            name, _, shown = process.stdout.readline().strip().partition(": ")
            assert name == "ana"
            for _ in range(200):
                with socket.socket() as attempt:
                    if attempt.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None
                time.sleep(0.05)
            yield shown
        finally:
            process.terminate()


def decisions(folder: RunFolder) -> list[Decision]:
    file = folder.path / "review" / DECISIONS
    return list(read(file)) if file.exists() else []


def test_a_person_reviews_by_keys_and_mouse_and_a_reload_keeps_it(
    to_review: RunFolder, address: str, browser: Chromium
) -> None:
    browser.open(address)
    browser.wait("document.querySelectorAll('.token').length > 0")
    decided = "by('progress').value"
    assert browser.nameless() == []
    browser.press("Enter")
    browser.wait(f"{decided} === 1")
    assert [row.action for row in decisions(to_review)] == ["accept"]
    browser.press("u")
    browser.wait(f"{decided} === 0")
    browser.press("s")
    browser.wait(f"{decided} === 1")
    # the word under the cursor, by a digit
    tokens = browser.evaluate("[...document.querySelectorAll('.token')].map((each) => each.textContent)")
    browser.press("ArrowRight")
    browser.press("2")
    assert "ORGANISATION" in browser.text("#text")
    browser.press("Enter")
    browser.wait(f"{decided} === 2")
    # two words by the mouse
    browser.drag(".token[data-index='2']", ".token[data-index='3']")
    browser.press("3")
    assert "LOCATION" in browser.text("#text")
    browser.click("#accept")
    browser.wait(f"{decided} === 3")
    rows = decisions(to_review)
    assert [row.action for row in rows] == ["accept", "undo", "skip", "correct", "correct"]
    assert len(tokens) > 1
    assert (1, 2, "ORGANISATION") in rows[3].spans
    assert (2, 4, "LOCATION") in rows[4].spans
    browser.open("about:blank")
    browser.open(address)
    browser.wait(f"{decided} === 3")
    while browser.evaluate(decided) < 8:
        before = browser.evaluate(decided)
        browser.press("Enter")
        browser.wait(f"{decided} > {before}")
    assert "All 8 are decided" in browser.text("#status")
    assert browser.evaluate("document.images.length") == 0
    assert {request.split("/")[2] for request in browser.requests if request != "about:blank"} == {
        address.split("/")[2]
    }
    assert browser.problems == []


def test_a_page_without_a_server_saves_a_file_that_import_reads(
    to_review: RunFolder, browser: Chromium, tmp_path: Path
) -> None:
    review = open_review(to_review, ["ben"], count=8)
    page = tmp_path / "review.html"
    page.write_text(server.page(review.data("ben")), "utf-8")
    browser.open(page.as_uri())
    shown = browser.evaluate("visible('a\\u2028b\\u061c\\ufeff\\u200b\\u202e\\u0085')")
    assert shown == "a⟨U+2028⟩b⟨U+61C⟩⟨U+FEFF⟩⟨U+200B⟩⟨U+202E⟩⟨U+85⟩"
    total = browser.evaluate("by('progress').max")
    for number in range(1, int(total) + 1):
        browser.press("Enter")
        browser.wait(f"by('progress').value === {number}")
    browser.click("#save")
    saved = browser.downloads / "decisions-ben.jsonl"
    saved_by = time.monotonic() + 10
    while not saved.exists() and time.monotonic() < saved_by:
        time.sleep(0.05)
    joined = import_reviews(to_review, tmp_path / "reviewed", files=[saved])
    assert joined.by_reviewer["ben"] == total
    assert (browser.requests, browser.problems) == ([page.as_uri()], [])
