"""One function a verb: read artifacts, call the stage, write artifacts, seal the manifest."""

from distill_offline.pipeline.annotate import annotate
from distill_offline.pipeline.evaluate import evaluate
from distill_offline.pipeline.plan import plan, status
from distill_offline.pipeline.run import run
from distill_offline.pipeline.select import select
from distill_offline.pipeline.train import train

__all__ = ["annotate", "evaluate", "plan", "run", "select", "status", "train"]
