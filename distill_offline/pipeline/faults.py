"""Every fault of a configuration that can be seen without loading a model, found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from distill_offline import registry
from distill_offline.adapt.base_model import base_of
from distill_offline.annotate.questions import check_can_be_asked
from distill_offline.backends import BACKENDS, EXTRAS, OPTIONS
from distill_offline.backends.options import read_options
from distill_offline.config.settings import AdaptSettings, Settings, Source
from distill_offline.corpus.source import existing
from distill_offline.errors import DistillError, MissingModel
from distill_offline.models import catalogue
from distill_offline.pretrain.text import held_out_sources, text_sources
from distill_offline.run.encoder import check_pretrained_arms
from distill_offline.run.gold import make_task, read_labelled, unlabelled
from distill_offline.schema import Origin
from distill_offline.train.arms import check_arms

__all__ = ["faults"]


def faults(settings: Settings) -> list[str]:
    """What is wrong, a line each: the task and its prompt, every corpus's beginning, the backend's options, the arms.

    Of each corpus the first sentence is read, so that what is wrong further down is not seen. Whether models are here
    is doctor's to say.
    """
    lines: dict[str, None] = {}
    for check in _checks(settings):
        try:
            check()
        except DistillError as error:
            lines.update(dict.fromkeys(str(error).splitlines()))
    return list(lines)


def _checks(settings: Settings) -> Iterator[Callable[[], object]]:
    original = settings.corpus.original
    yield partial(make_task, settings)
    for source in (original.train, original.dev, original.test, original.reviewed):
        yield partial(_begin, settings, source, "original")
    yield partial(_begin, settings, settings.corpus.distilled, "distilled")
    if settings.corpus.unlabelled is not None:
        yield lambda: next(unlabelled(settings), None)
    yield partial(_check_backend, settings)
    yield partial(check_arms, settings.train)
    yield partial(check_pretrained_arms, settings)
    yield partial(_check_text, settings)
    if settings.adapt is not None:
        yield partial(_check_base, settings, settings.adapt)


def _begin(settings: Settings, source: str | Source | None, origin: Origin) -> None:
    if source is not None:
        existing(source.path if isinstance(source, Source) else source)  # told even if the task cannot be made
        next(read_labelled(settings, source, origin=origin), None)


def _check_text(settings: Settings) -> None:
    """What `pretrain` reads is there."""
    if settings.pretrain is not None:
        for source in (*text_sources(settings, settings.pretrain), *held_out_sources(settings, settings.pretrain)):
            existing(source.path)


def _check_base(settings: Settings, adapt: AdaptSettings) -> None:
    """An adapter can be trained on the model that is named, as far as that model is here."""
    try:
        base_of(settings)
    except MissingModel:
        named = [adapt.base]
        if settings.backend is not None and settings.backend.name != "openai_server":  # a server's is a name alone
            named.append(settings.backend.model)
        if all(_is_here(model) for model in named if model):
            raise


def _is_here(model: str) -> bool:
    try:
        return catalogue.find(model).exists()
    except MissingModel:
        return False


def _check_backend(settings: Settings) -> None:
    backend = settings.backend
    if backend is None:
        return
    engine = registry.load("backend.name", backend.name, BACKENDS, EXTRAS, group="backends")
    if settings.annotate.verify is not None:
        check_can_be_asked(backend, engine, make_task(settings).head)
    if backend.name in OPTIONS:
        kind = registry.load("backend.options", backend.name, OPTIONS)
        answers: dict[str, Any] = (
            {"answers": {}} if backend.name == "scripted" else {}
        )  # which the corpus has, if nothing else is said
        read_options(kind, {**answers, **backend.options})
