"""From a student back to all that made it: the walk along the chain, and what differs between two runs."""

from distill_offline.provenance.differences import Difference, StageDifferences, difference
from distill_offline.provenance.links import Link, Problem
from distill_offline.provenance.trust import Trust
from distill_offline.provenance.walk import walk

__all__ = ["Difference", "Link", "Problem", "StageDifferences", "Trust", "difference", "walk"]
