"""Nothing touches the network: the reduced quickstart and the real vLLM engine, isolated and under the tracer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import SMOLLM, real_model, smollm_folder

from distill_offline import manifest
from distill_offline.offline import isolation
from distill_offline.offline.strace import strace_fault

ROOT = Path(__file__).parent.parent
FAULT = strace_fault() or isolation.probe().fault
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(FAULT), reason=f"no command can be isolated and traced here: {FAULT}"),
]
CLI = (sys.executable, "-m", "distill_offline")

SMALL = (
    "annotate.limit=4", "annotate.gold=[]", "annotate.max_quarantined=1", "train.updates=2", "train.eval_every=2",
    "train.seeds=1", "train.arms=[{name: original_only}, {name: simple_mix}]",
    'corpus.original.dev={path: "package:demo/dev.jsonl", limit: 4}',
    'corpus.original.test={path: "package:demo/test.jsonl", limit: 4}',
    "corpus.original.train.limit=20", "adapt.epochs=1",
)  # fmt: skip

VLLM = """
import sys
from pathlib import Path
from distill_offline import offline
from distill_offline.backends.vllm import Vllm
from distill_offline.schema import Message, Prompt, Sampling
if __name__ == "__main__":  # the engine's own processes load this file again
    offline.enforce()
    options = {"max_model_len": 512, "max_num_seqs": 2, "enforce_eager": True}
    backend = Vllm(Path(sys.argv[1]), Sampling(max_tokens=8), options)
    [(_, completion)] = backend.complete([Prompt("s0", (Message("user", "Say hello."),))])
    backend.close()
    assert completion.text
"""


def traced(folder: Path, *command: str, **environment: str) -> dict[str, Any]:
    """The report of a command that was isolated and traced."""
    done = subprocess.run(
        [*CLI, "--isolate", "doctor", "--network", "--json", "--", *command],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["status"], report["isolated"], report["unread"]) == (0, True, []), done.stderr
    return report


def assert_nothing_was_touched(report: dict[str, Any]) -> None:
    assert [touch for touch in report["touches"] if touch["place"] == "beyond"] == []
    assert [touch for touch in report["touches"] if touch["place"] == "relay"] == []
    assert report["clean"]
    assert report["io_uring"] == []


def test_every_stage_of_the_quickstart_reaches_for_nothing(tmp_path: Path) -> None:
    models = real_model(SMOLLM).parent
    assert real_model("all-MiniLM-L6-v2").parent == models
    changes = [word for change in SMALL for word in ("--set", change)]
    run = [*CLI, "run", str(ROOT / "configs/quickstart.yaml"), *changes]
    report = traced(tmp_path, *run, DISTILL_MODELS=str(models))
    assert_nothing_was_touched(report)
    folder = tmp_path / "runs/quickstart"
    assert manifest.verify(folder) == []
    for stage in ("adapt", "annotate", "select", "train/simple_mix", "evaluate", "report", "."):
        internal = manifest.read(folder / stage)["predicate"]["buildDefinition"]["internalParameters"]
        assert internal["network"]["namespace"] == "loopback only", stage


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_the_vllm_engine_and_its_workers_reach_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(VLLM)
    switches = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    report = traced(tmp_path, sys.executable, str(tmp_path / "engine.py"), str(smollm_folder()), **switches)
    assert_nothing_was_touched(report)
    processes = {touch["process"] for touch in report["touches"]}
    assert any(name.startswith("VLLM::") for name in processes), "its workers were not seen"
