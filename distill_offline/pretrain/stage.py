"""pretrain: the stage that makes an encoder of the site's own text, sealed, for all arms to start from."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import Any

from distill_offline import manifest
from distill_offline.config.loading import as_plain
from distill_offline.config.settings import PretrainSettings, Settings
from distill_offline.corpus import tokenisation
from distill_offline.errors import InputError, MissingModel
from distill_offline.learning.checkpoint import Checkpoints
from distill_offline.learning.repeatable import prepare
from distill_offline.manifest.method import PRETRAINING, source_digest
from distill_offline.models import catalogue
from distill_offline.pretrain import loop
from distill_offline.pretrain.masking import SPECIAL, Windows
from distill_offline.pretrain.model import Loaded
from distill_offline.pretrain.text import Text, encode, held_out_sources, read_text, text_sources
from distill_offline.run.encoder import PRETRAIN, check_pretrained_arms
from distill_offline.run.folder import RunFolder
from distill_offline.run.gold import make_task
from distill_offline.run.sources import source_digest as digest_of_source
from distill_offline.run.sources import source_paths
from distill_offline.run.stage import Stage
from distill_offline.schema import canonical_json
from distill_offline.storage.files import fresh_folder, make_folder, remove_folder, write_rows

__all__ = ["decides", "fingerprint", "identity", "is_pretrained", "pretrain", "take_over"]

# Of pretrain's settings. Texts count by their digests, and who starts from the encoder changes nothing in it.
_DECIDES_NOTHING = ("text", "never", "arms", "checkpoint_every")

ENCODER = "encoder"
_MANY_UNKNOWN = 0.05  # of the subwords


def pretrain(folder: RunFolder) -> dict[str, Any]:
    """Make pretrain/encoder/ of train.encoder and the text; gives counts. Without the section there is nothing to do.

    Raises InputError if no text is left to learn, or the encoder cannot guess words.
    """
    settings = folder.settings.pretrain
    if settings is None:
        return {}
    check_pretrained_arms(folder.settings)
    stage = _stage(folder, settings)
    if stage.is_fresh():
        folder.say("pretrain: up to date")
        return stage.sealed_counts()
    base = catalogue.locate(folder.settings.train.encoder)
    target = stage.begin()
    threads = prepare(settings.seed)
    loaded = Loaded.read(base, settings.max_length)
    if not loaded.has_head:
        folder.warn(
            f"pretrain: {base.name} comes without a head that guesses words. A new one is learnt from nothing, and "
            "pulls the encoder along: it made students of MiniLM worse (docs/results.md). Compare both in a study "
            "first, or take an encoder that has its head."
        )
    text, counts = _read(folder, settings, loaded)
    checkpoints = Checkpoints(target / "checkpoint", stage.fingerprint, folder.say, stage=PRETRAIN)
    done, guesser = loop.pretrain(loaded, text, settings, watch=folder.watch, stop=folder.stop, checkpoints=checkpoints)
    fresh_folder(target / ENCODER)
    guesser.save(target / ENCODER)
    write_rows(target / "history.jsonl", done.history)
    counts |= {
        "updates": len(done.history),
        "hidden_subwords": sum(row["hidden"] for row in done.history),
        "rows_learnt": len(guesser.known),
        "held_out_unknown": done.unknown,
        "new_head": int(not loaded.has_head),
        "loss_before": done.before,
        "loss_after": done.after,
        "threads": threads,
    }
    folder.say(in_words(counts))
    checkpoints.clear()
    stage.seal(counts)
    return counts


def is_pretrained(folder: RunFolder) -> bool:
    """Whether pretrain/ stands for the configuration and the text as they are now; changes nothing."""
    settings = folder.settings.pretrain
    try:
        return settings is not None and _stage(folder, settings).is_fresh()
    except (InputError, MissingModel):  # a text or the encoder is not there
        return False


def take_over(folder: RunFolder, other: RunFolder) -> None:
    """Have the encoder that another run with the same text and settings made: its files get a second name here."""
    settings = folder.settings.pretrain
    assert settings is not None
    stage = _stage(folder, settings)
    if stage.is_fresh():
        return
    if manifest.fingerprint_of(other.folder(PRETRAIN)) != stage.fingerprint:
        raise InputError(f"{other.path}: its encoder was made of other text or settings than {folder.path} asks for.")
    target = stage.begin()
    remove_folder(target)
    make_folder(target)
    source = other.folder(PRETRAIN)
    for path in sorted(path for path in source.rglob("*") if path.is_file() and path != source / manifest.NAME):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.link(path, copy)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, copy)
            copy.chmod(0o600)
    shutil.copyfile(source / manifest.NAME, target / manifest.NAME)  # last
    (target / manifest.NAME).chmod(0o600)


def fingerprint(folder: RunFolder) -> str:
    """What pretrain/ is made from, as one digest: the same in every run with the same text, settings and encoder."""
    settings = folder.settings.pretrain
    assert settings is not None
    return _stage(folder, settings).fingerprint


def identity(settings: Settings, pretrain: PretrainSettings) -> dict[str, Any]:
    """All that decides what the encoder becomes, as JSON."""
    corpus = settings.corpus
    sources, never = text_sources(settings, pretrain), held_out_sources(settings, pretrain)
    held_out = {canonical_json(digest_of_source(source, corpus)).decode() for source in never}
    return {
        "text": [digest_of_source(source, corpus) for source in sources],
        "never": sorted(held_out),
        "columns": [corpus.tag_column, corpus.scheme],
        "tokens": tokenisation(corpus.language),
        "head": make_task(settings).head,
        "method": source_digest(PRETRAINING),
        "encoder": catalogue.model_digest(catalogue.locate(settings.train.encoder)),
        "settings": decides(pretrain),
    }


def decides(settings: PretrainSettings) -> dict[str, Any]:
    """Those settings that decide what the encoder becomes, as JSON."""
    return {key: value for key, value in as_plain(settings).items() if key not in _DECIDES_NOTHING}


def in_words(counts: dict[str, Any]) -> str:
    """One line on what was learnt, and what was left out."""
    left_out = f"{counts['dropped_as_in_dev_or_test']} of {counts['sentences_read']} sentences are in dev or test"
    learnt = f"{counts['sentences_learnt']} sentences, {counts['updates']} updates"
    if counts["loss_before"] is None:
        return f"pretrain: {learnt}; {left_out} and were left out"
    loss = f"loss on {counts['sentences_held_out']} others {counts['loss_before']:.3f} → {counts['loss_after']:.3f}"
    return f"pretrain: {learnt}; {loss}; {left_out} and were left out"


def _read(folder: RunFolder, settings: PretrainSettings, loaded: Loaded) -> tuple[Text, dict[str, Any]]:
    head, counts = make_task(folder.settings).head, Counter[str]()
    sentences = read_text(folder.settings, settings, head, counts)
    language = folder.settings.corpus.language
    encoded = encode(sentences, loaded.tokenizer, loaded.window, head, language, watch=folder.watch, stop=folder.stop)
    text = Text.of(encoded, settings.held_out)
    held_out = sum(Text.is_out(encoded.contents, settings.held_out))
    if not len(text.learnt):
        raise InputError(
            f"pretrain: no text is left to learn: of {counts['sentences_read']} sentences "
            f"{counts['dropped_as_in_dev_or_test']} are in dev or test, too, and {held_out} are held out "
            f"(pretrain.held_out: {settings.held_out:g}). Name more in pretrain.text."
        )
    unknown = _unknown(text.learnt, loaded.tokenizer)
    if unknown > _MANY_UNKNOWN:
        folder.warn(
            f"pretrain: the tokenizer of {loaded.folder.name} has no subwords for {unknown:.0%} of the text, and the "
            "encoder cannot learn what it does not tell apart. Take one that knows the text's script."
        )
    return text, {
        "sentences_read": counts["sentences_read"],
        "dropped_as_in_dev_or_test": counts["dropped_as_in_dev_or_test"],
        "dropped_as_repeated": counts["dropped_as_repeated"],
        "sentences_learnt": len(encoded.contents) - held_out,
        "sentences_held_out": held_out,
        "subwords_learnt": len(text.learnt.ids),
        **({"share_unknown": round(unknown, 4)} if unknown else {}),
        **{key: counts[key] for key in ("bad_file", "ignored_file") if counts[key]},
    }


def _unknown(text: Windows, tokenizer: Any) -> float:
    """The share of the text's subwords that are the tokenizer's one for what it does not know."""
    words = text.ids[text.words != SPECIAL]
    if tokenizer.unk_token_id is None or not len(words):
        return 0.0
    return float((words == tokenizer.unk_token_id).mean())


def _stage(folder: RunFolder, settings: PretrainSettings) -> Stage:
    folder.require("train.encoder", folder.settings.train.encoder)
    decided = identity(folder.settings, settings)
    sources, never = text_sources(folder.settings, settings), held_out_sources(folder.settings, settings)
    return Stage(
        folder,
        PRETRAIN,
        decides=decided,
        inputs=dict.fromkeys(source_paths(*sources, *never)),
        models={"encoder": decided["encoder"]},
        seed=settings.seed,
    )
