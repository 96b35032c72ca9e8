"""Shares become repeats: they add up, caps hold, and the largest group sets the length."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Recipe, RecipeError
from pipeline.decide.mixture import MICRO
from pipeline.decide.shares import allocate, mix, tempered
from pipeline.recipe_file import recipe_from_tree

TOKENS = st.integers(0, 10**13)
GROUPS = st.lists(st.tuples(TOKENS, st.integers(0, 1000)), min_size=1, max_size=12)
CAP = st.fractions(min_value=Fraction(1, 1000), max_value=100, max_denominator=1000)


def recipe(sources: dict[str, float | None], **mixture: object) -> Recipe:
    made = [
        {"name": name, "kind": "web", "format": "jsonl", "paths": ["x"]}
        | ({} if weight is None else {"weight": weight})
        for name, weight in sources.items()
    ]
    return recipe_from_tree({"name": "test", "sources": made, "mixture": mixture})


def repeats_of(recipe: Recipe, passes: dict[tuple[str, str], int]) -> dict[str, float]:
    return {group.name: group.repeats_micro / MICRO for group in mix(recipe, passes).groups}


@given(GROUPS, st.integers(1, 10**14), CAP, st.booleans())
def test_caps_hold_and_the_target_is_met_if_it_can_be(groups, target, cap, fill):
    available, weights = zip(*groups, strict=True)
    shares = [Fraction(weight, max(sum(weights), 1)) for weight in weights]
    got = allocate(available, shares, target=Fraction(target), cap=cap, fill=fill)
    most = [cap * number if share else 0 for number, share in zip(available, shares, strict=True)]
    assert all(0 <= given <= limit for given, limit in zip(got, most, strict=True))
    if fill:
        assert sum(got) == min(Fraction(target), sum(most))
        # Who is below the cap has the same multiple of its share as all others below theirs, 1 or more.
        multiples = {g / s for g, s, m in zip(got, shares, most, strict=True) if s and g < m}
        assert len(multiples) <= 1 and all(multiple >= target for multiple in multiples)
    else:
        assert all(
            given in (share * target, limit) for given, share, limit in zip(got, shares, most, strict=True)
        )


@given(GROUPS, st.integers(1, 10**14), CAP, CAP, st.booleans())
def test_raising_the_cap_never_lowers_the_total(groups, target, cap, more, fill):
    available, weights = zip(*groups, strict=True)
    shares = [Fraction(weight, max(sum(weights), 1)) for weight in weights]
    low, high = (
        sum(allocate(available, shares, target=Fraction(target), cap=at, fill=fill))
        for at in (cap, cap + more)
    )
    assert low <= high <= target


@given(
    st.lists(st.integers(0, 10**13), min_size=1, max_size=12), st.sampled_from([0.3, 1.0, 1.5, 3.3333, 1e6])
)
def test_temperature_between_the_data_and_equal_shares(tokens, temperature):
    names = [f"s{number}" for number in range(len(tokens))]
    passes = {(name, "en"): number for name, number in zip(names, tokens, strict=True)}
    mixed = mix(recipe(dict.fromkeys(names), method="temperature", temperature=temperature), passes)
    assert sum(group.wanted for group in mixed.groups) == (1 if any(tokens) else 0)
    ordered = sorted(mixed.groups, key=lambda group: group.tokens)
    assert [group.wanted for group in ordered] == sorted(group.wanted for group in ordered)
    assert all(0 <= group.repeats_micro <= 4 * MICRO for group in mixed.groups)
    if any(tokens):
        assert ordered[-1].repeats_micro == MICRO  # the largest group once
        if temperature == 1:
            assert all(group.repeats_micro == (MICRO if group.tokens else 0) for group in ordered)


def test_known_powers():
    """alpha = 1/2 of squares and 1/3 of cubes are whole numbers; 2^(1/2) has the digits of the tables."""
    assert tempered(10_000, 2.0) == 100 and tempered(12345, 1.0) == 12345 and tempered(0, 5.0) == 0
    assert tempered(2, 2.0) == Fraction("1.414213562373095048801688724209698078570")
    assert tempered(9, 0.5) == 81


def test_mt5_shares():
    """XLM's formula by hand: 1,000 and 10 tokens at alpha = 0.5 are 31.62 to 3.162, ten to one."""
    mixed = mix(
        recipe({"web": None}, method="temperature", by="language", temperature=2.0, max_epochs=100.0),
        {("web", "en"): 1000, ("web", "sw"): 10},
    )
    assert [round(group.wanted, 6) for group in mixed.groups] == [Fraction("0.909091"), Fraction("0.090909")]
    assert [group.repeats_micro for group in mixed.groups] == [MICRO, 10 * MICRO]
    assert mixed.target == 1100


def test_weights_are_shares_among_each_other():
    passes = {("web", "en"): 600, ("web", "zh"): 400, ("books", "en"): 100}
    for scale in (1, 0.25, 40):
        weighted = recipe({"web": 8 * scale, "books": 2 * scale}, method="weights")
        assert repeats_of(weighted, passes) == {"web": 1.0, "books": 2.5}
        assert mix(weighted, passes).repeats == {
            ("web", "en"): MICRO,
            ("web", "zh"): MICRO,
            ("books", "en"): 2_500_000,
        }
    given = recipe({"web": 8, "books": 2}, method="weights", tokens=500)
    assert repeats_of(given, passes) == {"web": 0.4, "books": 1.0}


def test_what_a_capped_group_lacks():
    passes = {("web", "en"): 1000, ("news", "en"): 500, ("books", "en"): 10}
    weights: dict[str, float | None] = {"web": 0.5, "news": 0.25, "books": 0.25}
    left_out = mix(recipe(weights, method="weights"), passes)  # 2,000 wanted, of which books give 40 of 500
    assert [group.repeats_micro for group in left_out.groups] == [MICRO, MICRO, 4 * MICRO]
    assert [group.short for group in left_out.groups] == [False, False, True]
    filled = mix(recipe(weights, method="weights", tokens=1600), passes)  # 1,560 for web and news, two to one
    assert [group.repeats_micro for group in filled.groups] == [1_040_000, 1_040_000, 4 * MICRO]
    beyond = mix(recipe(weights, method="weights", tokens=10**6, max_epochs=2.0), passes)
    assert all(group.short and group.repeats_micro == 2 * MICRO for group in beyond.groups)


def test_a_source_of_which_nothing_is_kept_is_short():
    mixed = mix(recipe({"web": 1, "books": 1}, method="weights"), {("web", "en"): 100})
    assert [(group.name, group.repeats_micro, group.short) for group in mixed.groups] == [
        ("web", MICRO, False),
        ("books", 0, True),
    ]
    nothing = mix(recipe({"web": 1}, method="weights"), {})
    assert [(group.repeats_micro, group.short) for group in nothing.groups] == [(0, False)]


def test_groups_of_a_temperature():
    passes = {("web", "en"): 100, ("web", "zh"): 40, ("books", "en"): 20}
    for by, names in {
        "source": {"web": 140, "books": 20},
        "language": {"en": 120, "zh": 40},
        "source-language": {"web/en": 100, "web/zh": 40, "books/en": 20},
    }.items():
        sources: dict[str, float | None] = {"web": None, "books": None}
        mixed = mix(recipe(sources, method="temperature", by=by, temperature=2.0), passes)
        assert {group.name: group.tokens for group in mixed.groups} == names
        assert len({micro for key, micro in mixed.repeats.items() if key[1] == "en"}) == (
            1 if by == "language" else 2
        )


@pytest.mark.parametrize(
    ("sources", "mixture", "words"),
    [
        ({"web": None}, {"method": "weight"}, ["mixture.method", "'weights'"]),
        ({"web": None}, {"method": "temperature", "by": "languages"}, ["mixture.by", "'language'"]),
        ({"web": None}, {"metod": "weights"}, ["mixture.metod", "'method'"]),
        ({"web": None}, {"method": "weights"}, ["sources.web.weight is missing"]),
        ({"web": 0.0}, {"method": "weights"}, ["every weight is 0"]),
        ({"web": -1.0}, {"method": "weights"}, ["sources.web.weight = -1"]),
        ({"web": 1.0}, {}, ["sources.web.weight", "'weights'"]),
        ({"web": 1.0}, {"method": "temperature"}, ["sources.web.weight"]),
        ({"web": None}, {"tokens": 5}, ["mixture.tokens", "'repeats'"]),
        ({"web": None}, {"max_epochs": 2.0}, ["mixture.max_epochs"]),
        ({"web": 1.0}, {"method": "weights", "temperature": 2.0}, ["mixture.temperature", "'weights'"]),
        ({"web": 1.0}, {"method": "weights", "by": "language"}, ["mixture.by"]),
        ({"web": None}, {"method": "temperature", "temperature": 0.0}, ["mixture.temperature = 0"]),
        ({"web": None}, {"method": "temperature", "max_epochs": 0.0}, ["mixture.max_epochs"]),
        ({"web": None}, {"method": "temperature", "tokens": -1}, ["mixture.tokens = -1"]),
    ],
)
def test_impossible_mixtures_are_refused(sources, mixture, words):
    with pytest.raises(RecipeError) as raised:
        recipe(sources, **mixture)
    assert all(word in str(raised.value) for word in words)


def test_given_and_computed_repeats_exclude_each_other():
    source = {"name": "web", "kind": "web", "format": "jsonl", "paths": ["x"], "repeats": 2.0, "weight": 1.0}
    with pytest.raises(
        RecipeError, match=r"sources\.web\.repeats = 2, but mixture.method = 'weights' computes"
    ):
        recipe_from_tree({"name": "test", "sources": [source], "mixture": {"method": "weights"}})
    rehydrating = {"rehydrate": [[1, 60_000]]}
    with pytest.raises(RecipeError, match=r"60000 x 4 repeats are more than 65535"):
        recipe_from_tree(
            {
                "name": "test",
                "sources": [source | {"repeats": 1.0}],
                "mixture": {"method": "weights"},
                "decide": rehydrating,
            }
        )
