"""Schedules and the batches that they give."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_offline.errors import ConfigError
from distill_offline.train.blending import SCHEDULES, Blend, Schedule, make_schedule, with_share

NEEDS = {"constant": {"p": 0.3}}
FALLING = {
    "simple_mix",
    "distilled_then_mixture",
    "linear",
    "cosine",
    "sigmoid",
    "power",
    "exponential",
    "inverse_sigmoid",
}
STEPS = [step / 200 for step in range(200)]


def schedule(name: str, *, n_distilled: int = 30, n_original: int = 10, **options: float) -> Schedule:
    given_ = {**NEEDS.get(name, {}), **options}
    return make_schedule(name, given_, tau=0.5, n_distilled=n_distilled, n_original=n_original)


def blend(
    name: str, *, distilled: int = 30, original: int = 10, updates: int = 40, size: int = 7, seed: int = 0
) -> Blend:
    p = schedule(name, n_distilled=distilled, n_original=original)
    return Blend(p, distilled, original, updates, size, seed)


def no_probability(t: float) -> float:
    return math.nan


def above_one(t: float) -> float:
    return 1.0 + t


NOT_A_FUNCTION = 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_gives_probabilities(name: str) -> None:
    assert all(0.0 <= schedule(name)(t) <= 1.0 for t in STEPS)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("simple_mix", "tau", math.nan), ("simple_mix", "tau", 2.0), ("reverse", "tau", 0.0),
        ("distilled_then_mixture", "tau", 1.0), ("inverse_sigmoid", "k", 0.5), ("inverse_sigmoid", "k", math.nan),
    ],
)  # fmt: skip
def test_an_option_that_makes_another_schedule_of_it_is_refused(name: str, option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"schedule {name} with {option} = .* fails at t = 0"):
        make_schedule(name, {option: value}, tau=0.5, n_distilled=3, n_original=1)(0.0)


def test_a_step_is_where_p_changes_and_curves_have_none() -> None:
    assert [blend(name, updates=5).step() for name in ("simple_mix", "reverse", "linear", "union")] == [
        3,
        3,
        None,
        None,
    ]
    stretched = with_share(schedule("simple_mix"), 0.2, 10)
    assert Blend(stretched, 5, 5, 10, 4, 0).step() == 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_but_reverse_never_rises(name: str) -> None:
    values = [schedule(name)(t) for t in STEPS]
    pairs = list(itertools.pairwise(values))
    if name == "reverse":
        assert all(a <= b for a, b in pairs)
    else:
        assert all(a >= b for a, b in pairs)
    assert (values[0] > values[-1]) == (name in FALLING)


@pytest.mark.parametrize(
    ("name", "options", "t", "p"),
    [
        ("original_only", {}, 0.7, 0.0),
        ("distilled_only", {}, 0.7, 1.0),
        ("union", {}, 0.9, 0.75),
        ("constant", {"p": 0.3}, 0.9, 0.3),
        ("simple_mix", {}, 0.499, 1.0),
        ("simple_mix", {}, 0.5, 0.0),
        ("simple_mix", {"tau": 0.2}, 0.2, 0.0),
        ("reverse", {}, 0.499, 0.0),
        ("reverse", {}, 0.5, 1.0),
        ("distilled_then_mixture", {}, 0.499, 1.0),
        ("distilled_then_mixture", {"tau": 0.4, "p": 0.2}, 0.4, 0.2),
        ("linear", {}, 0.25, 0.75),
        ("cosine", {}, 0.0, 1.0),
        ("cosine", {}, 0.5, 0.5),
        ("sigmoid", {}, 0.5, 0.5),
        ("sigmoid", {"s": 4.0}, 0.0, 1 / (1 + math.exp(-2))),
        ("sigmoid", {"s": 1e9}, 0.49, 1.0),
        ("sigmoid", {"s": 1e9}, 0.51, 0.0),
        ("power", {}, 0.5, 0.25),
        ("power", {"a": 1.0}, 0.25, 0.75),
        ("exponential", {}, 0.0, 1.0),
        ("exponential", {"k": 0.01}, 0.5, 0.1),
        ("inverse_sigmoid", {"k": 10.0}, 0.0, 10 / 11),
        ("inverse_sigmoid", {"k": 10.0}, 0.5, 0.5),
        ("inverse_sigmoid", {"k": 10.0}, 1.0, 1 / 11),
    ],
)
def test_schedule_passes_through_its_known_points(name: str, options: dict[str, float], t: float, p: float) -> None:
    assert make_schedule(name, options, tau=0.5, n_distilled=30, n_original=10)(t) == pytest.approx(p, abs=1e-12)


def test_inverse_sigmoid_is_scheduled_samplings_formula() -> None:
    k, updates = 8.0, 1000
    for update in range(0, updates, 97):
        i = update / updates * 2 * k * math.log(k)  # the paper's step, rescaled
        assert schedule("inverse_sigmoid", k=k)(update / updates) == pytest.approx(k / (k + math.exp(i / k)))


def test_tau_of_the_training_section_is_the_default() -> None:
    p = make_schedule("simple_mix", {}, tau=0.25, n_distilled=1, n_original=1)
    assert [p(t) for t in (0.2, 0.25)] == [1.0, 0.0]


def test_union_draws_each_pool_by_its_share() -> None:
    drawn = Counter[str]()
    for batch in blend("union", distilled=60, original=20, updates=40, size=6).batches():
        drawn += Counter(distilled=len(batch.distilled), original=len(batch.original))
    assert drawn == {"distilled": 180, "original": 60}


def test_unknown_schedule_names_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"train\.arms\.schedule: 'simple_mixx' is unknown\. Did you mean simple_mix\?"
    ):
        schedule("simple_mixx")


def test_option_that_a_schedule_does_not_take_is_refused_with_those_it_takes() -> None:
    with pytest.raises(ConfigError, match=r"schedule power does not take 'tau'; it takes: a\."):
        schedule("power", tau=0.1)


def test_option_that_a_schedule_needs_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"schedule constant needs options\.p"):
        make_schedule("constant", {}, tau=0.5, n_distilled=1, n_original=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant", {"p": 1.5}),
        ("constant", {"p": -0.1}),
        ("constant", {"p": math.nan}),
        ("power", {"a": -1.0}),
        ("exponential", {"k": 2.0}),
        ("exponential", {"k": -0.5}),
        ("inverse_sigmoid", {"k": 0.0}),
        ("inverse_sigmoid", {"k": -1.0}),
        (f"{__name__}:no_probability", {}),
        (f"{__name__}:above_one", {}),
    ],
)
def test_schedule_that_leaves_the_unit_interval_is_an_error_and_no_silent_default(
    name: str, options: dict[str, float]
) -> None:
    p = make_schedule(name, options, tau=0.5, n_distilled=5, n_original=5)
    with pytest.raises(ConfigError, match=r"train\.arms: schedule .*(not a probability|fails)"):
        Blend(p, 5, 5, 10, 4, 0).check()


def test_schedule_from_outside_is_taken_by_module_and_name() -> None:
    assert make_schedule("math:sqrt", {}, tau=0.5, n_distilled=1, n_original=1)(0.25) == 0.5


def test_name_from_outside_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a function"):
        make_schedule(f"{__name__}:NOT_A_FUNCTION", {}, tau=0.5, n_distilled=1, n_original=1)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(0, 2**32),
)
def test_batches_realise_the_schedule_to_within_one_sentence_at_every_update(
    name: str, distilled: int, original: int, updates: int, size: int, seed: int
) -> None:
    made = blend(name, distilled=distilled, original=original, updates=updates, size=size, seed=seed)
    expected = drawn = 0.0
    for number, batch in enumerate(made.batches()):
        assert batch.update == number
        assert batch.p == made.schedule(number / updates)
        assert len(batch.distilled) + len(batch.original) == size
        assert all(0 <= i < distilled for i in batch.distilled)
        assert all(0 <= i < original for i in batch.original)
        expected += batch.p * size
        drawn += len(batch.distilled)
        assert abs(drawn - expected) < 1 + 1e-6
    assert number == updates - 1


@settings(deadline=None)
@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_each_pool_is_used_up_before_it_repeats(name: str, distilled: int, original: int, seed: int) -> None:
    batches = list(blend(name, distilled=distilled, original=original, updates=30, size=5, seed=seed).batches())
    for size, drawn in (
        (distilled, [i for batch in batches for i in batch.distilled]),
        (original, [i for batch in batches for i in batch.original]),
    ):
        for start in range(0, len(drawn) - size + 1, size):
            assert sorted(drawn[start : start + size]) == list(range(size))
        assert len(set(drawn[len(drawn) // size * size :])) == len(drawn) % size


def test_each_pass_over_a_pool_has_its_own_order() -> None:
    drawn = [i for batch in blend("original_only", original=20, updates=20, size=10).batches() for i in batch.original]
    assert len({tuple(drawn[start : start + 20]) for start in range(0, 200, 20)}) == 10


@settings(deadline=None)
@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, 45), st.integers(0, 1000))
def test_a_resumed_run_draws_what_the_uninterrupted_one_would_have_drawn(name: str, start: int, seed: int) -> None:
    made = blend(name, seed=seed)
    assert list(made.batches(start)) == list(made.batches())[start:]


def test_same_seed_same_batches_and_another_seed_others() -> None:
    assert list(blend("union", seed=1).batches()) == list(blend("union", seed=1).batches())
    assert list(blend("union", seed=1).batches()) != list(blend("union", seed=2).batches())


def test_arms_meet_each_pool_in_the_same_order() -> None:
    mixed = [i for batch in blend("simple_mix").batches() for i in batch.distilled]
    alone = [i for batch in blend("distilled_only").batches() for i in batch.distilled]
    assert mixed == alone[: len(mixed)]


def test_simple_mix_is_all_distilled_and_then_all_original() -> None:
    sizes = [len(batch.distilled) for batch in blend("simple_mix", updates=41, size=7).batches()]
    assert sizes == [7] * 21 + [0] * 20


@pytest.mark.parametrize(
    ("name", "distilled", "original", "missing"),
    [
        ("simple_mix", 0, 5, "distilled"),
        ("simple_mix", 5, 0, "original"),
        ("distilled_only", 0, 5, "distilled"),
        ("original_only", 5, 0, "original"),
        ("linear", 5, 0, "original"),
        ("union", 0, 0, "original"),
    ],
)
def test_schedule_that_asks_an_empty_pool_is_refused_before_training(
    name: str, distilled: int, original: int, missing: str
) -> None:
    with pytest.raises(ConfigError, match=f"{missing} sentences, and there are none"):
        blend(name, distilled=distilled, original=original).check()


@pytest.mark.parametrize(
    ("name", "distilled", "original"),
    [("distilled_only", 5, 0), ("original_only", 0, 5), ("union", 0, 5), ("union", 5, 0)],
)
def test_a_pool_that_is_never_asked_may_be_empty(name: str, distilled: int, original: int) -> None:
    made = blend(name, distilled=distilled, original=original)
    made.check()
    assert sum(1 for _ in made.batches()) == made.updates


def mean(p: Schedule, updates: int) -> float:
    return math.fsum(p(update / updates) for update in range(updates)) / updates


@pytest.mark.parametrize("name", sorted(FALLING - {"simple_mix", "distilled_then_mixture"}))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_curves_are_stretched_to_the_very_share(name: str, share: float) -> None:
    assert mean(with_share(schedule(name), share, 500), 500) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("name", ["simple_mix", "reverse"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_a_step_is_still_a_step_at_another_place(name: str, share: float) -> None:
    p = with_share(schedule(name), share, 200)
    values = [p(t) for t in STEPS]
    assert set(values) == {0.0, 1.0}
    assert sum(a != b for a, b in itertools.pairwise(values)) == 1
    assert sum(values) / 200 == pytest.approx(share, abs=1 / 200)


def test_stretching_linear_gives_the_power_that_its_integral_asks_for() -> None:
    # The integral of 1 − t^γ is γ / (1 + γ): 3/4 at γ = 3.
    p = with_share(schedule("linear"), 0.75, 5_000)
    assert [p(t) for t in (0.2, 0.5, 0.9)] == pytest.approx([1 - t**3 for t in (0.2, 0.5, 0.9)], abs=1e-3)


def test_a_share_that_a_schedule_has_already_leaves_it_alone() -> None:
    p = with_share(schedule("cosine"), mean(schedule("cosine"), 400), 400)
    assert [p(t) for t in STEPS] == pytest.approx([schedule("cosine")(t) for t in STEPS], abs=1e-9)


def test_constant_schedules_take_the_share_and_the_ends_of_the_scale_stay() -> None:
    assert {with_share(schedule(name), 0.4, 50)(t) for name in ("constant", "union") for t in STEPS} == {0.4}
    assert {with_share(schedule("original_only"), 0.4, 50)(t) for t in STEPS} == {0.0}
    assert {with_share(schedule("distilled_only"), 0.4, 50)(t) for t in STEPS} == {1.0}


def test_a_share_out_of_reach_says_what_can_be_reached() -> None:
    p = schedule("distilled_then_mixture", p=0.5)
    assert mean(with_share(p, 0.7, 1000), 1000) == pytest.approx(0.7, abs=1e-3)
    with pytest.raises(ConfigError, match=r"share of 0\.3 .* gives 0\.5.* to 1"):
        with_share(p, 0.3, 1000)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(FALLING | {"reverse"})), st.floats(0.2, 0.9), st.integers(5, 80), st.integers(1, 9))
def test_arms_of_one_share_draw_as_many_distilled_sentences(name: str, share: float, updates: int, size: int) -> None:
    made = schedule(name, p=0.0) if name == "distilled_then_mixture" else schedule(name)
    p = with_share(made, share, updates)
    drawn = sum(len(batch.distilled) for batch in Blend(p, 7, 7, updates, size, 0).batches())
    assert abs(drawn - share * updates * size) <= size + 1
