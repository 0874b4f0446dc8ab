"""The verbs of the command line: the module that each lives in, and what it does in one line."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["VERBS", "Verb"]


class Verb(NamedTuple):
    """`module` below `distill_offline.cli` holds a command named as the verb; `help` fits 80 columns."""

    module: str
    help: str


VERBS = {
    "acquire": Verb("acquire", "Choose which sentences to annotate next."),
    "adapt": Verb("adapt", "Let the teacher learn from the gold training sentences."),
    "advise": Verb("advise", "Say what to do next: label more, annotate, or stop."),
    "annotate": Verb("annotate", "Let the teacher label the corpus."),
    "combine": Verb("combine", "Join the labels of several teachers."),
    "completion": Verb("completion", "Print what lets a shell complete commands with Tab."),
    "convert": Verb("convert", "Turn a corpus into another format."),
    "doctor": Verb("doctor", "Check this machine: packages, GPU, models, disks, network."),
    "evaluate": Verb("evaluate", "Score a student, annotations or a tagged file on gold."),
    "export-labels": Verb("export_labels", "Write labels without their text."),
    "init": Verb("init", "Write a first configuration from a look at your files."),
    "manifest": Verb("manifest", "Show, verify, compare or sign what made a folder."),
    "merge": Verb("annotate", "Join the answers of shards into one run."),
    "models": Verb("models", "List, fetch, pin and verify models."),
    "predict": Verb("predict", "Label text with a student."),
    "pretrain": Verb("pretrain", "Let the encoder learn the site's own text."),
    "purge": Verb("purge", "Delete a document from runs."),
    "release": Verb("release", "Carry a student out in a small signed folder."),
    "report": Verb("report", "Write the page of a run or of a study."),
    "review": Verb("review", "Let people confirm or correct labels, on a page."),
    "run": Verb("run", "Do all stages: annotate, select, train, evaluate, report."),
    "select": Verb("select", "Choose which annotations students may learn from."),
    "study": Verb("study", "Train and score arms for several sizes and seeds."),
    "train": Verb("train", "Select, then train a student for each arm."),
}
