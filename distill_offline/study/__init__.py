"""study: arms × original sizes × seeds over the pipeline, kept as rows, and what they say together."""

from distill_offline.study.at_once import cells_at_once, run
from distill_offline.study.examine.rows import Examinations, Examined
from distill_offline.study.examine.summary import Explanation, summarise_examined
from distill_offline.study.examine.tables import examined_tables
from distill_offline.study.grid import Cell, Study
from distill_offline.study.methods import examined_by_method, rows_by_method
from distill_offline.study.publish import as_json, page, publish
from distill_offline.study.remaining import progress
from distill_offline.study.results import Results, Row
from distill_offline.study.running import Runner
from distill_offline.study.summary import Summary, summarise
from distill_offline.study.tables import arm_table, comparison_table, type_table

__all__ = [
    "Cell",
    "Examinations",
    "Examined",
    "Explanation",
    "Results",
    "Row",
    "Runner",
    "Study",
    "Summary",
    "arm_table",
    "as_json",
    "cells_at_once",
    "comparison_table",
    "examined_by_method",
    "examined_tables",
    "page",
    "progress",
    "publish",
    "rows_by_method",
    "run",
    "summarise",
    "summarise_examined",
    "type_table",
]
