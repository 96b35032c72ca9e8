"""Shares of the training tokens made into repeats: the `[mixture]` of a recipe, computed exactly.

What is mixed are groups: sources, languages, or languages of a source. A *pass* over a group is every kept
training document of it once (a rehydrated one as often as its factor says), each copy with its <|endoftext|>;
a group's repeats are how many passes over it the corpus holds. Every group wants a share of the tokens aimed
at, and gets no more than `max_epochs` passes:

- method "repeats": the repeats stand in the recipe; nothing is computed, nothing is capped.
- method "weights": the shares are the sources' weights, among all of them.
- method "temperature": the shares are in proportion to tokens^(1/temperature) (XLM: Conneau and Lample 2019;
  mT5: Xue et al. 2021, alpha = 1/temperature = 0.3). 1 leaves the data as it is, infinity makes groups equal.

With `tokens` given, what a capped group cannot give is given by the others, in proportion to their shares, as
far as their own caps allow (UniMax: Chung et al. 2023): the length of a training run is fixed, so a corpus of
that length is worth more than exact shares. With tokens = 0 the length follows from the data: as many tokens
as make the share of the group with the most tokens exactly one pass; what a capped group lacks is left out,
and the others keep their proportions.

All of it is rational arithmetic on integers. The one irrational step, a power, is taken with 60 decimal
digits and rounded to 40, the same on every machine; repeats are rounded to micro-units (half to even), so a
group's tokens differ from its share of the target by at most half a millionth of a pass, and by the draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from pipeline.config import Mixture, Recipe
from pipeline.decide.mixture import MICRO, repeats_to_micro

Key = tuple[str, str]  # source, language

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)
_ROUNDED = Context(prec=40, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)


@dataclass(frozen=True, slots=True)
class Group:
    """What is mixed as one, and what became of it."""

    name: str  # SOURCE, LANGUAGE or SOURCE/LANGUAGE
    tokens: int  # of one pass
    repeats_micro: int
    wanted: Fraction  # share of the tokens aimed at
    short: bool  # it cannot give its share within max_epochs


@dataclass(frozen=True, slots=True)
class Mixed:
    """The mixture of one corpus."""

    groups: tuple[Group, ...]
    repeats: Mapping[Key, int]  # micro-units, for every (source, language) that was given
    target: int  # training tokens aimed at, rounded down
    missing: int  # of them: what no group gives, rounded down


def group_name(mixture: Mixture, key: Key) -> str:
    """Which group a (source, language) belongs to; source names hold no "/"."""
    source, language = key
    if mixture.method != "temperature" or mixture.by == "source":
        return source
    return language if mixture.by == "language" else f"{source}/{language}"


def mix(recipe: Recipe, passes: Mapping[Key, int]) -> Mixed:
    """The repeats of every (source, language), from the tokens of one pass over each (zero is allowed)."""
    mixture = recipe.mixture
    tokens = {source.name: 0 for source in recipe.sources} if mixture.by == "source" else {}
    for key in sorted(passes):
        name = group_name(mixture, key)
        tokens[name] = tokens.get(name, 0) + passes[key]
    names, available = list(tokens), list(tokens.values())
    if mixture.method == "repeats":
        micro = [repeats_to_micro(source.repeats) for source in recipe.sources]
        trained = [Fraction(times * number, MICRO) for times, number in zip(micro, available, strict=True)]
        shares, target = normalised(trained), sum(trained, Fraction(0))
        short, missing = [False] * len(names), Fraction(0)
    else:
        if mixture.method == "weights":
            weights = [Fraction(str(source.weight)) for source in recipe.sources]
        else:
            weights = [tempered(number, mixture.temperature) for number in available]
        shares, cap = normalised(weights), Fraction(str(mixture.max_epochs))
        target = Fraction(mixture.tokens) or once_over_the_largest(available, shares)
        got = allocate(available, shares, target=target, cap=cap, fill=mixture.tokens > 0)
        most, missing = int(cap * MICRO), target - sum(got)
        micro = [
            min(most, round(given / number * MICRO)) if number else 0
            for given, number in zip(got, available, strict=True)
        ]
        short = [share * target > cap * number for share, number in zip(shares, available, strict=True)]
    groups = tuple(map(Group, names, available, micro, shares, short))
    by_name = {group.name: group.repeats_micro for group in groups}
    repeats = {key: by_name[group_name(mixture, key)] for key in sorted(passes)}
    return Mixed(groups, repeats, int(target), int(missing))


def allocate(
    available: Sequence[int], shares: Sequence[Fraction], *, target: Fraction, cap: Fraction, fill: bool
) -> list[Fraction]:
    """Tokens per group, at most `cap` times those available: its share of the target, or, with `fill`, more
    where other groups cannot give theirs. They add up to the target unless every group with a share is at its
    cap (or `fill` is off). Shares are not negative.
    """
    most = [cap * number for number in available]
    if not fill:
        return [min(share * target, limit) for share, limit in zip(shares, most, strict=True)]
    got = [Fraction(0)] * len(shares)
    # Those that are full first, first. Who is not full where all who are left get the same multiple of their
    # share, is the first of those who are not.
    order = sorted((i for i, share in enumerate(shares) if share), key=lambda i: (most[i] / shares[i], i))
    left, open_shares = target, sum(shares, Fraction(0))
    for place, i in enumerate(order):
        if most[i] * open_shares >= left * shares[i]:
            each = left / open_shares
            for other in order[place:]:
                got[other] = each * shares[other]
            break
        got[i] = most[i]
        left, open_shares = left - most[i], open_shares - shares[i]
    return got


def once_over_the_largest(available: Sequence[int], shares: Sequence[Fraction]) -> Fraction:
    """Tokens of which the largest group's share is one pass over it; of equal ones, that with the larger
    share.
    """
    number, share = max(zip(available, shares, strict=True), key=lambda group: (group[1] > 0, *group))
    return number / share if share else Fraction(0)


def normalised(weights: Sequence[Fraction]) -> list[Fraction]:
    """Weights as shares that add up to 1; all 0 if they are."""
    whole = sum(weights, Fraction(0))
    return [weight / whole if whole else Fraction(0) for weight in weights]


def tempered(tokens: int, temperature: float) -> Fraction:
    """tokens^(1/temperature), 40 significant digits; exact for a temperature of 1, and 0 for no tokens."""
    alpha = _EXACT.divide(Decimal(1), Decimal(str(temperature)))
    power = _EXACT.power(Decimal(tokens), alpha) if tokens else Decimal(0)
    return Fraction(_ROUNDED.plus(power))
