"""docs/first-hour.md, typed from top to bottom: commands as they are printed, the configuration with tiny models."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from distill_offline.cli import commands
from distill_offline.corpus import read_sentences

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "distill_offline/data/demo"
PAGE = (ROOT / "docs/first-hour.md").read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
CONFIG = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[0])


def test_installation_is_that_of_the_readme() -> None:
    line = next(line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "quickstart.yaml" in line)
    for command in BLOCKS[0].splitlines():
        for part in command.replace(" && . .venv/bin/activate", "").split(" && "):
            assert part in line, part


def dictionary_teacher(place: Path) -> dict[str, object]:
    """A backend that knows the mentions of the labelled sentences and finds them again in any text."""
    rows = [json.loads(line) for line in (DEMO / "train.jsonl").read_text("utf-8").splitlines()]
    known = {row["text"][span["start"] : span["end"]]: span["type"] for row in rows for span in row["spans"]}
    sentences = [(row["id"], row["text"]) for row in rows]
    sentences += [(sentence.id, sentence.text) for sentence in read_sentences("package:demo/unlabelled")]
    with (place / "answers.jsonl").open("w", encoding="utf-8") as file:
        for id_, text in sentences:
            answer = json.dumps([[name, kind] for name, kind in known.items() if name in text])
            file.write(json.dumps({"id": id_, "text": answer}) + "\n")
    return {"name": "scripted", "options": {"answers": "answers.jsonl"}}


@pytest.mark.slow
def test_every_command_works_as_printed(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "distill_offline").symlink_to(ROOT / "distill_offline")
    said: dict[str, str] = {}
    for command in [line for block in BLOCKS[1:] for line in block.splitlines()]:
        words = shlex.split(command)
        if words[0] != "distill-offline":
            subprocess.run(command, shell=True, check=True, capture_output=True)
            if words == ["mkdir", "mine"]:
                tiny = CONFIG | {"backend": dictionary_teacher(tmp_path)}
                tiny["train"] = CONFIG["train"] | {"encoder": str(encoder), "updates": 12, "eval_every": 12}
                (tmp_path / "mine/my.yaml").write_text(yaml.safe_dump(tiny), "utf-8")
            continue
        result = CliRunner().invoke(commands, words[1:])
        assert result.exit_code == 0, f"{command}: {result.output}"
        said[" ".join(words[1:3])] = result.output
    assert {"run mine/my.yaml", "manifest verify"} <= set(said)
    report = json.loads(Path("runs/mine/evaluate/report.json").read_text("utf-8"))
    rows = {row["name"]: row["overall"] for row in report["rows"]}
    assert set(rows) == {"teacher", "original_only", "distilled_only", "simple_mix"}
    assert rows["teacher"]["f1"] == 1.0  # its dictionary was made from the labels
    assert all(row["support"] == rows["teacher"]["support"] > 50 for row in rows.values())
    predicted = Path("mine/predicted.jsonl").read_text("utf-8").splitlines()
    assert len(predicted) == sum(1 for _ in read_sentences("package:demo/unlabelled"))
