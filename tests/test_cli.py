"""Every verb as a user types it, in processes of its own where exit codes and signals matter."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from distill_offline import cli, offline
from distill_offline.cli import commands
from distill_offline.cli.verbs import VERBS
from distill_offline.errors import os_fault

ROOT = Path(__file__).parent.parent


def write_config(place: Path, encoder: Path) -> Path:
    value = {
        "name": "small",
        "task": {
            "types": dict.fromkeys(("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE"), "as its name says")
        },
        "corpus": {
            "original": {
                "train": {"path": "package:demo/train.jsonl", "limit": 40},
                "dev": {"path": "package:demo/dev.jsonl", "limit": 10},
                "test": {"path": "package:demo/test.jsonl", "limit": 10},
            },
            "unlabelled": {"path": "package:demo/train.jsonl", "skip": 40, "limit": 60},
        },
        "backend": {"name": "scripted"},
        "annotate": {"gold": ["test"]},
        "train": {"encoder": str(encoder), "updates": 2, "batch_size": 4, "arms": [{"name": "simple_mix"}]},
    }
    path = place / "small.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.fixture
def config(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small configuration in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, encoder)


@dataclass(frozen=True, slots=True)
class Finished:
    """The folder in which `run small.yaml` was typed, and what it said."""

    place: Path
    result: Result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Finished:
    place = tmp_path_factory.mktemp("finished")
    config = write_config(place, encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return Finished(place, invoke("run", str(config)))


@pytest.fixture
def student(config: Path, finished: Finished) -> str:
    """The student of a run that lies in the working folder, a copy for this test alone."""
    assert finished.result.exit_code == 0
    shutil.copytree(finished.place / "runs", config.parent / "runs", symlinks=True)
    return "runs/small/train/simple_mix/student"


@dataclass(frozen=True, slots=True)
class Done:
    returncode: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def program_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The entry point in this process, which has paid for its imports; the real hook would stay for its whole life."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(offline, "enforce", lambda allow=(): None)
        monkeypatch.setattr(sys, "argv", ["distill-offline", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Done(ended.value.code, said.out, said.err)

    return run


def test_ctrl_c_ends_any_verb_with_its_exit_code(tmp_path: Path) -> None:
    code = """
        import sys
        from distill_offline import cli
        @cli.commands.command()
        def wait(): raise KeyboardInterrupt
        sys.argv[1:] = ["wait"]
        cli.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("error: interrupted.")) == (130, True)


def invoke(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(commands, arguments)


def program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "distill_offline", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in sorted(group.commands.items()):
        inner = (*path, name)
        found += leaves(command, inner) if isinstance(command, click.Group) else [(inner, command)]
    return found


def test_run_prints_scores_on_stdout_and_progress_on_stderr(finished: Finished) -> None:
    result = finished.result
    assert result.exit_code == 0, result.output
    assert "simple_mix" in result.stdout
    assert "teacher" in result.stdout
    assert "rows" in result.stderr
    assert "annotate unlabelled:" not in result.stdout
    assert (finished.place / "runs/small/report/index.html").exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--arm", "smiple_mix"], "there is no arm 'smiple_mix'. There are: "),
        (["--set", "train.arms=[{name: simple_mix, schedule: curve}]"], "curve"),
        (["--set", "pretrain.arms=[simple_mix-2]"], "there is no arm 'simple_mix-2'"),
    ],
)
def test_train_refuses_arms_before_the_encoder_learns_any_text(config: Path, more: list[str], reason: str) -> None:
    refused = program("train", str(config), "-o", "new", "--set", "pretrain.updates=2", *more, cwd=Path.cwd())
    assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    assert not Path("new").exists()


def test_json_is_all_that_stands_on_stdout(config: Path) -> None:
    value = json.loads(invoke("run", str(config), "--json").stdout)
    assert [row["name"] for row in value["rows"]] == ["teacher", "simple_mix"]
    assert set(value["rows"][0]["overall"]) == {"precision", "recall", "f1", "support"}
    counts = json.loads(invoke("annotate", str(config), "--json").stdout)
    assert counts["unlabelled"]["rows"] == 60
    plan = json.loads(invoke("train", str(config), "--dry-run", "--json").stdout)
    assert [step["stage"] for step in plan] == ["select", "train simple_mix"]


def test_dry_run_leaves_nothing_behind(config: Path) -> None:
    result = invoke("annotate", str(config), "--dry-run")
    assert "60 prompts to ask" in result.stdout
    assert not Path("runs").exists()


def test_status_tells_how_far_an_annotation_is(config: Path) -> None:
    before = json.loads(invoke("annotate", str(config), "--status", "--json").stdout)
    assert before == {"finished": False, "completions": 0, "parts": {}}
    assert not Path("runs").exists()
    invoke("annotate", str(config))
    after = json.loads(invoke("annotate", str(config), "--status", "--json").stdout)
    assert after["finished"]
    assert after["parts"]["unlabelled"] == {"reached": 60, "answered": 60}
    assert "finished" in invoke("annotate", str(config), "--status").stdout


def test_set_changes_a_setting_and_is_recorded(config: Path) -> None:
    invoke("annotate", str(config), "--set", "annotate.limit=7", "--set", "name=other", "-o", "elsewhere")
    resolved = yaml.safe_load(Path("elsewhere/config.yaml").read_text())
    assert resolved["annotate"]["limit"] == 7
    assert len(Path("elsewhere/annotate/annotations.jsonl").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "absent.yaml"), 2, "absent.yaml: there is no such configuration file"),
        (("run", "small.yaml", "--set", "train.epoch=3"), 2, "train.epoch is unknown"),
        (("run", "small.yaml", "--set", "backend.name=vlm"), 2, "Did you mean vllm?"),
        (("run", "small.yaml", "--set", "corpus.unlabelled=gone.txt"), 2, "gone.txt"),
        (("train", "small.yaml", "--set", "train.encoder=nowhere/model"), 2, "annotate has not been run"),
        (("evaluate", "gone", "--gold", "package:demo/test.jsonl"), 2, "gone"),
        (("manifest", "verify", "."), 1, "manifest.json"),
        (("predict", "gone", "package:demo/test.jsonl", "-o", "x.jsonl"), 4, "no student here"),
        (("models", "fetch", "no-such-model"), 2, "no-such-model"),
    ],
)
def test_a_mistake_is_one_clean_line_and_an_exit_code(
    config: Path, program_here: Callable[..., Done], arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = program_here(*arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_the_shell_sees_the_exit_code_and_no_traceback(tmp_path: Path) -> None:
    result = program("run", "absent.yaml", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: absent.yaml: there is no such configuration file")
    assert "Traceback" not in result.stderr


def test_exit_code_3_when_too_much_is_quarantined(config: Path, program_here: Callable[..., Done]) -> None:
    result = program_here("run", str(config), "--set", "backend.options.noise=0.9")
    assert result.returncode == 3, result.stderr
    assert "quarantine.jsonl" in result.stderr


def test_exit_code_5_below_the_gate(student: str, program_here: Callable[..., Done]) -> None:
    result = program_here("evaluate", student, "--gold", "package:demo/test.jsonl", "--min-f1", "0.9")
    assert result.returncode == 5
    assert "0.9" in result.stderr


@pytest.mark.slow
def test_ctrl_c_drains_commits_and_prints_the_command_that_resumes(config: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    # With the nearest sentences as demonstrations, each process would import scikit-learn.
    command = ["annotate", str(config), "--set", "annotate.demonstrations.strategy=static", "-o"]
    slow = ["--set", "backend.options.delay_s=0.1"]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "distill_offline", *command, number.name, *slow],
            cwd=config.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    ]
    deadline = time.monotonic() + 60
    for number in numbers:
        while not asks(config, number.name) and time.monotonic() < deadline:
            time.sleep(0.1)
    time.sleep(0.3)  # some answers
    for child, number in zip(started, numbers, strict=True):
        child.send_signal(number)
    answers = 0
    for child, number in zip(started, numbers, strict=True):
        _, said = child.communicate(timeout=30)
        assert child.returncode == 130, said
        assert f"to go on: distill-offline {shlex.join([*command, number.name, *slow])}" in said
        assert "Traceback" not in said
        found = re.search(r"stopped after (\d+) answers", said)
        assert found, said
        counts = json.loads(invoke(*command, number.name, "--json").stdout)["unlabelled"]
        assert counts["cached"] == int(found[1])
        assert counts["cached"] + counts["asked"] == 60
        answers += counts["cached"]
    assert answers > 0


def asks(config: Path, place: str) -> bool:
    """Whether an annotation under way in `place` has come to its first prompts."""
    if not (config.parent / place / "annotate/completions.sqlite").exists():
        return False
    status = json.loads(invoke("annotate", str(config), "--status", "--json", "-o", place).stdout)
    return "unlabelled" in status["parts"]


def test_evaluate_reads_students_annotations_and_tagged_files(student: str, program_here: Callable[..., Done]) -> None:
    gold = "package:demo/test.jsonl"
    found = json.loads(invoke("evaluate", student, "--gold", gold, "--json").stdout)
    assert set(found) >= {"on", "overall", "per_type", "errors"}
    teacher = json.loads(invoke("evaluate", "runs/small/annotate/gold/test", "--gold", gold, "--json").stdout)
    assert teacher["counts"]["unanswered"] == 119  # of 129, ten were annotated
    assert invoke("predict", student, gold, "-o", "out.conll").exit_code == 0
    Path("gold.conll").write_text("EU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n")
    Path("mine.conll").write_text("EU I-ORG O\nrejects O O\n\nPeter B-PER B-PER\nBlackburn I-PER O\n")
    scores = json.loads(
        invoke(
            "evaluate", "mine.conll", "--gold", "gold.conll", "--tag-column", "1", "--scheme", "iob2", "--json"
        ).stdout
    )
    assert scores["overall"]["recall"] == 0.5
    assert scores["counts"]["stray_tags"] == 1
    Path("other.conll").write_text("EU B-ORG\nrejected O\n\nPeter B-PER\nBlackburn I-PER\n")
    differing = program_here("evaluate", "other.conll", "--gold", "gold.conll")
    assert differing.returncode == 2
    assert "other.conll:2" in differing.stderr


@pytest.mark.parametrize("suffix", ["jsonl", "conll", "parquet"])
def test_predict_labels_plain_text(student: str, suffix: str) -> None:
    Path("note.txt").write_text("Marta Lindqvist closed V-17 at 06:00. Nobody was hurt.\n")
    result = invoke("predict", student, "note.txt", "-o", f"out.{suffix}")
    assert "2 sentences labelled" in result.stdout
    from distill_offline.corpus import read_examples

    assert [e.sentence.tokens[0] for e in read_examples(f"out.{suffix}", origin="distilled")] == ["Marta", "Nobody"]


@pytest.mark.usefixtures("student")
def test_manifest_show_and_verify(program_here: Callable[..., Done]) -> None:
    assert json.loads(invoke("manifest", "show", "runs/small").stdout)["stage"] == "run"
    assert "every file is" in invoke("manifest", "verify", "runs/small").stdout
    Path("runs/small/evaluate/report.json").write_text("{}")
    changed = program_here("manifest", "verify", "runs/small")
    assert changed.returncode == 1
    assert "evaluate/report.json" in changed.stdout


def test_every_verb_has_an_example_in_its_help_and_the_example_is_valid() -> None:
    for path, command in leaves(commands):
        text = " ".join((command.help or "").split())
        found = re.search(r"Example: distill-offline (.+)$", text)
        assert found, f"{path} has no example"
        words = shlex.split(found[1])
        assert tuple(words[: len(path)]) == path
        command.make_context(path[-1], words[len(path) :])  # raises on an unknown option or a missing argument


@pytest.mark.slow
def test_the_examples_of_the_quickstart_run_without_a_model(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help's examples, as they are but for the models, which a fresh checkout does not have."""
    small = ["--set", "backend.name=scripted", "--set", "backend.model=x", "--set", f"train.encoder={encoder}"]
    small += ["--set", "backend.options={}", "--set", "corpus.unlabelled=package:demo/train.jsonl"]
    small += ["--set", "train.updates=2", "--set", "adapt=null"]
    small += ["--set", "train.seeds=1", "--set", "train.arms=[{name: original_only}, {name: simple_mix}]"]
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    key = tmp_path / "release"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    Path("signers").write_text("me " + key.with_suffix(".pub").read_text())
    assert invoke("run", "configs/quickstart.yaml", *small).exit_code == 0
    apart = [*small, "-o", "runs/sharded"]  # merged elsewhere: the run's students keep the annotations they learnt from
    assert invoke("annotate", "configs/quickstart.yaml", *apart, "--shard", "1/1").exit_code == 0
    for path, command in leaves(commands):
        example = re.search(r"Example: distill-offline (.+)$", " ".join((command.help or "").split()))
        assert example
        if path[0] in ("models", "doctor", "study"):  # the last reads corpora that may not be redistributed
            continue
        words = shlex.split(example[1])
        if path[0] in ("release", "manifest"):  # what came before has changed the annotations that students learnt from
            assert invoke("run", "configs/quickstart.yaml", *small).exit_code == 0
        if path[0] == "export-labels":  # what was annotated here is another text
            words[words.index("--corpus") + 1] = "package:demo/train.jsonl"
        if path[0] == "manifest":  # equal runs, so that nothing differs; a key of this test's own, which has signed
            here = {"runs/first": "runs/quickstart", "runs/second": "runs/quickstart", "~/.ssh/release": str(key)}
            words = [here.get(word, word) for word in words]
            assert invoke("manifest", "sign", "runs/quickstart", "--ssh-key", str(key)).exit_code == 0
        words += small if path[0] in ("run", "annotate", "select", "train") else []
        words += apart if path[0] == "merge" else []
        result = invoke(*words)
        assert result.exit_code == 0, f"{words}: {result.output}"


def test_the_process_is_offline_before_anything_is_parsed(tmp_path: Path) -> None:
    code = (
        "import os, sys, socket; sys.argv = ['distill-offline', 'models', 'list', '--json']\n"
        "from distill_offline.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert os.environ['HF_HUB_OFFLINE'] == '1'\n"
        "try: socket.create_connection(('192.0.2.1', 9), 1)\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={**os.environ}, check=True
    )
    assert result.stdout.rstrip().endswith("NetworkBlocked")


def test_every_verb_has_a_whole_sentence_in_the_list_and_a_command_of_its_name() -> None:
    shown = CliRunner().invoke(commands, ["--help"], terminal_width=80).stdout
    context = click.Context(commands)
    for name, verb in VERBS.items():
        assert f"  {name} " in shown
        assert f" {verb.help}\n" in shown
        command = commands.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert "..." not in shown.partition("Commands:")[2]


def test_an_unknown_verb_is_one_line_of_usage() -> None:
    result = CliRunner().invoke(commands, ["anotate"])
    assert result.exit_code == 2
    assert "No such command 'anotate'" in result.output


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Make room on that disk"),
        (errno.EDQUOT, "within your quota"),
        (errno.EROFS, "can only be read"),
        (errno.EACCES, "permissions of the file"),
        (errno.ENOENT, "Is the name right"),
        (errno.EISDIR, "That is a folder"),
        (errno.ENOTDIR, "is a file, and a folder"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOMEM, "Free some memory"),
        (errno.ETIMEDOUT, ""),
    ],
)
def test_advice_about_disks_comes_with_errors_of_disks_alone(number: int, advice: str) -> None:
    fault = os_fault(OSError(number, os.strerror(number), "/some/file"))
    assert fault.exit_code == 4
    assert str(fault).startswith(f"/some/file: {os.strerror(number)}.")
    assert advice in str(fault)
    assert ("disk" in str(fault)) == (number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))
    assert str(os_fault(OSError("odd"))) == "odd. What was stored is kept, and the same command goes on."
