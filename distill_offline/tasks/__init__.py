"""Tasks: what is asked of a teacher and how its answers become labels; each is one file, named in the table below."""

from __future__ import annotations

TASKS = {
    "ner": "distill_offline.tasks.ner:NER",
    "multi_label_classification": "distill_offline.tasks.multi_label_classification:MultiLabelClassification",
    "text_classification": "distill_offline.tasks.text_classification:TextClassification",
}
