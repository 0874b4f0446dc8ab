"""The walk from a student back to its bundle's signer: a whole chain holds, and each gap is named, and only that."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import TOOLS, Keys, safetensors
from chains import CONFIG, Chain, make_chain, seal_scores, store_answers, write
from click.testing import CliRunner, Result

from distill_offline import manifest
from distill_offline.bundle.release import release
from distill_offline.bundle.signing import Keys as SigningKeys
from distill_offline.cli import commands
from distill_offline.errors import InputError
from distill_offline.provenance import Link, Trust, walk

pytestmark = pytest.mark.skipif(bool(TOOLS), reason=f"{' and '.join(TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    keys, place = tmp_path_factory.mktemp("keys"), tmp_path_factory.mktemp("chain")
    before = Path.cwd()
    os.chdir(place)
    try:
        return make_chain(place, Keys.make(keys))
    finally:
        os.chdir(before)


@pytest.fixture
def chain(template: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.delenv("DISTILL_RELEASE", raising=False)
    copy = template.copy(tmp_path / "place")
    monkeypatch.chdir(copy.place)
    return copy


def walked(chain: Chain, folder: Path | None = None, allowed: str = "own", **options: Any) -> Link:
    trust = Trust(Path(chain.keys(f"{allowed}.allowed")))
    return walk(folder or chain.run, **{"bundle": chain.bundle, "trust": trust, **options})


def problems(link: Link) -> set[tuple[str, str, str]]:
    return {(each.state, each.what, each.where) for each in link.all_problems()}


def named(link: Link, kind: str) -> list[Link]:
    return [each for part in link.parts for each in named(part, kind)] + ([link] if link.kind == kind else [])


# ------------------------------------------------------------------------------------------------- what holds


def test_whole_chain_holds_from_the_student_to_the_bundles_signer(chain: Chain) -> None:
    link = walked(chain)
    assert problems(link) == set()
    assert [each.name for each in named(link, "stage") if each.detail != "as above"] == [
        "annotate", "select", "train/simple_mix", "evaluate",
    ]  # fmt: skip
    [evaluate] = [part for part in link.parts if part.kind == "stage"]
    [arm, _] = [part for part in evaluate.parts if part.kind == "stage"]
    assert [part.kind for part in arm.parts] == ["student", "model", "stage", "input"]
    [annotations] = named(link, "annotations")
    [store] = annotations.parts
    assert [(part.kind, part.name) for part in store.parts] == [("model", "teacher")]
    [bundle] = named(link, "bundle")
    assert chain.keys.fingerprint("own") in bundle.detail
    assert "commit 0123456789abcdef" in bundle.detail
    assert [each.name for each in named(link, "signer")] == [f"own@site {chain.keys.fingerprint('own')}"] * 2


def test_weights_and_data_of_the_bundle_are_told(chain: Chain) -> None:
    link = walked(chain)
    encoder = next(each for each in named(link, "model") if each.name == "encoder")
    assert "tiny of demo-1.0" in encoder.detail
    train = next(each for each in named(link, "input") if each.name == "corpus/train.conll")
    assert train.detail == "in the bundle: data/train.conll"


@pytest.mark.parametrize("place", ["train/simple_mix", "train/simple_mix/student", "evaluate", "select"])
def test_stage_or_student_is_walked_by_itself_and_is_covered_by_the_runs_signature(chain: Chain, place: str) -> None:
    assert problems(walked(chain, chain.run / place)) == set()


def test_purged_store_stays_linked(chain: Chain) -> None:
    write(chain.run / "annotate/annotations.jsonl", "")
    manifest.seal_again(chain.run / "annotate", {"purged": "2026-01-01T00:00:00Z"})
    chain.seal_run()
    link = walked(chain)
    assert problems(link) == set()
    annotate = [each for each in named(link, "stage") if each.name == "annotate" and each.parts]
    assert "sealed again 1 times on purpose" in annotate[0].detail


# ------------------------------------------------------------------------------------------------- what is broken


def spoil_weights(chain: Chain) -> None:
    (chain.arm / "student/model.safetensors").write_bytes(safetensors(tensors=b"12345678"))


def remake_annotate(chain: Chain) -> None:
    """Other annotations, sealed; whatever was made from the old ones stays as it is."""
    write(chain.run / "annotate/annotations.jsonl", '{"id": "plain:1"}\n')
    chain.seal("annotate")
    chain.seal_run()


def answer_by_another(chain: Chain) -> None:
    """A store of another teacher's answers, below a manifest that names the old one; all sealed again after it."""
    store_answers(chain.run / "annotate/completions.sqlite", "0" * 64)
    for stage in ("annotate", "select", "train/simple_mix", "evaluate"):
        chain.seal(stage)
    chain.seal_run()


def sign_by(chain: Chain, key: str) -> None:
    chain.sign(key)


def swap_signature(chain: Chain) -> None:
    """A signature of the trusted key, but over another manifest."""
    shutil.copy(chain.bundle / "manifest.json.sig", chain.run / "manifest.json.sig")


def remake_run(chain: Chain) -> None:
    """The run sealed anew over something new: nobody has signed that."""
    write(chain.run / "notes.txt", "new")
    manifest.seal_run(chain.run, config={}, seeds={"seed": 0})


def seal_by_checkout(chain: Chain) -> None:
    manifest.seal(chain.run / "evaluate", stage="evaluate", config={}, seeds={}, inputs=[], models={})
    chain.seal_run()


def change_bundle(chain: Chain) -> None:
    path = chain.bundle / "manifest.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"sequence": 4}))


def unsign_bundle(chain: Chain) -> None:
    for end in ("sig", "p256"):
        (chain.bundle / f"manifest.json.{end}").unlink()


def swap_stages(chain: Chain) -> None:
    """Two whole stages, each in the other's place."""
    one, other, aside = chain.run / "select", chain.run / "annotate", chain.place / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


SPOILED: dict[str, tuple[Callable[[Chain], object], set[tuple[str, str]]]] = {
    "student's weights": (spoil_weights, {("changed-file", "train/simple_mix/student/model.safetensors")}),
    "missing annotations": (
        lambda c: (c.run / "annotate/annotations.jsonl").unlink(),
        {("missing-file", "annotate/annotations.jsonl")},
    ),
    "missing store": (
        lambda c: (c.run / "annotate/completions.sqlite").unlink(),
        {("missing-file", "annotate/completions.sqlite")},
    ),
    "extra file": (lambda c: write(c.run / "select/more.jsonl", "x"), {("extra-file", "select/more.jsonl")}),
    "configuration": (lambda c: write(c.run / "config.yaml", "name: x\n"), {("changed-file", "config.yaml")}),
    "missing stage": (lambda c: shutil.rmtree(c.run / "annotate"), {("missing-stage", "annotate")}),
    "stage made again": (remake_annotate, {("parent-made-again", "annotate")}),
    "stage made again, run not": (
        lambda c: seal_scores(c, 0.9),
        {("stage-made-again", "evaluate")},
    ),
    "damaged manifest": (
        lambda c: write(c.run / "select/manifest.json", "{}"),
        {("stage-made-again", "select"), ("parent-made-again", "select"), ("damaged-manifest", "select/manifest.json")},
    ),
    "input": (lambda c: write(c.place / "corpus/plain.txt", "Oslo"), {("changed-input", "annotate")}),
    "teacher": (lambda c: write(c.place / "models/teacher.gguf", "GGUF!"), {("changed-model", "annotate")}),
    "encoder": (lambda c: write(c.place / "models/encoder/config.json", "{}"), {("changed-model", "train/simple_mix")}),
    "answers of another teacher": (answer_by_another, {("other-teacher", "annotate")}),
    "unsigned": (remake_run, {("unsigned", "run")}),
    "foreign key": (lambda c: sign_by(c, "foreign"), {("key-not-trusted", "run")}),
    "another's signature": (swap_signature, {("bad-signature", "run")}),
    "made by a checkout": (seal_by_checkout, {("no-bundle", "evaluate")}),
    "changed bundle": (
        change_bundle,
        {("unknown-bundle", "evaluate, train/simple_mix, select, annotate")},
    ),
    "unsigned bundle": (
        unsign_bundle,
        {("unsigned", "BUNDLE")},
    ),
}  # fmt: skip


def test_whole_stage_in_the_place_of_another_is_not_covered_by_the_runs_signature(chain: Chain) -> None:
    """As where somebody puts a worse arm's student where the better one's is looked for."""
    swap_stages(chain)
    found = problems(walked(chain, chain.run / "annotate"))
    assert {("broken", "misplaced-stage", "annotate"), ("broken", "unsigned", "select")} <= found


@pytest.mark.parametrize("case", SPOILED)
@pytest.mark.slow
def test_one_thing_spoiled_is_named_and_nothing_else(chain: Chain, case: str) -> None:
    spoil, expected = SPOILED[case]
    bundle_id = json.loads((chain.bundle / "manifest.json").read_bytes())["bundle_id"]
    spoil(chain)
    link = walked(chain)
    assert problems(link) == {("broken", what, where.replace("BUNDLE", bundle_id)) for what, where in expected}
    assert link.verdict == "broken"


def test_expired_key_is_not_trusted_for_run_and_bundle(chain: Chain) -> None:
    found = {what for _, what, _ in problems(walked(chain, allowed="expired"))}
    assert found == {"key-not-trusted"}


def test_p256_key_is_asked_for_its_own_signature(chain: Chain) -> None:
    trust = Trust(openssl_key=Path(chain.keys("own.pub.pem")))
    assert problems(walked(chain, trust=trust)) == {("broken", "unsigned", "run")}  # the run has none, the bundle has
    foreign = Trust(openssl_key=Path(chain.keys("foreign.pub.pem")))
    assert {what for _, what, _ in problems(walked(chain, trust=foreign))} == {"unsigned", "bad-signature"}


def test_a_line_says_what_was_made_again_after_what(chain: Chain) -> None:
    remake_annotate(chain)
    told = {each.message for each in walked(chain).all_problems()}
    assert told == {f"annotate was made again after {child} was made from it" for child in ("select", "evaluate")}


# ------------------------------------------------------------------------------------------------- what cannot be told


GAPS: dict[str, tuple[Callable[[Chain], object], tuple[str, str]]] = {
    "input": (lambda c: (c.place / "corpus/plain.txt").unlink(), ("not-here", "annotate")),
    "teacher": (lambda c: (c.place / "models/teacher.gguf").unlink(), ("not-here", "annotate")),
    "encoder": (lambda c: shutil.rmtree(c.place / "models/encoder"), ("not-here", "train/simple_mix")),
}


@pytest.mark.parametrize("case", GAPS)
def test_what_is_not_here_is_a_gap_and_not_broken(chain: Chain, case: str) -> None:
    spoil, expected = GAPS[case]
    spoil(chain)
    link = walked(chain)
    assert problems(link) == {("gap", *expected)}
    assert link.verdict == "gap"


def test_without_keys_and_bundle_both_are_gaps(chain: Chain) -> None:
    stages = "evaluate, train/simple_mix, select, annotate"
    assert problems(walk(chain.run)) == {("gap", "signer-unknown", "run"), ("gap", "not-here", stages)}
    swap_signature(chain)
    assert ("broken", "bad-signature", "run") in problems(walk(chain.run))


def test_installed_release_is_found_without_being_named(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_RELEASE", str(chain.bundle))
    assert problems(walked(chain, bundle=None)) == set()


def test_stage_that_was_copied_alone_has_gaps_where_its_run_was(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.arm, tmp_path / "alone/arm")
    found = problems(walked(chain, tmp_path / "alone/arm"))
    assert ("gap", "not-here", "select") in found
    assert {state for state, what, _ in found if what != "unsigned"} == {"gap"}


def test_folder_without_a_manifest_or_a_bundle_that_is_none_is_wrong_usage(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        walk(tmp_path)
    with pytest.raises(InputError, match="--bundle"):
        walk(chain.run, bundle=tmp_path)
    with pytest.raises(InputError, match="allowed-signers"):
        walk(chain.run, trust=Trust(tmp_path / "nowhere"))


# ------------------------------------------------------------------------------------------------- carried out


@pytest.fixture
def carried(chain: Chain) -> Path:
    return release(chain.arm / "student", chain.place / "out", SigningKeys(Path(chain.keys("own")))).folder


def test_carried_student_is_walked_into_its_run(chain: Chain, carried: Path) -> None:
    link = walked(chain, carried, run=chain.run)
    assert problems(link) == set()
    assert (link.kind, link.detail) == ("release", "carried out of train/simple_mix")
    assert named(link, "annotations")
    assert manifest.show(carried)["bundle"]["id"].startswith("demo-1.0")
    assert problems(walked(chain, carried)) == {("gap", "not-here", "run")}


def test_carried_student_of_another_training_is_told(chain: Chain, carried: Path) -> None:
    spoil_weights(chain)
    chain.seal("train/simple_mix")
    seal_scores(chain)
    assert problems(walked(chain, carried, run=chain.run)) == {
        ("broken", "parent-made-again", "train/simple_mix"), ("broken", "changed-file", "model.safetensors"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "SHA256SUMS", "MODEL_CARD.md"])
def test_changed_file_of_a_carried_student_is_told(chain: Chain, carried: Path, name: str) -> None:
    with (carried / name).open("a") as file:
        file.write(" \n")
    found = {(what, where) for _, what, where in problems(walked(chain, carried, run=chain.run))}
    assert ("changed-file", name) in found
    assert found <= {("changed-file", name), ("changed-file", "SHA256SUMS")}


# ------------------------------------------------------------------------------------------------- the command


def invoke(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(commands, ["manifest", *map(str, arguments)])


def test_command_draws_the_tree_and_its_json_has_verdict_and_chain(chain: Chain) -> None:
    keys = ("--allowed-signers", chain.keys("own.allowed"), "--bundle", chain.bundle)
    done = invoke("verify", "--deep", "runs/demo", *keys, "--strict")
    assert done.exit_code == 0
    assert "✓ stage annotate" in done.stdout
    found = json.loads(invoke("verify", "--deep", "runs/demo", *keys, "--json").stdout)
    assert (found["verdict"], found["broken"], found["gaps"]) == ("whole", [], [])
    assert found["chain"]["kind"] == "run"


def test_gaps_fail_only_when_strict_and_broken_links_always(chain: Chain) -> None:
    assert invoke("verify", "--deep", "runs/demo").exit_code == 0
    assert "not checked: " in invoke("verify", "--deep", "runs/demo").stdout
    runner = CliRunner()
    assert runner.invoke(commands, ["manifest", "verify", "--deep", "--strict", "runs/demo"]).exit_code == 1
    spoil_weights(chain)
    done = runner.invoke(commands, ["manifest", "verify", "--deep", "runs/demo"])
    assert done.exit_code == 1
    assert "broken: train/simple_mix/student/model.safetensors was changed" in done.stdout


def test_run_is_signed_by_the_command_once_it_is_whole(chain: Chain) -> None:
    manifest.unseal(chain.run)
    manifest.seal_run(chain.run, config=CONFIG, seeds={})
    assert chain.keys.fingerprint("own") in invoke("sign", "runs/demo", "--ssh-key", chain.keys("own")).stdout
    assert not [each for each in walked(chain).all_problems() if each.where == "run"]
    spoil_weights(chain)
    done = CliRunner().invoke(commands, ["manifest", "sign", "runs/demo", "--ssh-key", chain.keys("own")])
    assert "Nothing was signed" in str(done.exception)


def test_envelope_for_other_tools_holds_and_belongs_to_the_manifest(chain: Chain) -> None:
    own = ("--openssl-key", chain.keys("own.pem"))
    assert "(DSSE)" in invoke("sign", "runs/demo", *own, "--dsse").stdout
    envelope = json.loads((chain.run / "manifest.json.dsse").read_bytes())
    payload = base64.b64decode(envelope["payload"])
    assert (envelope["payloadType"], payload) == (
        "application/vnd.in-toto+json", (chain.run / "manifest.json").read_bytes(),
    )  # fmt: skip
    write(chain.place / "signed", f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} {payload.decode()}")
    (chain.place / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    line = ["openssl", "dgst", "-sha256", "-verify", chain.keys("own.pub.pem"), "-signature", "sig", "signed"]
    assert subprocess.run(line, capture_output=True).returncode == 0
    trust = Trust(openssl_key=Path(chain.keys("own.pub.pem")))
    assert problems(walked(chain, trust=trust)) == set()
    foreign = Trust(Path(chain.keys("own.allowed")), Path(chain.keys("foreign.pub.pem")))
    assert ("broken", "bad-signature", "run") in problems(walked(chain, trust=foreign))
    envelope["payload"] = base64.b64encode(b"{}").decode()
    write(chain.run / "manifest.json.dsse", json.dumps(envelope))
    [told] = [each.message for each in walked(chain, trust=trust).all_problems()]
    assert told == "manifest.json.dsse holds another statement than manifest.json"
    manifest.unseal(chain.run)
    assert not list(chain.run.glob("manifest.json*"))


def test_envelope_needs_a_p256_key(chain: Chain) -> None:
    words = ["manifest", "sign", "runs/demo", "--ssh-key", chain.keys("own"), "--dsse"]
    assert "--openssl-key PEM, which --dsse needs" in str(CliRunner().invoke(commands, words).exception)
