"""Turn a local open LLM into a small, fast, auditable NLP model inside a network that nothing leaves.

What is named here is the API; docs/api.md shows how it is used. A name is imported once it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distill_offline.annotations import AnnotationLine
    from distill_offline.backends.base import Backend
    from distill_offline.config.settings import Settings, Source, TaskSettings
    from distill_offline.corpus import read_examples, read_sentences, write_examples, write_sentences
    from distill_offline.corpus.formats import Format
    from distill_offline.errors import ConfigError, CorpusError, DistillError, UnusableAnswer
    from distill_offline.evaluate.compare import GoldComparison
    from distill_offline.evaluate.compare import compare_with_gold as score_against
    from distill_offline.offline.connections import enforce as enforce_offline
    from distill_offline.pipeline.opened import Run, open_run, read_annotations
    from distill_offline.schema import (
        Annotation,
        Completion,
        Example,
        Message,
        Progress,
        Prompt,
        Rejection,
        Report,
        Sampling,
        Scores,
        Sentence,
        Span,
    )
    from distill_offline.scoring.metrics import Measured, Metric, score
    from distill_offline.spans.bio import decode_bio, encode_bio
    from distill_offline.spans.locate import Alignment, locate
    from distill_offline.student.committee import Committee
    from distill_offline.student.labelling import Entity, LabelledText
    from distill_offline.student.model import Student
    from distill_offline.tasks.base import Task
    from distill_offline.train.blending import Schedule

__all__ = [
    "Alignment", "Annotation", "AnnotationLine", "Backend", "Committee", "Completion", "ConfigError", "CorpusError",
    "DistillError", "Entity", "Example", "Format", "GoldComparison", "LabelledText", "Measured", "Message", "Metric",
    "Progress", "Prompt", "Rejection", "Report", "Run", "Sampling", "Schedule", "Scores", "Sentence", "Settings",
    "Source", "Span", "Student", "Task", "TaskSettings", "UnusableAnswer", "__version__", "decode_bio", "encode_bio",
    "enforce_offline", "locate", "open_run", "read_annotations", "read_examples", "read_sentences", "score",
    "score_against", "write_examples", "write_sentences",
]  # fmt: skip

_PLACES = {
    "Alignment": "distill_offline.spans.locate:Alignment",
    "Annotation": "distill_offline.schema:Annotation",
    "AnnotationLine": "distill_offline.annotations:AnnotationLine",
    "Backend": "distill_offline.backends.base:Backend",
    "Committee": "distill_offline.student.committee:Committee",
    "Completion": "distill_offline.schema:Completion",
    "ConfigError": "distill_offline.errors:ConfigError",
    "CorpusError": "distill_offline.errors:CorpusError",
    "DistillError": "distill_offline.errors:DistillError",
    "Entity": "distill_offline.student.labelling:Entity",
    "Example": "distill_offline.schema:Example",
    "Format": "distill_offline.corpus.formats:Format",
    "GoldComparison": "distill_offline.evaluate.compare:GoldComparison",
    "LabelledText": "distill_offline.student.labelling:LabelledText",
    "Measured": "distill_offline.scoring.metrics:Measured",
    "Message": "distill_offline.schema:Message",
    "Metric": "distill_offline.scoring.metrics:Metric",
    "Progress": "distill_offline.schema:Progress",
    "Prompt": "distill_offline.schema:Prompt",
    "Rejection": "distill_offline.schema:Rejection",
    "Report": "distill_offline.schema:Report",
    "Run": "distill_offline.pipeline.opened:Run",
    "Sampling": "distill_offline.schema:Sampling",
    "Schedule": "distill_offline.train.blending:Schedule",
    "Scores": "distill_offline.schema:Scores",
    "Sentence": "distill_offline.schema:Sentence",
    "Settings": "distill_offline.config.settings:Settings",
    "Source": "distill_offline.config.settings:Source",
    "Span": "distill_offline.schema:Span",
    "Student": "distill_offline.student.model:Student",
    "Task": "distill_offline.tasks.base:Task",
    "TaskSettings": "distill_offline.config.settings:TaskSettings",
    "UnusableAnswer": "distill_offline.errors:UnusableAnswer",
    "decode_bio": "distill_offline.spans.bio:decode_bio",
    "encode_bio": "distill_offline.spans.bio:encode_bio",
    "enforce_offline": "distill_offline.offline.connections:enforce",
    "locate": "distill_offline.spans.locate:locate",
    "open_run": "distill_offline.pipeline.opened:open_run",
    "read_annotations": "distill_offline.pipeline.opened:read_annotations",
    "read_examples": "distill_offline.corpus:read_examples",
    "read_sentences": "distill_offline.corpus:read_sentences",
    "score": "distill_offline.scoring.metrics:score",
    "score_against": "distill_offline.evaluate.compare:compare_with_gold",
    "write_examples": "distill_offline.corpus:write_examples",
    "write_sentences": "distill_offline.corpus:write_sentences",
}


def __getattr__(name: str) -> object:
    module_and_attribute = _PLACES.get(name)
    if module_and_attribute is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = module_and_attribute.partition(":")
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
