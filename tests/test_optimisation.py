"""Learning rates over updates and over depth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from distill_offline.errors import ConfigError
from distill_offline.learning.optimisation import Decay, layer_depths, learning_rate_factor, parameter_groups

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}
KINDS: Mapping[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "electra": {"embedding_size": 8},
    "mpnet": {},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
    },
    "modernbert": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16},
}


def model(kind: str, head: str = "AutoModelForTokenClassification") -> Any:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **SMALL, **KINDS[kind], num_labels=3)
    return getattr(transformers, head).from_config(config)


def test_the_rate_warms_up_and_decays_to_almost_nothing() -> None:
    factors = [learning_rate_factor(update, 100, 0.1) for update in range(100)]
    assert factors[10] == max(factors) == 1.0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.02
    assert learning_rate_factor(0, 1, 0.1) == 1.0


def test_cosine_and_constant_decay_are_what_they_say() -> None:
    cosine = [learning_rate_factor(update, 100, 0.2, decay="cosine") for update in range(100)]
    assert cosine[20] == 1.0
    assert cosine[60] == pytest.approx(0.5)
    assert cosine[80] == pytest.approx((1 + math.cos(0.75 * math.pi)) / 2)
    constant = [learning_rate_factor(update, 100, 0.2, decay="constant") for update in range(100)]
    assert constant[20:] == [1.0] * 80
    assert constant[:20] == cosine[:20]


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
def test_a_restart_begins_the_rate_anew_at_tau(decay: Decay) -> None:
    factors = [learning_rate_factor(update, 100, 0.1, (0.5,), decay) for update in range(100)]
    assert factors[:50] == factors[50:]
    assert factors[50] < factors[60]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # transformers' DeBERTa
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["AutoModelForTokenClassification", "AutoModelForSequenceClassification"])
def test_every_encoders_layers_head_and_embeddings_are_found(kind: str, head: str) -> None:
    made = model(kind, head)
    names = [name for name, _ in made.named_parameters()]
    depths = layer_depths(names, made.base_model_prefix)
    assert set(depths) == set(names)
    assert all(depths[name] == 0 for name in names if name.startswith(("classifier", "head", "pre_classifier")))
    assert depths[next(name for name in names if name.startswith("classifier"))] == 0
    assert all(depths[name] == 4 for name in names if "word_embeddings" in name or "tok_embeddings" in name)
    assert all(depths[name] == 4 for name in names if "rel_embeddings" in name or "relative_attention_bias" in name)
    for layer in range(3):
        inside = [name for name in names if f".layer.{layer}." in name or f".layers.{layer}." in name]
        assert inside
        assert {depths[name] for name in inside} == {3 - layer}
    assert set(depths.values()) == {0, 1, 2, 3, 4}


def test_encoder_whose_layers_cannot_be_told_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.layer_decay"):
        layer_depths(["thing.cells.0.weight", "classifier.weight"], "thing")


def test_groups_hold_every_parameter_once_with_its_scale_and_decay() -> None:
    made = model("bert")
    groups = parameter_groups(made, 0.01, 0.5)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in made.parameters())
    scales = {id(p): group["scale"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert scales[id(made.classifier.weight)] == 1.0
    assert scales[id(made.bert.encoder.layer[2].output.dense.weight)] == 0.5
    assert scales[id(made.bert.encoder.layer[0].output.dense.weight)] == 0.5**3
    assert scales[id(made.bert.embeddings.word_embeddings.weight)] == 0.5**4
    assert decays[id(made.classifier.weight)] == 0.01
    assert decays[id(made.classifier.bias)] == decays[id(made.bert.embeddings.LayerNorm.weight)] == 0.0


def test_without_layer_decay_there_are_two_groups_and_any_names_will_do() -> None:
    groups = parameter_groups(model("electra"), 0.01)
    assert [group["scale"] for group in groups] == [1.0, 1.0]
    assert sorted(group["weight_decay"] for group in groups) == [0.0, 0.01]
