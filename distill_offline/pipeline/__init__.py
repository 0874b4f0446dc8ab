"""One function a verb: read artifacts, call the stage, write artifacts, seal the manifest."""

from distill_offline.pipeline.acquire import acquire
from distill_offline.pipeline.annotate import annotate, annotate_shard, merge, reparse
from distill_offline.pipeline.evaluate import evaluate
from distill_offline.pipeline.plan import plan, status
from distill_offline.pipeline.probe import probe
from distill_offline.pipeline.purge import purge, purge_below
from distill_offline.pipeline.run import run
from distill_offline.pipeline.sample import sample
from distill_offline.pipeline.select import select, selection_report
from distill_offline.pipeline.train import train
from distill_offline.pipeline.work import Shard

__all__ = [
    "Shard",
    "acquire",
    "annotate",
    "annotate_shard",
    "evaluate",
    "merge",
    "plan",
    "probe",
    "purge",
    "purge_below",
    "reparse",
    "run",
    "sample",
    "select",
    "selection_report",
    "status",
    "train",
]
