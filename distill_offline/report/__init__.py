"""One self-contained HTML page about a run, from one view object; it loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from distill_offline.report.plots import Line, line_plot, reliability_plot
from distill_offline.report.verdict import headline, next_steps, scores_plot, seeds_of, what_is_right
from distill_offline.report.words import count_rows, setting_rows

__all__ = ["SENTENCES", "Page", "View", "as_json", "render", "script_of"]

SENTENCES = '<script id="sentences"'  # a page without it shows no text of the corpus


@dataclass(frozen=True, slots=True)
class Page:
    """The sentences that a reader can look at: the only part of a page that holds text of the corpus.

    A row has `id`, `document`, `text` (None if it cannot be read any more), `readings` by name (lists of `[start, end,
    type, confidence, kind]`, in UTF-16 units, as browsers count; None for no answer), `kinds` of error by reading,
    `absent` (why a reading is None) and `rejected` mentions with their reasons. `left_out` says what is not shown.
    """

    readings: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    left_out: str = ""

    def data(self) -> Markup:
        """All of it, and what one may filter by, for the script of the page."""
        spans = [span for row in self.rows for reading in row["readings"].values() for span in reading or ()]
        data = {
            "readings": self.readings,
            "rows": self.rows,
            "types": sorted({span[2] for span in spans}),
            "kinds": sorted({kind for row in self.rows for kinds in row["kinds"].values() for kind in kinds}),
            "documents": sorted({row["document"] for row in self.rows if row["document"]}),
        }
        return as_json(data)


def as_json(value: Any) -> Markup:
    """JSON in ASCII, lone surrogates included, that ends no script element."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows: evaluate's result, each arm's history, each stage's counts, the settings.

    `stages` are the links of the chain of manifests, `costs` pairs of words, `confusion` has `(gold, given, count)` by
    reading, and `quarantined` a `total` and the first `answers`. Without `page` no text of the corpus is shown.
    `unsealed` are stages that the settings have and that are not whole: nothing of them is shown.
    `pretraining` is the history of that stage; empty without one.
    """

    name: str
    result: Mapping[str, Any]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    counts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    gold_sentences: int | None = None
    stages: Sequence[Mapping[str, str]] = ()
    costs: Sequence[tuple[str, str]] = ()
    confusion: Mapping[str, Sequence[tuple[str, str, int]]] = field(default_factory=dict)
    quarantined: Mapping[str, Any] | None = None
    page: Page | None = None
    pretraining: Sequence[Mapping[str, Any]] = ()
    unsealed: Sequence[str] = ()


def render(view: View) -> str:
    """The page as HTML. Everything that came from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("distill_offline", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    arm_of = {name: arm["name"] for arm in view.result.get("arms", ()) for name in arm["students"]}
    numbers = {
        arm: number for number, arm in enumerate(dict.fromkeys(arm_of.get(name, name) for name in view.histories))
    }
    # The students of an arm have one colour, and one name in the legend.
    drawn = [(name, numbers[arm_of.get(name, name)], rows) for name, rows in view.histories.items()]
    dev = [
        Line(
            name if name in numbers else "",
            [(row["update"] + 1, row["dev_f1"]) for row in rows if "dev_f1" in row],
            number,
        )
        for name, number, rows in drawn
    ]
    mix = [
        line
        for name, number, rows in drawn
        if name in numbers  # what an arm's other students draw differs by chance alone
        for line in (Line(name, _realised(rows), number), Line("", _scheduled(rows), number, is_dashed=True))
    ]
    teacher = next((row for row in view.result["rows"] if "quality" in row), None)
    measured = _measured(view.result)
    script, script_digest = script_of("distill_offline.report", "page.js") if view.page else (Markup(""), "")
    return environment.get_template("page.html.jinja").render(
        view=view,
        **_verdict(view, teacher),
        counts={stage: count_rows(counts) for stage, counts in view.counts.items()},
        settings=setting_rows(view.settings),
        costs=view.costs,
        data=view.page.data() if view.page else "",
        script=script,
        script_digest=script_digest,
        of_classes=any("accuracy" in row for row in view.result["rows"]),
        averages=sorted({name for row in view.result["rows"] for name in row.get("averages", ())}),
        types=sorted({name for row in view.result["rows"] for name in row["per_type"]}),
        teacher=teacher,
        warnings=_warnings(view.counts),
        bins=_bins(teacher),
        measured=[(f"{where}, {name}", bins) for where, kinds in measured.items() for name, bins in kinds.items()],
        diagrams=[
            reliability_plot(
                f"Share that is right by confidence: {where}",
                [Line(name, _points(bins)) for name, bins in kinds.items()],
            )
            for where, kinds in measured.items()
        ],
        pretrained=view.counts.get("pretrain"),
        loss_plot=_loss_plot(view),
        dev_plot=line_plot("Dev F1 by update", dev),
        mix_plot=line_plot("Share of distilled sentences by update (mean of 20 updates); dashed: p(t)", mix),
    )


def script_of(package: str, name: str) -> tuple[Markup, str]:
    """The script of a page, after what all our pages share; and its digest for a content security policy."""
    places = (("distill_offline.report", "shared.js"), (package, name))
    script = "".join(files(place).joinpath(file).read_text("utf-8") for place, file in places)
    return Markup(script), base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _verdict(view: View, teacher: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page opens with; nothing if no student was scored."""
    verdict = view.result.get("verdict")
    if not verdict:
        words = {"headline": "", "what_is_right": "", "scores_plot": ""}
        return {"verdict": None, **words, "next_steps": [], "seeds": 1}
    teacher_f1 = teacher["overall"]["f1"] if teacher else None
    seeds = seeds_of(verdict)
    means = f" (means of {seeds} seeds, a dot for each)" if seeds > 1 else ""
    title = f"F1 on the {view.result['split']} split{means}, with 95% intervals"
    scores = {**({"teacher": [teacher_f1]} if teacher_f1 is not None else {}), **verdict["scores"]}
    return {
        "verdict": verdict,
        "headline": headline(verdict, view.gold_sentences),
        "what_is_right": what_is_right(verdict, are_entities=not any("accuracy" in row for row in view.result["rows"])),
        "next_steps": next_steps(verdict, view.result["sentences"], teacher_f1),
        "scores_plot": scores_plot(title, scores, verdict.get("f1_by_seed")),
        "seeds": seeds,
    }


def _loss_plot(view: View) -> str:
    """How well hidden words were guessed: of the text learnt from, and of what was held out."""
    rows, counts = view.pretraining, view.counts.get("pretrain", {})
    if not rows:
        return ""
    width = max(1, len(rows) // 100)
    parts = [rows[start : start + width] for start in range(0, len(rows), width)]
    learnt = [(part[-1]["update"] + 1, sum(row["loss"] for row in part) / len(part)) for part in parts]
    before = [] if counts.get("loss_before") is None else [(0, counts["loss_before"])]
    held_out = [*before, *((row["update"] + 1, row["held_out"]) for row in rows if "held_out" in row)]
    lines = [Line("learnt from", learnt), *([Line("held out", held_out)] if held_out else [])]
    return line_plot("Loss on hidden words by update, in nats", lines)


def _warnings(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What annotate warned of, by the part of the corpus."""
    parts = {
        corpus_part: counts_of_part
        for corpus_part, counts_of_part in counts.get("annotate", {}).items()
        if isinstance(counts_of_part, Mapping)
    }
    return [
        f"annotate {corpus_part}: {line}"
        for corpus_part, counts_of_part in parts.items()
        for line in counts_of_part.get("warnings", ())
    ]


def _measured(result: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Reliability by where it was measured: the gold training sentences (cross-fitted), and the split scored here."""
    by_split: dict[str, dict[str, Mapping[str, Any]]] = {}
    if learnt := result.get("calibration"):
        by_split["gold training sentences"] = {"as given": learnt["before"], "calibrated": learnt["after"]}
    for quality in (row["quality"] for row in result["rows"] if "quality" in row):
        kinds = {"as given": quality["reliability"], "calibrated": quality.get("calibrated")}
        kinds |= {"yes or no": quality.get("verify")}
        by_split[f"{result['split']} split"] = {name: bins for name, bins in kinds.items() if bins}
    return {where: kinds for where, kinds in by_split.items() if kinds}


def _bins(teacher: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    rows = teacher["quality"]["by_confidence"] if teacher else ()
    return [(f"{row['lowest']:.2f} to {row['highest']:.2f}", row) for row in rows]


def _points(reliability: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(mean, share) for _, _, _, mean, share in reliability["bins"]]


def _scheduled(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """p(t): its first and last update and those about which it changes, so that a step stays upright."""
    ends = {0, len(rows) - 1}
    return [
        (row["update"], row["p"])
        for number, row in enumerate(rows)
        if number in ends or row["p"] != rows[number - 1]["p"] or row["p"] != rows[number + 1]["p"]
    ]


def _realised(rows: Sequence[Mapping[str, Any]], width: int = 20) -> list[tuple[float, float]]:
    points = []
    for start in range(0, len(rows), width):
        window = rows[start : start + width]
        distilled = sum(row["distilled"] for row in window)
        points.append((window[-1]["update"] + 1, distilled / sum(row["distilled"] + row["original"] for row in window)))
    return points
