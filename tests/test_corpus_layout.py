"""Column files of other makes: what is a token, a tag, a comment is told alike with and without labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus_files import assert_offsets_are_exact, examples_of, fault_of, write_file

from distill_offline import corpus
from distill_offline.config.settings import Source
from distill_offline.errors import CorpusError
from distill_offline.evaluate.truth import Truth

_GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/Anna [2009-10-17]\n1\tAnna\tB-PER\tO\n2\tSchmidt\tI-PER\tO\n3\twohnt\tO\tO\n\n"
    "#\tn-tv.de [2010-01-01]\n1\tUni\tB-ORG\tO\n2\tJena\tI-ORG\tB-LOC\n3\tschloss\tO\tO\n"
)
_CONLLU = (
    "# newdoc id = w01\n# sent_id = 1\n# text = Im Haus sang Anna.\n"
    "1-2\tIm\t_\t_\t_\t_\t_\t_\t_\t_\n1\tIn\tin\tADP\t_\t_\t3\tcase\t_\t_\n2\tdem\tder\tDET\t_\t_\t3\tdet\t_\t_\n"
    "3\tHaus\tHaus\tNOUN\t_\t_\t4\tobl\t_\tNER=B-LOC\n4\tsang\tsingen\tVERB\t_\t_\t0\troot\t_\t_\n"
    "4.1\tsang\tsingen\tVERB\t_\t_\t_\t_\t0:root\t_\n5\tAnna\tAnna\tPROPN\t_\t_\t4\tnsubj\t_\tNER=B-PER|SpaceAfter=No\n"
    "6\t.\t.\tPUNCT\t_\t_\t4\tpunct\t_\t_\n\n# newdoc id = w02\n1\tOslo\tOslo\tPROPN\t_\t_\t0\troot\t_\tNER=B-LOC\n"
    "2\t!\t!\tPUNCT\t_\t_\t1\tpunct\t_\t_\n"
)
_CONLL2012 = (
    "#begin document (bc/cctv/00/cctv_0000); part 000\n"
    "bc/cctv/00/cctv_0000 0 0 Anna NNP (TOP(S(NP* - - - Speaker#1 (PERSON* (ARG0* -\n"
    "bc/cctv/00/cctv_0000 0 1 Smith NNP *) - - - Speaker#1 *) *) (0)\n"
    "bc/cctv/00/cctv_0000 0 2 sang VBD (VP*)) sing 01 1 Speaker#1 * (V*) -\n\n"
    "bc/cctv/00/cctv_0000 0 0 Oslo NNP (TOP(NP*)) - - - Speaker#1 (GPE) -\n\n"
    "#end document\n"
    "#begin document (bc/cctv/00/cctv_0000); part 001\n"
    "bc/cctv/00/cctv_0000 1 0 Yes UH (TOP*) - - - Speaker#1 * -\n\n#end document\n"
)
_MEDLINE = "###MEDLINE:95369245\n\nIL-2\tB-DNA\ngene\tI-DNA\n\nbinds\tO\n\n###MEDLINE:95333264\n\nNF\tB-protein\n"


def tokens_of(path: Path | Source) -> list[tuple[str, ...]]:
    """Both reads must agree, or the labelled one is refused."""
    unlabelled = [sentence.tokens for sentence in corpus.read_sentences(path)]
    assert [example.sentence.tokens for example in examples_of(path)] == unlabelled
    return unlabelled


def labels_of(path: Path | Source) -> list[tuple[str, ...]]:
    return [example.labels for example in examples_of(path)]


def test_germeval_has_its_words_and_its_outer_entities(tmp_path: Path) -> None:
    path = write_file(tmp_path, "germeval.tsv", _GERMEVAL)
    assert tokens_of(path) == [("Anna", "Schmidt", "wohnt"), ("Uni", "Jena", "schloss")]
    counts = Counter[str]()
    assert [e.labels for e in examples_of(path, counts=counts)] == [("B-PER", "I-PER", "O"), ("B-ORG", "I-ORG", "O")]
    assert counts == {"unread_layer_tags": 1}
    assert labels_of(Source(path=str(path), tag_column=3)) == [("O", "O", "O"), ("O", "B-LOC", "O")]


def test_germeval_is_recognised_in_a_txt_file_too(tmp_path: Path) -> None:
    assert tokens_of(write_file(tmp_path, "germeval.txt", _GERMEVAL))[0] == ("Anna", "Schmidt", "wohnt")


@pytest.mark.parametrize(
    "content",
    [
        "0 Anna B-PER\n1 sang O\n\n0 Oslo B-LOC\n1 slept O\n",
        "1 Anna B-PER\n2 sang O\n\n3 Oslo B-LOC\n4 slept O\n",
        "1 Anna NNP B-NP B-PER\n2 sang VBD B-VP O\n\n1 Oslo NNP B-NP B-LOC\n2 slept VBD B-VP O\n",
    ],
)
def test_numbered_rows_have_their_token_behind_the_number(tmp_path: Path, content: str) -> None:
    path = write_file(tmp_path, "a.conll", content)
    assert tokens_of(path) == [("Anna", "sang"), ("Oslo", "slept")]
    assert labels_of(path) == [("B-PER", "O"), ("B-LOC", "O")]


def test_numbered_rows_without_tags_can_be_read(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "1\tAnna\n2\tsang\n\n1\tOslo\n")
    assert [sentence.tokens for sentence in corpus.read_sentences(path)] == [("Anna", "sang"), ("Oslo",)]


def test_numbers_that_stop_counting_are_refused_rather_than_read_as_tokens(tmp_path: Path) -> None:
    rows = "".join(f"{number}\tw{number}\tO\n" for number in range(1, 30))
    path = write_file(tmp_path, "a.conll", f"{rows}31\tlast\tO\n")
    assert "the rows' numbers" in fault_of(path)
    assert tokens_of(Source(path=str(path), token_column=1))[0][0] == "w1"


def test_numbers_that_begin_anew_without_a_blank_line_are_no_tokens(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "1\tAnna\tB-PER\tO\n2\tsang\tO\tO\n1\tOslo\tB-LOC\tO\n2\tslept\tO\tO\n")
    assert "the rows' numbers" in fault_of(path)
    assert "blank line" in fault_of(path)


@pytest.mark.parametrize(
    ("content", "labels", "unread"),
    [
        # Layers beside each other, numbered or not: what is not read is counted, and nothing where there is nothing.
        ("Uni\tB-ORG\tO\tO\nJena\tI-ORG\tB-LOC\tB-GPE\nfeiert\tO\tO\tO\n", ("O", "B-GPE", "O"), 3),
        ("1\tUni\tB-ORG\tO\tO\n2\tJena\tI-ORG\tB-LOC\tB-GPE\n3\tja\tO\tO\tO\n", ("B-ORG", "I-ORG", "O"), 2),
        ("Jena B-ORG B-LOC\nfeiert O O\n", ("B-LOC", "O"), 1),
        ("1\tJena\tB-LOC\tO\n2\tfeiert\tO\tO\n", ("B-LOC", "O"), 0),
        # Chunks are no entities.
        ("Jena NE B-NC B-LOC\nfeiert VV B-VC O\n", ("B-LOC", "O"), 0),
    ],
)
def test_entities_in_further_columns_are_counted(
    tmp_path: Path, content: str, labels: tuple[str, ...], unread: int
) -> None:
    counts = Counter[str]()
    [example] = examples_of(write_file(tmp_path, "a.tsv", content), counts=counts)
    assert example.labels == labels
    assert counts == ({"unread_layer_tags": unread} if unread else {})


def test_evaluate_says_that_a_further_column_was_not_read(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "Jena\tB-ORG\tB-LOC\nfeiert\tO\tO\n")
    [line] = Truth.read(Source(path=str(path)), "token-classification").lost
    assert "1 tags of a further column of entities" in line


def test_entities_that_danish_and_norwegian_treebanks_call_name_are_read(tmp_path: Path) -> None:
    rows = "1\tAnna\t_\tPROPN\t_\t_\t2\tnsubj\t_\tname=B-PER\n2\tbor\t_\tVERB\t_\t_\t0\troot\t_\tname=O|SpaceAfter=No\n"
    assert labels_of(write_file(tmp_path, "a.conllu", f"# text = Anna bor\n{rows}\n")) == [("B-PER", "O")]


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\f"])
def test_what_ends_a_line_elsewhere_is_refused_in_a_tag_and_kept_in_a_token(tmp_path: Path, end: str) -> None:
    path = write_file(tmp_path, "a.conll", f"Anna B-PER{end}May I-PER{end}sang O\n")
    assert f"U+{ord(end):04X}" in fault_of(path)
    path = write_file(tmp_path, "b.conll", f"Anna{end}May\tB-PER\n{end}\tO\nsang\tO\n")
    assert tokens_of(path) == [(f"Anna{end}May", end, "sang")]


def test_tokens_that_are_numbers_stay_tokens(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "1 B-NUM\n2 I-NUM\n\n1 O\n")
    assert tokens_of(path) == [("1", "2"), ("1",)]
    path = write_file(tmp_path, "b.conll", "7 CD O\n2 CD O\n\n1 CD O\n")
    assert tokens_of(path) == [("7", "2"), ("1",)]


def test_conllu_gives_the_words_as_written_and_the_entities_of_misc(tmp_path: Path) -> None:
    for name in ("a.conllu", "a.conll", "a.txt"):
        path = write_file(tmp_path, name, _CONLLU)
        assert tokens_of(path) == [("Im", "Haus", "sang", "Anna", "."), ("Oslo", "!")]
    assert labels_of(path) == [("O", "B-LOC", "O", "B-PER", "O"), ("B-LOC", "O")]
    first, second = corpus.read_sentences(path)
    assert first.text == "Im Haus sang Anna."
    assert_offsets_are_exact(first)
    assert (first.id, second.id) == ("w01:0", "w02:0")


def test_conllu_without_entities_is_text_and_no_gold(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conllu", _CONLLU.replace("NER=B-LOC", "_").replace("NER=B-PER|", ""))
    assert next(corpus.read_sentences(path)).tokens[0] == "Im"
    assert "no BIO tags in MISC" in fault_of(path)
    path = write_file(
        tmp_path, "b.conllu", _CONLLU.replace("NER=B-LOC", "Entity=(place-1)").replace("NER=B-PER", "X=1")
    )
    assert "no BIO tags in MISC" in fault_of(path)


def test_parts_of_a_multiword_token_with_different_tags_are_refused_in_gold_alone(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conllu", _CONLLU.replace("det\t_\t_", "det\t_\tNER=B-LOC"))
    assert next(corpus.read_sentences(path)).tokens[0] == "Im"
    assert "multiword token" in fault_of(path)


def test_conllu_plus_names_its_columns(tmp_path: Path) -> None:
    head = "# global.columns = ID FORM UPOS X:NER MISC\n"
    path = write_file(tmp_path, "a.conllup", head + "1\tAnna\tPROPN\tB-PER\t_\n2\tsang\tVERB\tO\t_\n")
    assert tokens_of(path) == [("Anna", "sang")]
    assert labels_of(path) == [("B-PER", "O")]


def test_conll2012_has_its_words_its_brackets_and_its_documents(tmp_path: Path) -> None:
    for name in ("a.v4_gold_conll", "a.conll"):
        path = write_file(tmp_path, name, _CONLL2012)
        assert tokens_of(path) == [("Anna", "Smith", "sang"), ("Oslo",), ("Yes",)]
        assert labels_of(path) == [("B-PERSON", "I-PERSON", "O"), ("B-GPE",), ("O",)]
    ids = [sentence.id for sentence in corpus.read_sentences(path)]
    assert ids == ["bc/cctv/00/cctv_0000.000:0", "bc/cctv/00/cctv_0000.000:1", "bc/cctv/00/cctv_0000.001:0"]


def test_a_bracket_that_closes_nothing_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "Anna (PER*\nsang *\n\nOslo *)\n")
    assert "a.conll:4: tag 0 of the sentence: not a tag" in fault_of(path)


def test_medline_lines_name_documents(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.iob2", _MEDLINE)
    assert [sentence.id for sentence in corpus.read_sentences(path)] == ["95369245:0", "95369245:1", "95333264:0"]
    assert tokens_of(path) == [("IL-2", "gene"), ("binds",), ("NF",)]


def test_a_name_that_comes_again_counts_on(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.iob2", "###MEDLINE:1\n\na\tO\n\n###MEDLINE:2\n\nb\tO\n\n###MEDLINE:1\n\nc\tO\n")
    assert [sentence.id for sentence in corpus.read_sentences(path)] == ["1:0", "2:0", "1:1"]


@pytest.mark.parametrize(
    "content",
    [
        "# sent_id = 12\nAnna NNP B-NP B-PER\nlives VB O O\n\n# sent_id = 13\nBremen NNP B-NP B-LOC\n. . O O\n",
        "# id 12\nAnna B-PER\nlives O\n\n# id 13\nBremen B-LOC\n. O\n",
        "# 12\nAnna B-PER\nlives O\n\n#\nBremen B-LOC\n. O\n",
        "#id=1\n# a whole sentence that is longer\nAnna\tB-PER\nlives\tO\n\n# text = a\tb\nBremen\tB-LOC\n.\tO\n",
        "# text = O\nAnna NNP X B-PER\nlives VB X O\n\nBremen NNP X B-LOC\n. . X O\n",
    ],
)
def test_comments_before_sentences_are_no_rows(tmp_path: Path, content: str) -> None:
    path = write_file(tmp_path, "a.conll", content)
    assert tokens_of(path) == [("Anna", "lives"), ("Bremen", ".")]


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("# O\n1 B-X\n\nWe O\n# B-X\n7 I-X\n", [("#", "1"), ("We", "#", "7")]),
        ("#\tO\n1\tB-X\n\n#x\tO\n## y\tO\n", [("#", "1"), ("#x", "## y")]),
        ("#one O\n#two B-X\n", [("#one", "#two")]),
        ("# = x\tO\nword\tB-X\n", [("# = x", "word")]),
        ("# SYM O\nin IN O\n\n# SYM O\nis VB O\n", [("#", "in"), ("#", "is")]),
    ],
)
def test_a_token_that_begins_with_a_hash_stays_one(tmp_path: Path, content: str, tokens: list[tuple[str, ...]]) -> None:
    assert tokens_of(write_file(tmp_path, "a.conll", content)) == tokens


def test_a_hash_without_labels_is_a_token_where_its_column_knows_the_value(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "# SYM\n1 CD\n\n% SYM\nfell VB\n")
    assert [sentence.tokens for sentence in corpus.read_sentences(path)] == [("#", "1"), ("%", "fell")]
    path = write_file(tmp_path, "b.conll", "alone\n#\n#tag\n\n# 2 words\nlast\n")
    assert [sentence.tokens for sentence in corpus.read_sentences(path)] == [("alone", "#", "#tag"), ("last",)]


@pytest.mark.parametrize(
    ("content", "line"),
    [("a O\n# 12\nb B-X\n", 2), ("#NowPlaying\na O\nb B-X\n", 1), ("a O\n# a comment here\nb B-X\n", 2)],
)
def test_a_hash_that_could_be_either_is_refused_with_and_without_labels(
    tmp_path: Path, content: str, line: int
) -> None:
    path = write_file(tmp_path, "a.conll", content)
    assert f"a.conll:{line}:" in fault_of(path)
    with pytest.raises(CorpusError, match=f":{line}:"):
        list(corpus.read_sentences(path))


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ("B-X I-X L-X O U-Y B-X L-X", "B-X I-X I-X O B-Y B-X I-X"),
        ("B-X M-X E-X O W-Y B-X E-X", "B-X I-X I-X O B-Y B-X I-X"),
        ("B-X M-X E-X O S-Y B-X E-X", "B-X I-X I-X O B-Y B-X I-X"),
        ("b-per i-per o b-loc o o o", "B-per I-per O B-loc O O O"),
        ("X-B X-I O Y-B O O O", "B-X I-X O B-Y O O O"),
        ("PER PER O LOC O O O", "B-PER I-PER O B-LOC O O O"),
        ("I-X E-X E-X O E-Y O O", "B-X I-X B-X O B-Y O O"),
        ("I-X I-X E-X I-X O I-Y O", "B-X I-X I-X B-X O B-Y O"),
        ("I-X I-X B-X O I-Y O O", "B-X I-X B-X O B-Y O O"),
        ("(X* * *) * (Y) (X* *)", "B-X I-X I-X O B-Y B-X I-X"),
        ("B-a-b I-a-b O B--c- O O O", "B-a-b I-a-b O B--c- O O O"),
    ],
)
def test_tags_of_every_spelling_are_the_same_entities(tmp_path: Path, tags: str, labels: str) -> None:
    rows = "".join(f"w{number}\t{tag}\n" for number, tag in enumerate(tags.split()))
    for name in ("a.conll", "a.txt"):
        path = write_file(tmp_path, name, rows)
        assert labels_of(path) == [tuple(labels.split())]
        assert tokens_of(path) == [tuple(f"w{number}" for number in range(len(tags.split())))]


def test_tags_of_two_schemes_at_once_are_refused(tmp_path: Path) -> None:
    assert "both E- and L-" in fault_of(write_file(tmp_path, "a.conll", "a B-X\nb E-X\nc B-X\nd L-X\n"))


def test_a_scheme_may_be_named_by_its_letters(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "a B-X\nb L-X\nc U-X\n")
    assert labels_of(Source(path=str(path), scheme="bilou")) == [("B-X", "I-X", "B-X")]


def test_one_wrong_tag_among_right_ones_stays_a_fault(tmp_path: Path) -> None:
    assert "a.conll:2: tag 1" in fault_of(write_file(tmp_path, "a.conll", "a B-PER\nb PER\nc O\n"))
    assert "b.conll:1: tag 0" in fault_of(write_file(tmp_path, "b.conll", "a B_PER\nb O\n"))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_line_ends_of_every_kind_end_lines(tmp_path: Path, end: bytes) -> None:
    content = end.join([b"Anna B-PER", b"Schmidt I-PER", b"in O", b"", b"Bremen B-LOC", b"ok O"])
    for name, whole in (("a.conll", content), ("b.conll", content + end), ("c.txt", b"\xef\xbb\xbf" + content)):
        path = write_file(tmp_path, name, whole)
        assert tokens_of(path) == [("Anna", "Schmidt", "in"), ("Bremen", "ok")]


def test_mixed_line_ends_are_refused(tmp_path: Path) -> None:
    assert "line ends are mixed" in fault_of(write_file(tmp_path, "a.conll", b"a O\nb O\rc O\nd B-X\n"))


@pytest.mark.parametrize("letter", ["\v", "\f", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "\u200b"])
def test_other_white_space_is_part_of_a_token(tmp_path: Path, letter: str) -> None:
    path = write_file(tmp_path, "a.conll", f"a{letter}b\tB-X\n{letter}\tI-X\nc\tO\n")
    assert tokens_of(path) == [(f"a{letter}b", letter, "c")]


def test_blanks_and_tabs_at_line_ends_are_no_columns(tmp_path: Path) -> None:
    for content in ("a O  \nb B-X\t\n \t\nc O\n", "a\tO\t\nb\tB-X\t\n\t\nc\tO\t\n", "a\tO\nb\tB-X \n\nc\tO\t\n"):
        path = write_file(tmp_path, "a.conll", content)
        assert tokens_of(path) == [("a", "b"), ("c",)]


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "Sentence\tWord\tPOS\tTag\n1\tAnna\tNNP\tB-PER\n1\tsang\tVBD\tO\n")
    assert tokens_of(path) == [("Anna", "sang")]
    path = write_file(tmp_path, "b.tsv", "token\tlabel\nAnna\tB-PER\nsang\tO\n")
    assert tokens_of(path) == [("Anna", "sang")]


@pytest.mark.parametrize(
    "content",
    [
        "1\tAnna\tB-PER\n1\tsang\tO\n1\tloudly\tO\n2\tOslo\tB-LOC\n2\tslept\tO\n",
        "1\tAnna\tB-PER\n1\tsang\tO\n1\tloudly\tO\n\n2\tOslo\tB-LOC\n2\tslept\tO\n",
        "S1 Anna B-PER\nS1 sang O\nS1 loudly O\nS2 Oslo B-LOC\nS2 slept O\n",
        "7 1 Anna NNP B-PER\n7 2 sang VBD O\n7 3 loudly RB O\n8 1 Oslo NNP B-LOC\n8 2 slept VBD O\n",
        "d1 1 Anna B-PER\nd1 1 sang O\nd1 1 loudly O\nd2 1 Oslo B-LOC\nd2 1 slept O\n",
        "s1 report Anna NNP B-PER\ns1 report sang VBD O\ns1 report loudly RB O\n"
        "s2 report Oslo NNP B-LOC\ns2 report slept VBD O\n",
        "1 1-1 Anna B-PER\n1 1-2 sang O\n1 1-3 loudly O\n2 2-1 Oslo B-LOC\n2 2-2 slept O\n",
        "1 NNP Anna B-PER\n1 VB sang O\n1 VB loudly O\n2 NNP Oslo B-LOC\n2 VB slept O\n",
        "doc\tsent_no\ttoken\ttag\na\t1\tAnna\tB-PER\na\t1\tsang\tO\na\t1\tloudly\tO\nb\t1\tOslo\tB-LOC\nb\t1\tslept\tO\n",
        "sentence_id\ttoken\tner\n0\tAnna\tB-PER\n0\tsang\tO\n0\tloudly\tO\n1\tOslo\tB-LOC\n1\tslept\tO\n",
        "token\tner\tsent_id\nAnna\tB-PER\ts1\nsang\tO\ts1\nloudly\tO\ts1\nOslo\tB-LOC\ts2\nslept\tO\ts2\n",
        "Sentence #\tWord\tPOS\tTag\nSentence: 1\tAnna\tNNP\tB-PER\n\tsang\tVBD\tO\n\tloudly\tRB\tO\n"
        "Sentence: 2\tOslo\tNNP\tB-LOC\n\tslept\tVBD\tO\n",
    ],
)
def test_a_column_that_says_which_sentence_a_row_is_of_parts_them(tmp_path: Path, content: str) -> None:
    path = write_file(tmp_path, "a.tsv", content)
    assert tokens_of(path) == [("Anna", "sang", "loudly"), ("Oslo", "slept")]
    assert labels_of(path) == [("B-PER", "O", "O"), ("B-LOC", "O")]


def test_an_entity_ends_with_its_sentence_whatever_parts_them(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "sentence\ttoken\tner\n1\tmet\tO\n1\tAnna\tPER\n2\tBob\tPER\n2\tleft\tO\n")
    assert labels_of(path) == [("O", "B-PER"), ("B-PER", "O")]


def test_sentences_that_nothing_but_numbers_of_rows_part_are_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "id\ttoken\tner\n1\tAnna\tB-PER\n2\tsang\tO\n1\tOslo\tB-LOC\n2\tslept\tO\n")
    assert "the rows' numbers" in fault_of(path)
    path = write_file(tmp_path, "b.tsv", "1\t1\tB-PER\n1\t2\tO\n1\t3\tO\n2\t1\tO\n")
    assert "no other one holds words" in fault_of(path)


@pytest.mark.parametrize(
    "sentences",
    [
        [["Row", "row", "row", "your"], ["Row", "Row", "Row"]],
        [["New", "York", "York", ",", ",", "Ann"]],
        [["Paris"], ["Paris"], ["Paris"]],
        [["Chapter", *"......", "One"], ["Ann", *"....."]],
        [["1999", "was", "the", "1999"]],
    ],
)
def test_text_that_repeats_itself_is_no_column_of_sentences(tmp_path: Path, sentences: list[list[str]]) -> None:
    rows = ["".join(f"{token} NN O\n" for token in tokens) for tokens in sentences]
    path = write_file(tmp_path, "a.conll", "\n".join(rows))
    assert tokens_of(path) == [tuple(tokens) for tokens in sentences]


def test_thousands_of_sentences_of_two_words_and_numbers_that_begin_anew_are_parted(tmp_path: Path) -> None:
    rows = "".join(f"{number}\tbuy\tO\n{number}\tx{number}\tB-PROD\n" for number in range(3000))
    assert len(tokens_of(write_file(tmp_path, "a.tsv", rows))) == 3000
    rows = "".join(f"{number}\tbuy\tO\n{number}\tx\tB-PROD\n" for number in (1, 2, 3, 4, 1, 2, 3, 1, 2))
    assert tokens_of(write_file(tmp_path, "b.tsv", rows)) == [("buy", "x")] * 9


@pytest.mark.parametrize(
    "rows", ["0 Hi O\n1 Ann B-PER\n2 Bob B-PER\n3 No O\n3 Eve B-PER\n", "² Hi O\n² Ann B-PER\n³ Bob B-PER\n"]
)
def test_numbers_that_may_be_of_rows_or_of_sentences_are_refused_or_stay(tmp_path: Path, rows: str) -> None:
    path = write_file(tmp_path, "c.conll", rows)
    if rows[0] == "0":
        assert "the rows' numbers" in fault_of(path)
    else:
        assert tokens_of(path) == [("²", "²", "³")]


def test_unlabelled_rows_of_sentences_have_their_words_at_the_end(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "1\t1\tEU\n1\t2\truns\n2\t1\tAnn\n2\t2\truns\n")
    assert tokens_of_text(path) == [("EU", "runs"), ("Ann", "runs")]


def test_tokens_that_repeat_stay_tokens(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.tsv", "no\tUH\tO\nno\tUH\tO\nAnna\tNNP\tB-PER\nno\tUH\tO\n")
    assert tokens_of(path) == [("no", "no", "Anna", "no")]
    path = write_file(tmp_path, "b.tsv", "ha\tO\nha\tO\nha\tO\nAnna\tB-PER\n")
    assert tokens_of(path) == [("ha", "ha", "ha", "Anna")]


def test_a_mark_that_a_file_brought_along_hides_no_border(tmp_path: Path) -> None:
    one = "-DOCSTART- -X- O\n\nAnna NNP B-PER\n\n"
    path = write_file(tmp_path, "a.conll", f"\ufeff{one}\ufeff{one}")
    examples = list(examples_of(path))
    assert [example.sentence.document for example in examples] == ["a-0", "a-1"]
    path = write_file(tmp_path, "b.conll", "# sent_id = 1\nAnna\tB-PER\n\n\ufeff# sent_id = 2\nBob\tB-PER\n\n")
    assert tokens_of(path) == [("Anna",), ("Bob",)]
    # In front of a token it is a part of it.
    assert tokens_of(write_file(tmp_path, "c.conll", "Anna B-PER\n\n\ufeffBob B-PER\n"))[1] == ("\ufeffBob",)


@pytest.mark.parametrize(
    ("letter", "name"), [("\u00a0", "00A0"), ("\u200b", "200B"), ("\x1c", "001C"), ("\x7f", "007F")]
)
def test_a_tag_that_ends_with_what_cannot_be_seen_is_no_second_type(tmp_path: Path, letter: str, name: str) -> None:
    path = write_file(tmp_path, "a.conll", f"Anna\tB-PER\nmet\tO\nBob\tB-PER{letter}\n")
    assert f"U+{name}, which cannot be seen" in fault_of(path)
    assert [sentence.tokens for sentence in corpus.read_sentences(path)] == [("Anna", "met", "Bob")]


@pytest.mark.parametrize(
    ("separator", "said"), [(",", "commas"), (";", "semicolons"), ("|", "vertical bars"), ("\u00a0", "no-break spaces")]
)
def test_a_separator_that_is_not_read_is_named(tmp_path: Path, separator: str, said: str) -> None:
    rows = [("Anna", "B-PER"), ("sang", "O"), ("in", "O"), ("Oslo", "B-LOC")]
    content = "".join(f"{separator.join(row)}\n" for row in rows)
    for name in ("a.conll", "b.tsv"):
        path = write_file(tmp_path, name, content)
        assert f"{said} separate the columns" in fault_of(path) or "U+00A0" in fault_of(path)
    assert tokens_of_text(write_file(tmp_path, "c.conll", "1,000\nfor\na\nB-O,O\n")) == [("1,000", "for", "a", "B-O,O")]


def tokens_of_text(path: Path) -> list[tuple[str, ...]]:
    return [sentence.tokens for sentence in corpus.read_sentences(path)]


def test_columns_whose_types_may_be_anything_are_columns_in_a_txt_file_too(tmp_path: Path) -> None:
    content = "Anna\tperson-artist\nsang\tO\nin\tO\nOslo\tlocation-GPE\n.\tO\n\nHa\tO\n"
    path = write_file(tmp_path, "a.txt", content)
    assert tokens_of_text(path) == [("Anna", "sang", "in", "Oslo", "."), ("Ha",)]
    assert "scheme" in fault_of(path)
    found = [example.labels for example in examples_of(Source(path=str(path), scheme="io"))]
    assert found[0] == ("B-person-artist", "O", "O", "B-location-GPE", "O")


def test_hipes_columns_are_known_by_their_names(tmp_path: Path) -> None:
    names = "TOKEN\tNE-COARSE-LIT\tNE-COARSE-METO\tNE-FINE-LIT\tNEL-LIT\tMISC"
    rows = "Anna\tB-pers\tO\tB-pers.ind\tQ1\t_\nsang\tO\tO\tO\t_\tNoSpaceAfter\n"
    path = write_file(tmp_path, "a.tsv", f"{names}\n# language = de\n# date = 1798-01-20\n{rows}\n{rows}")
    assert tokens_of(path) == [("Anna", "sang")] * 2
    counts = Counter[str]()
    assert [e.labels for e in examples_of(path, counts=counts)] == [("B-pers", "O")] * 2
    assert counts == {"unread_layer_tags": 2}


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (("BPER", "IPER", "O"), "put the hyphen in"),
        (("B-PER|B-ORG", "I-PER|I-ORG", "O"), "a tag is two"),
        (("B-PER", "I-PER", "B-LOC,B-ORG"), "a tag is two"),
    ],
)
def test_tags_without_a_hyphen_or_of_two_types_are_no_types_of_their_own(
    tmp_path: Path, tags: tuple[str, ...], said: str
) -> None:
    rows = "".join(f"w{n}\t{tag}\n" for n, tag in enumerate((*tags, "O", "O", "O")))
    path = write_file(tmp_path, "a.conll", rows)
    assert said in fault_of(path).lower()
    if "two" not in said:
        assert examples_of(Source(path=str(path), scheme="io"))[0].labels[:2] == ("B-BPER", "B-IPER")


def test_types_that_begin_with_a_letter_of_a_place_stay_types(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "Ford\tBRAND\nOslo\tLOC\nsleeps\tO\nthe\tINST\nbank\tINST\nrests\tO\n")
    assert labels_of(path) == [("B-BRAND", "B-LOC", "O", "B-INST", "I-INST", "O")]


def test_tags_before_tokens_are_recognised_or_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "B-PER Anna\nO sang\n")
    assert tokens_of(path) == [("Anna", "sang")]
    path = write_file(tmp_path, "b.conll", "B-PER NNP Anna\nO VBD sang\n")
    assert "Set token_column" in fault_of(path)
    assert tokens_of(Source(path=str(path), token_column=-1, tag_column=0)) == [("Anna", "sang")]


def test_a_token_column_can_be_asked_for(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "d1 x Anna B-PER\nd1 x sang O\n")
    assert tokens_of(Source(path=str(path), token_column=2)) == [("Anna", "sang")]
    assert tokens_of(Source(path=str(path), token_column=-2)) == [("Anna", "sang")]
    assert "there is no column 4" in fault_of(Source(path=str(path), token_column=4))
    assert "the token itself" in fault_of(Source(path=str(path), token_column=3, tag_column=-1))


def test_a_tag_column_that_unlabelled_text_lacks_does_no_harm(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a.conll", "Anna\nsang\n")
    assert next(corpus.read_sentences(path, tag_column=3)).tokens == ("Anna", "sang")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", "#FORMAT=WebAnno TSV 3.3\n\n#Text=Anna sang.\n1-1\t0-4\tAnna\tPER\n", "WebAnno TSV"),
        ("a.tsv", "12\tAnna sang in Oslo.\tnews\n13\tIt rained all day.\tnews\n", "whole texts, not tokens"),
        ("a.html", "<p>Anna sang</p>\n", "HTML"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = write_file(tmp_path, name, content)
    assert said in fault_of(path)
    with pytest.raises(CorpusError, match=said):
        list(corpus.read_sentences(path))


def test_columns_in_a_folder_of_prose_are_refused_by_name(tmp_path: Path) -> None:
    write_file(tmp_path, "texts/a.txt", "Anna sang in Oslo.\nNobody heard her.\n")
    write_file(tmp_path, "texts/b.txt", "Anna B-PER\nsang O\n\nOslo B-LOC\n")
    with pytest.raises(CorpusError, match=r"b\.txt:1: this holds columns"):
        list(corpus.read_sentences(tmp_path / "texts"))
    counts = Counter[str]()
    assert len(list(corpus.read_sentences(tmp_path / "texts", on_bad_file="skip", counts=counts))) == 2
    assert counts["bad_file"] == 1
