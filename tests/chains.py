"""A tiny run with everything behind it, sealed by hand, with corpus, models, bundle and signers."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crafted_models
from bundles import COMMIT, MODEL, Bundle, Keys, safetensors, small_bundle

from distill_offline import manifest
from distill_offline.bundle.signing import Keys as SigningKeys
from distill_offline.bundle.signing import sign
from distill_offline.completions.tables import TABLES
from distill_offline.config.loading import as_plain, dump, parse_settings
from distill_offline.manifest import NAME
from distill_offline.manifest.installation import RELEASE, installation
from distill_offline.manifest.statement import write_statement
from distill_offline.models import catalogue

__all__ = ["CONFIG", "Chain", "make_chain"]

GOLD = "9" * 64
CONFIG: dict[str, Any] = {
    "name": "demo",
    "task": {"types": {"LOC": "a place"}},
    "corpus": {
        "original": {"train": "corpus/train.conll", "test": "corpus/test.conll"},
        "unlabelled": "corpus/plain.txt",
    },
    "backend": {"name": "llama_cpp", "model": "models/teacher.gguf"},
    "train": {"encoder": "models/encoder", "updates": 5, "arms": [{"name": "simple_mix"}]},
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """`place` is the working folder of whoever made the run; the bundle's own release lies there, too."""

    place: Path
    keys: Keys

    @property
    def run(self) -> Path:
        return self.place / "runs/demo"

    @property
    def bundle(self) -> Path:
        return self.place / "bundle"

    @property
    def arm(self) -> Path:
        return self.run / "train/simple_mix"

    def copy(self, place: Path) -> Chain:
        shutil.copytree(self.place, place)
        return Chain(place, self.keys)

    def seal(self, stage: str, **changed: Any) -> None:
        """Seal a stage as the pipeline does, by the program of the installed release."""
        inputs, models, parents = self._made_from(stage)
        given: dict[str, Any] = {
            "config": as_plain(parse_settings(CONFIG, "chain")), "seeds": {"seed": 0},
            "inputs": inputs, "models": models, "parents": [self.run / each / NAME for each in parents],
        }  # fmt: skip
        manifest.seal(self.run / stage, stage=stage, **given | changed)
        self._claim(self.run / stage)

    def seal_run(self) -> None:
        manifest.seal_run(self.run, config=as_plain(parse_settings(CONFIG, "chain")), seeds={"seed": 0})
        self._claim(self.run)
        self.sign()

    def sign(self, key: str = "own") -> None:
        sign(self.run / NAME, SigningKeys(Path(self.keys(key))))

    def _made_from(self, stage: str) -> tuple[list[Path], dict[str, str], list[str]]:
        corpus, models = Path("corpus"), Path("models")
        if stage == "annotate":
            digest = catalogue.model_digest(models / "teacher.gguf")
            return [corpus / "plain.txt"], {"teacher": digest}, []
        if stage == "select":
            return [corpus / "test.conll"], {}, ["annotate"]
        if stage == "evaluate":
            return [corpus / "test.conll"], {}, ["train/simple_mix", "annotate"]
        return [corpus / "train.conll"], {"encoder": catalogue.model_digest(models / "encoder")}, ["select"]

    def _claim(self, folder: Path) -> None:
        """Write into a manifest what it would say, had the release's own program sealed it."""
        made = installation({RELEASE: str(self.bundle)}, package=self.bundle / "environments/distill_offline")
        assert made.bundle is not None
        statement = manifest.read(folder)
        statement["predicate"]["runDetails"]["builder"]["builderDependencies"] = [dict(made.bundle)]
        internal = statement["predicate"]["buildDefinition"]["internalParameters"]
        internal |= {"bundle": made.bundle["name"], "made_by": made.made_by}
        write_statement(folder / NAME, statement)


def make_chain(place: Path, keys: Keys) -> Chain:
    """The run in `place`, which is the working folder now, whole down to a signed bundle's signer."""
    chain, bundle = Chain(place, keys), small_bundle(place / "bundle", keys)
    _install(bundle, keys)
    write(place / "corpus/plain.txt", "Rome is far.\n")
    write(place / "corpus/train.conll", bundle.file("data/train.conll").read_text())
    write(place / "corpus/test.conll", "Oslo B-LOC\n\n")
    shutil.copytree(bundle.file(MODEL), place / "models/encoder")
    (place / "models/teacher.gguf").write_bytes(crafted_models.gguf())
    run = chain.run
    write(run / "config.yaml", dump(parse_settings(CONFIG, "chain")))
    write(run / "annotate/annotations.jsonl", '{"id": "plain:0"}\n')
    store_answers(run / "annotate/completions.sqlite", catalogue.model_digest(Path("models/teacher.gguf")))
    chain.seal("annotate", counts={"rows": 1})
    write(run / "select/annotations.jsonl", '{"id": "plain:0"}\n')
    chain.seal("select", counts={"kept": 1})
    student = chain.arm / "student"
    write(student / "config.json", json.dumps({"architectures": ["X"], "id2label": {"0": "O", "1": "B-LOC"}}))
    (student / "model.safetensors").write_bytes(safetensors())
    write(student / "tokenizer.json", "{}")
    write(chain.arm / "history.jsonl", "{}\n")
    chain.seal("train/simple_mix", counts={"best_update": 5})
    seal_scores(chain)
    chain.seal_run()
    return chain


def seal_scores(chain: Chain, f1: float = 0.5) -> None:
    overall = {"precision": 0.5, "recall": 0.5, "f1": f1, "support": 16}
    row = {"name": "simple_mix", "kind": "student", "on": GOLD, "overall": overall, "per_type": {"LOC": overall}}
    report = {"on": GOLD, "split": "test", "sentences": 12, "rows": [{**row, "counts": {"sentences": 12, "tokens": 9}}]}
    write(chain.run / "evaluate/report.json", json.dumps(report))
    chain.seal("evaluate", counts={"simple_mix": {"f1": f1}})


def store_answers(path: Path, teacher: str) -> None:
    """A store with one answered row, by the teacher of this digest."""
    path.unlink(missing_ok=True)
    recipe = json.dumps({"backend": "llama_cpp", "model": teacher})
    digest, answer = hashlib.sha256(recipe.encode()).digest(), b"a" * 32
    with sqlite3.connect(path) as store:
        store.executescript(TABLES)
        store.execute("INSERT INTO recipes VALUES (?, ?)", (digest, recipe))
        store.execute("INSERT INTO completions VALUES (?, ?, 'plain:0', 'plain', '{}')", (answer, digest))
        store.execute("INSERT INTO rows VALUES ('unlabelled', 0, 'plain:0', 'plain', ?)", (answer,))
    store.close()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _install(bundle: Bundle, keys: Keys) -> None:
    """What the installer's seal says of the release, which here is the bundle's own folder."""
    digest = hashlib.sha256(bundle.file(NAME).read_bytes()).hexdigest()
    seal = {
        "bundle_id": bundle.manifest["bundle_id"], "manifest_sha256": digest,
        "signers": [f"own@site {keys.fingerprint('own')}"],
    }  # fmt: skip
    bundle.file("release.json").write_text(json.dumps(seal))
    assert bundle.manifest["builder"]["commit"] == COMMIT
