"""One function a verb: read artifacts, call the stage, write artifacts, seal the manifest."""

from distill_offline.adapt.stage import adapt, is_adapted
from distill_offline.annotate.stage import annotate, reparse
from distill_offline.annotate.work import Shard
from distill_offline.evaluate.stage import evaluate
from distill_offline.pipeline.acquire import acquire
from distill_offline.pipeline.adapted import annotate_shard, merge, probe, sample
from distill_offline.pipeline.plan import plan, status
from distill_offline.pipeline.purge import purge, purge_below
from distill_offline.pipeline.run import check_training, run
from distill_offline.pretrain.stage import pretrain
from distill_offline.select.stage import select, selection_report
from distill_offline.train.stage import train

__all__ = [
    "Shard",
    "acquire",
    "adapt",
    "annotate",
    "annotate_shard",
    "check_training",
    "evaluate",
    "is_adapted",
    "merge",
    "plan",
    "pretrain",
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
