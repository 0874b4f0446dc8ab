from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_offline.config.settings import TrainSettings
from distill_offline.corpus import read_examples
from distill_offline.errors import ConfigError, DistillError, Interrupted
from distill_offline.schema import Progress
from distill_offline.student.model import Student
from distill_offline.train.blending import Blend, make_schedule, with_share
from distill_offline.train.loop import Pools, Trained, average, prepare, train

LABELS = ("O", *(f"{p}-{t}" for t in ("PERSON", "ORGANISATION", "LOCATION", "EQUIPMENT", "DATE") for p in "BI"))
SETTINGS = TrainSettings(updates=6, batch_size=8, learning_rate=3e-3, eval_every=2, micro_batch_tokens=200)


@pytest.fixture(scope="module")
def pools() -> Pools:
    examples = list(read_examples("package:demo/train.jsonl", origin="original"))
    distilled = [replace(example, origin="distilled") for example in examples[:60]]
    dev = list(read_examples("package:demo/dev.jsonl", origin="original"))
    return Pools(distilled, examples[60:120], dev[:20])


def run(encoder: Path, pools: Pools, settings: TrainSettings = SETTINGS, *, seed: int = 3) -> tuple[Student, Trained]:
    prepare(seed)
    student = Student.create(encoder, LABELS, "token-classification")
    schedule = make_schedule("simple_mix", {}, tau=0.5, n_distilled=60, n_original=60)
    blend = Blend(schedule, len(pools.distilled), len(pools.original), settings.updates, settings.batch_size, seed)
    trained = train(student, pools, blend, settings, name="arm", metric="entity_f1", watch=lambda progress: None)
    return student, trained


def test_the_same_seed_gives_the_same_weights_bit_for_bit(encoder: Path, pools: Pools) -> None:
    first, history = run(encoder, pools)
    second, again = run(encoder, pools)
    assert history == again
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    other, _ = run(encoder, pools, seed=4)
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)


def test_history_records_the_blend_that_was_drawn(encoder: Path, pools: Pools) -> None:
    _, trained = run(encoder, pools)
    assert [(row["distilled"], row["original"]) for row in trained.history] == [(8, 0)] * 3 + [(0, 8)] * 3
    assert [row["p"] for row in trained.history] == [1.0] * 3 + [0.0] * 3
    assert [row["update"] for row in trained.history if "dev_f1" in row] == [1, 3, 5]


def test_splitting_into_micro_batches_does_not_change_the_update(encoder: Path, pools: Pools) -> None:
    whole = replace(SETTINGS, updates=1, micro_batch_tokens=100_000)
    split = replace(SETTINGS, updates=1, micro_batch_tokens=40)
    prepare(0)
    students = [Student.create(encoder, LABELS, "token-classification") for _ in range(2)]
    students[1].model.load_state_dict(students[0].model.state_dict())
    losses = []
    for student, settings in zip(students, (whole, split), strict=True):
        for module in student.model.modules():  # dropout would draw other masks
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        blend = Blend(lambda t: 0.5, 60, 60, 1, 8, 0)
        trained = train(student, pools, blend, settings, name="arm", metric="entity_f1", watch=lambda progress: None)
        losses.append(trained.history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_training_learns_and_leaves_the_best_weights_on_dev(encoder: Path, pools: Pools) -> None:
    settings = replace(SETTINGS, updates=60, eval_every=10, learning_rate=1e-2)
    few = pools.original[:16]
    student, trained = run(encoder, Pools(few, few, few), settings)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] / 2
    scores = {row["update"] + 1: row["dev_f1"] for row in trained.history if "dev_f1" in row}
    assert trained.best_f1 == max(scores.values()) > 0.2
    assert scores[trained.best_update] == trained.best_f1
    from distill_offline.scoring.metrics import score

    predicted = student.predict([example.sentence for example in few])
    gold = [example.labels for example in few]
    assert score("entity_f1", gold, predicted, on="").overall.f1 == trained.best_f1


def test_a_dev_set_that_tells_nothing_leaves_the_last_weights(encoder: Path, pools: Pools) -> None:
    no_entity = [replace(example, labels=("O",) * len(example.labels)) for example in pools.dev]
    _, trained = run(encoder, replace(pools, dev=no_entity))
    assert (trained.best_f1, trained.best_update) == (0.0, 6)


def test_training_that_diverges_says_so_instead_of_saving_its_ruins(encoder: Path, pools: Pools) -> None:
    with pytest.raises(DistillError, match=r"train arm: the loss of update 1 is nan.*Lower train\.learning_rate"):
        run(encoder, pools, replace(SETTINGS, learning_rate=1e30))


def test_a_restart_comes_with_the_step_that_a_share_has_moved(encoder: Path, pools: Pools) -> None:
    settings = replace(SETTINGS, updates=10, restart=True, warmup=0.0, batch_size=2)
    schedule = with_share(make_schedule("simple_mix", {}, tau=0.5, n_distilled=60, n_original=60), 0.2, 10)
    prepare(0)
    student = Student.create(encoder, LABELS, "token-classification")
    blend = Blend(schedule, 60, 60, 10, 2, 0)
    history = train(student, pools, blend, settings, name="a", metric="entity_f1", watch=lambda progress: None).history
    assert [row["p"] for row in history[:3]] == [1.0, 1.0, 0.0]
    assert [row["learning_rate"] for row in history[:3]] == pytest.approx([3e-3, 1.5e-3, 3e-3])
    assert history[-1]["learning_rate"] == pytest.approx(3e-3 / 8)


def test_without_labelled_positions_the_loss_is_zero_and_nothing_is_learnt(encoder: Path, pools: Pools) -> None:
    masked = [replace(each, masked=tuple(range(len(each.labels)))) for each in (*pools.distilled, *pools.original)]
    settings = replace(
        SETTINGS, updates=2, weight_decay=0.0, label_smoothing=0.1, gce_q=0.7, gce_after=0, mask_errors=0.5
    )
    student, trained = run(encoder, Pools(masked[:60], masked[60:], ()), settings)
    assert [row["loss"] for row in trained.history] == [0.0, 0.0]
    prepare(3)
    fresh = Student.create(encoder, LABELS, "token-classification")
    assert torch.equal(student.model.classifier.weight, fresh.model.classifier.weight)


def test_without_dev_the_last_weights_stay(encoder: Path, pools: Pools) -> None:
    _, trained = run(encoder, replace(pools, dev=()))
    assert trained.best_f1 is None
    assert trained.best_update == 6


def test_stop_ends_training_between_updates(encoder: Path, pools: Pools) -> None:
    seen: list[Progress] = []
    student = Student.create(encoder, LABELS, "token-classification")
    blend = Blend(lambda t: 0.5, 60, 60, 6, 8, 0)
    with pytest.raises(Interrupted, match="stopped at update 2"):
        train(
            student,
            pools,
            blend,
            SETTINGS,
            name="arm",
            metric="entity_f1",
            watch=seen.append,
            stop=lambda: len(seen) > 1,
        )


def test_noise_aware_options_concern_distilled_examples_only(encoder: Path, pools: Pools) -> None:
    plain = run(encoder, pools)[1].history
    kind = run(encoder, pools, replace(SETTINGS, gce_q=0.7, gce_after=1))[1].history
    assert kind[0]["loss"] == plain[0]["loss"]  # cross-entropy, until gce_after updates are done
    assert kind[1]["loss"] < plain[1]["loss"]  # simple_mix: the first updates are all distilled
    gold = replace(pools, distilled=[replace(example, origin="original") for example in pools.distilled])
    assert run(encoder, gold, replace(SETTINGS, gce_q=0.7, gce_after=0))[1] == run(encoder, gold)[1]


def test_likely_errors_are_masked_and_counted_after_the_first_updates(encoder: Path, pools: Pools) -> None:
    settings = replace(SETTINGS, mask_errors=0.5, mask_after=1, eval_every=100)
    history = run(encoder, pools, settings)[1].history
    assert ["masked" in row for row in history] == [False, True, True, True, True, True]
    assert history[1]["masked"] > 0  # an untrained student believes no label of eleven
    assert [row["masked"] for row in history[3:]] == [0, 0, 0]  # original examples


def test_confidence_weights_count_unless_they_are_not_to(encoder: Path, pools: Pools) -> None:
    weighted = replace(pools, distilled=[replace(example, weight=0.5) for example in pools.distilled])
    full, half = (run(encoder, each)[1].history[0]["loss"] for each in (pools, weighted))
    assert half == pytest.approx(full / 2)
    assert run(encoder, weighted, replace(SETTINGS, confidence_weights=False))[1] == run(encoder, pools)[1]


def test_lower_layers_move_less_with_layer_decay(encoder: Path, pools: Pools) -> None:
    settings = replace(SETTINGS, updates=1, layer_decay=0.1, clip=1e9)
    prepare(3)
    before = Student.create(encoder, LABELS, "token-classification").model.state_dict()
    after = run(encoder, replace(pools, dev=()), settings)[0].model.state_dict()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    upper, lower = (moved[f"bert.encoder.layer.{layer}.output.dense.weight"] for layer in (1, 0))
    # AdamW's first step is about the learning rate, whatever the gradient.
    assert moved["classifier.weight"] == pytest.approx(3e-3, rel=0.05)
    assert upper == pytest.approx(3e-4, rel=0.05)
    assert lower == pytest.approx(3e-5, rel=0.05)


def test_bf16_trains_and_leaves_a_plain_student(encoder: Path, pools: Pools) -> None:
    settings = replace(SETTINGS, updates=3, mixed_precision="bf16")
    student, trained = run(encoder, pools, settings)
    plain = run(encoder, pools, replace(settings, mixed_precision="no"))[1]
    assert trained.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.02)
    assert trained.history[0]["loss"] != plain.history[0]["loss"]
    ids = torch.tensor([[2, 30, 31, 3]])
    model = student.model.eval()
    assert torch.equal(model(ids).logits, type(model).forward(model, ids).logits)  # accelerate had wrapped it


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_fp16_without_a_gpu_is_refused_with_its_key(encoder: Path, pools: Pools) -> None:
    with pytest.raises(ConfigError, match=r"train\.mixed_precision: fp16 needs a GPU"):
        run(encoder, pools, replace(SETTINGS, mixed_precision="fp16"))


def test_average_is_the_mean_of_the_weights(encoder: Path) -> None:
    students = [Student.create(encoder, LABELS, "token-classification") for _ in range(3)]
    with torch.no_grad():
        for number, student in enumerate(students[1:]):
            student.model.classifier.weight.fill_(float(number))
    average(students[0], students[1:])
    assert torch.equal(students[0].model.classifier.weight, torch.full_like(students[1].model.classifier.weight, 0.5))
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(students[0].model.state_dict()[name], students[1].model.state_dict()[name])
