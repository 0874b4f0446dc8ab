"""annotate: the teacher's labels for the corpus, and for gold splits so that the teacher itself can be scored."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.annotate.answers import Counts, parse
from distill_offline.annotate.asking import AskSettings, changed_rows, survey
from distill_offline.annotate.frozen import frozen
from distill_offline.annotate.out_of_fold import ask_part, asking_of, by_fold, folds_of
from distill_offline.annotate.pool import demonstrations
from distill_offline.annotate.unknown_types import lost_by_type
from distill_offline.annotate.verify import Verified, ask_about, known_verdicts, note_questions, part_of, verdicts_of
from distill_offline.annotate.work import AnnotateInputs, Shard, corpus_of, questions_of, stage_of
from distill_offline.backends.base import Backend
from distill_offline.completions import CompletionStore, absorb, check_readable, prompt_digest
from distill_offline.errors import InputError, QuarantineError
from distill_offline.label_kinds import kind_of
from distill_offline.run.adapter import adapter_of
from distill_offline.run.folder import SAMPLE, RunFolder
from distill_offline.run.gold import make_task, read_gold
from distill_offline.run.stage import Stage
from distill_offline.schema import Head, Sentence
from distill_offline.spans.inside_token import lost_inside_tokens
from distill_offline.storage.files import ANNOTATIONS, QUARANTINE, STORE

__all__ = ["annotate", "annotate_shard", "merge", "reparse"]


def annotate(folder: RunFolder, *, refreeze: bool = False) -> dict[str, Any]:
    """The teacher's labels for the unlabelled sentences and for the gold splits that annotate.gold names.

    `refreeze`: take what prompt, guidelines and demonstrations are made from as it is now. Gives the counts of the
    manifest. Raises QuarantineError if too many rows could not be used; all completions are kept then, and the files
    of the stage can be looked at, but it is not sealed.
    """
    work = AnnotateInputs.of(folder, refreeze=refreeze)
    for line in getattr(work.task, "warnings", ()):
        folder.warn(line)
    stage = work.stage()
    if stage.is_fresh():
        stage.relink()
        folder.say("annotate: up to date")
        counts = stage.sealed_counts()
        for corpus_part, sentence_counts in counts.items():
            _warn(folder, corpus_part, sentence_counts)
        return counts
    target = stage.begin()
    counts = dict[str, Any]()
    with CompletionStore(target / STORE) as store, work.engine() as engine:
        _take_over(folder, store, SAMPLE)
        for corpus_part in work.parts:
            # The corpus is read three times, to count it, to ask and to parse: no more than a batch is ever held.
            counted = ask_part(work, corpus_part, store, engine)
            verified = ask_about(work, corpus_part, store, engine)
            counts[corpus_part] = _parse(
                folder, corpus_part, work.sentences, work.asking(store, engine), counted, verified
            )
    work.check_unchanged(stage)
    return _sealed(stage, folder, counts)


def annotate_shard(folder: RunFolder, shard: Shard) -> dict[str, Any]:
    """Every n-th row's answers, in a store of the shard's own; `merge` makes annotations of all shards' answers."""
    work = AnnotateInputs.of(folder, shard=shard)
    stage = work.stage()
    if stage.is_fresh():
        stage.relink()
        folder.say(f"{shard.name}: up to date")
        return stage.sealed_counts()
    target, counts = stage.begin(), dict[str, Any]()
    with CompletionStore(target / STORE) as store, work.engine() as engine:
        if not store.count():  # what a probe, a sample or an earlier run has asked is not asked again
            _take_over(folder, store, "annotate", SAMPLE)
        for corpus_part in work.parts:
            counted = ask_part(work, corpus_part, store, engine)
            counts[corpus_part] = {key: counted.as_dict()[key] for key in _SHARD_COUNTS}
            if (verified := ask_about(work, corpus_part, store, engine)) is not None:
                counts[corpus_part]["verify"] = verified.asked_as_dict()
    work.check_unchanged(stage)
    stage.seal(counts)
    return counts


_MOST_CAUSES = 8  # kinds of error that are shown
_SHARD_COUNTS = (
    *("rows", "cached", "asked", "retried", "unusable"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
)


def merge(folder: RunFolder, stores: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Join the answers of shards, or of any other stores of the same run, and write the annotations; no teacher.

    `stores` are files or the folders that hold them; by default those of the run's shards. Gives for each of them what
    was found, and the counts. Raises InputError if rows are left without an answer; what was joined is kept.
    """
    paths = [path / STORE if path.is_dir() else path for path in stores]
    paths = paths or sorted(folder.path.glob(f"shards/*/{STORE}"))
    if not paths:
        raise InputError(f"merge: no shards in {folder.path / 'shards'}. Run annotate --shard first, or name stores.")
    own_store = folder.folder("annotate") / STORE
    for path in paths:
        if not path.is_file():
            raise InputError(f"merge: {path}: no such store.")
        if own_store.exists() and path.samefile(own_store):
            raise InputError(f"merge: {path}: is the run's own store.")
        check_readable(path)
    work = AnnotateInputs.of(folder)
    stage = work.stage()
    stage.parents = [*stage.parents, *(path.parent for path in paths if manifest.is_whole(path.parent))]
    target, counts = stage.begin(), dict[str, Any]()
    with CompletionStore(target / STORE) as store:
        absorbed_by_store = {_shown(folder, path): asdict(absorb(store, path)) for path in paths}
        for name, absorbed in absorbed_by_store.items():
            folder.say(f"merge: {name}: {_absorbed_in_words(absorbed)}")
        asking = work.asking(store, _no_engine)
        gaps = {
            corpus_part: survey(
                corpus_part, work.sentences(corpus_part), asking_of(work, corpus_part, store, _no_engine)
            )
            for corpus_part in work.parts
        }
        if any(gaps.values()):
            raise InputError("\n".join(_gap_in_words(corpus_part, ids) for corpus_part, ids in gaps.items() if ids))
        known = {corpus_part: known_verdicts(work, corpus_part, store) for corpus_part in work.parts}
        unasked = {part: note_questions(work, part, each) for part, each in known.items() if each is not None}
        if any(unasked.values()):
            raise InputError("\n".join(_gap_in_words(part_of(part), ids) for part, ids in unasked.items() if ids))
        for corpus_part, verified in known.items():
            rows = sum(1 for _ in store.rows(corpus_part))
            counted = Counts(rows=rows, cached=rows)
            counts[corpus_part] = _parse(folder, corpus_part, work.sentences, asking, counted, verified)
    work.check_unchanged(stage)
    return {"stores": absorbed_by_store, "counts": _sealed(stage, folder, counts)}


def reparse(folder: RunFolder) -> dict[str, Any]:
    """Write the annotations again out of the stored answers, as the parser now reads them; needs no model.

    Raises InputError if the run has no answer for some row.
    """
    gold = read_gold(folder.settings)
    settings = frozen(folder, gold, write=False)
    task, target = make_task(settings), folder.folder("annotate")
    if not (target / STORE).exists():
        raise InputError(f"{target / STORE}: no answers are stored here. Run annotate first.")
    sentences = partial(corpus_of, settings, gold)
    parts, counts = ("unlabelled", *settings.annotate.gold), dict[str, Any]()
    verified, questions = dict[str, Verified](), questions_of(settings)
    with CompletionStore(target / STORE) as store:
        # The teacher's model may be gone: what it was stands in the recipe of its answers.
        recipes = [store.recipes()[digest] for digest in sorted(store.recipes_of("unlabelled"))]
        if len(recipes) != 1:
            raise InputError(f"annotate --reparse: the answers follow {len(recipes)} recipes, not one. Run annotate.")
        picker = demonstrations(settings, gold)
        asking = AskSettings(
            *(task, picker, store, store.add_recipe(recipes[0]), prompt_digest, _no_engine),
            samples=settings.annotate.samples,
        )
        # Which fold a gold sentence is in is all that is wanted of it; what it was stands in the recipe, too.
        has_folds = settings.adapt is not None and settings.adapt.folds and "train" in parts
        adapter = adapter_of(folder) if has_folds else None
        for corpus_part in parts:
            inside = folds_of(adapter, corpus_part, sentences(corpus_part))
            if questions is not None:
                by = (adapter, inside) if adapter is not None and inside else None
                verified[corpus_part] = verdicts_of(questions, store, recipes[0], by)
            if inside:
                assert adapter is not None
                others = [store.add_recipe(recipes[0] | {"adapter": each.digest}) for each in adapter.folds]
                asked = replace(asking, digest=by_fold(inside, dict(enumerate(others, 1))))
            else:
                asked = asking
            if changed := changed_rows(corpus_part, sentences(corpus_part), asked):
                raise InputError(
                    f"annotate --reparse: {len(changed)} rows of {corpus_part} were answered to another prompt, or "
                    f"never asked (the first is {changed[0]}): text or configuration changed. Run annotate."
                )
        stage = stage_of("annotate", folder, settings, task, picker, recipes[0])
        stage.begin()
        for corpus_part in parts:
            rows = store.progress()[corpus_part][0]
            counted = Counts(rows=rows, cached=rows)
            counts[corpus_part] = _parse(folder, corpus_part, sentences, asking, counted, verified.get(corpus_part))
    for corpus_part, told in verified.items():
        if told.spans and told.unanswered == told.spans:
            raise InputError(
                f"annotate --reparse: the teacher was never asked about the entities of {corpus_part} as "
                "annotate.verify says now. Run annotate: it asks for that alone."
            )
    return _sealed(stage, folder, counts)


def _take_over(folder: RunFolder, store: CompletionStore, *places: str) -> None:
    """Answers that the run has in other stores, a sample's, say, are not asked for again."""
    for name in places:
        if (path := folder.folder(name) / STORE).exists():
            absorb(store, path)


def _no_engine() -> Backend:
    raise AssertionError("nothing is asked here")


def _shown(folder: RunFolder, path: Path) -> str:
    return path.relative_to(folder.path).as_posix() if path.is_relative_to(folder.path) else str(path)


def _absorbed_in_words(absorbed: Mapping[str, Any]) -> str:
    words = f"{absorbed['new']} answers new, {absorbed['duplicate']} here already"
    if absorbed["different"]:
        words += f", {absorbed['different']} here already in other words (those here stay)"
    if absorbed["unreadable"] or absorbed["is_damaged"]:
        words += f"; DAMAGED: {absorbed['unreadable']} unreadable" + (", pages lost" if absorbed["is_damaged"] else "")
    return words


def _gap_in_words(corpus_part: str, ids: Sequence[str]) -> str:
    return (
        f"merge: {len(ids)} rows of {corpus_part} have no answer, the first is {ids[0]}. Run the shards that lack them "
        "to their end (annotate --shard i/n), or annotate, which asks only for these. What was joined is kept."
    )


def _parse(
    folder: RunFolder,
    corpus_part: str,
    corpus: Callable[[str, Counter[str]], Iterator[Sentence]],
    asking: AskSettings,
    counted: Counts,
    verified: Verified | None = None,
) -> dict[str, Any]:
    """Write a part's two files out of the stored answers; `corpus` gives its sentences."""
    target = folder.folder("annotate")
    output = target if corpus_part == "unlabelled" else target / "gold" / corpus_part
    sentences = corpus(corpus_part, counted.passed_over)
    files = (output / ANNOTATIONS, output / QUARANTINE)
    complete = None if verified is None else verified.complete
    parse(sentences, corpus_part, asking.task, asking.store, counted, *files, samples=asking.samples, complete=complete)
    folder.say(_in_one_line(corpus_part, counted, asking.task.head))
    for cause, rows in counted.causes.most_common(_MOST_CAUSES):
        folder.say(f"annotate {corpus_part}: engine_error, {rows} rows, for example: {cause}")
    if (others := len(counted.causes) - _MOST_CAUSES) > 0:
        folder.say(f"annotate {corpus_part}: engine_error: {others} further kinds: see {QUARANTINE}")
    counts = counted.as_dict()
    if verified is not None:
        folder.say(f"annotate {corpus_part}: {verified.in_words()}")
        counts["verify"] = verified.as_dict()
    if warnings := _warn(folder, corpus_part, counts):
        counts["warnings"] = warnings
    return counts


def _warn(folder: RunFolder, corpus_part: str, counts: Mapping[str, Any]) -> list[str]:
    """Shows, and gives, lines on the mentions that no tokens hold, and on those of unknown types, if they are many."""
    limits, rejected, aligned = folder.settings.annotate, counts["rejected"], counts["aligned"]
    mentions = sum(rejected.values()) + sum(aligned.values()) - aligned.get("repeated", 0)
    strangers, without = rejected.get("unknown_type", 0), counts.get("only_unknown", 0)
    lines = (
        lost_inside_tokens(rejected.get("inside_token", 0), mentions, limits.max_inside_token),
        lost_by_type(strangers, mentions, without, counts["annotated"], limits.max_unknown_type),
    )
    for line in filter(None, lines):
        folder.warn(f"annotate {corpus_part}: {line}")
    return [line for line in lines if line]


def _sealed(stage: Stage, folder: RunFolder, counts: dict[str, Any]) -> dict[str, Any]:
    _check_quarantine(folder, counts["unlabelled"])
    for output in stage.folder.glob("gold/*"):
        if output.name not in counts:  # of an earlier annotate.gold: the seal is for what was made now
            shutil.rmtree(output)
    stage.seal(counts)
    return counts


def _in_one_line(corpus_part: str, counts: Counts, head: Head) -> str:
    spans = (
        f"; {sum(counts.aligned.values())} spans{_in_words(counts.aligned)}, "
        f"{sum(counts.rejected.values())} mentions rejected{_in_words(counts.rejected)}"
    )
    return (
        f"annotate {corpus_part}: {counts.rows} rows, {counts.cached} cached, {counts.asked} asked, "
        f"{counts.annotated} annotated, {sum(counts.quarantined.values())} quarantined{_in_words(counts.quarantined)}"
        + (spans if kind_of(head).per_token else _rejected(counts))
        + (f"; {sum(counts.renamed.values())} types by another name{_most(counts.renamed)}" if counts.renamed else "")
        + (f"; passed over{_in_words(counts.passed_over)}" if counts.passed_over else "")
    )


def _rejected(counts: Counts) -> str:
    """What answers about whole texts name that cannot be kept."""
    if not counts.rejected:
        return ""
    return f"; {sum(counts.rejected.values())} classes rejected{_in_words(counts.rejected)}"


_SHOWN = 5


def _most(counts: Counter[str]) -> str:
    """The most frequent ones, in words."""
    shown = ", ".join(f"{n} {name}" for name, n in counts.most_common(_SHOWN))
    return f" ({shown}{', ...' if len(counts) > _SHOWN else ''})"


def _in_words(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{n} {reason}' for reason, n in sorted(counts.items()))})" if counts else ""


def _check_quarantine(folder: RunFolder, counts: Mapping[str, Any]) -> None:
    refused, limit = sum(counts["quarantined"].values()), folder.settings.annotate.max_quarantined
    if counts["rows"] and refused > limit * counts["rows"]:
        failed = counts["quarantined"].get("engine_error", 0)
        again = f"The {failed} that the engine failed on are asked again by the same command; " if failed else ""
        again += "all answers are stored" if failed else "All answers are stored"
        raise QuarantineError(
            f"annotate: {refused} of {counts['rows']} rows are quarantined{_in_words(counts['quarantined'])}, more "
            f"than annotate.max_quarantined {limit} allows. See {folder.folder('annotate') / QUARANTINE}. {again}: "
            "with a higher limit, or a better parser, none is asked for again."
        )
