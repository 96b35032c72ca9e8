"""The part of the recipe's check that is about perplexity: models, cut-offs, and rules that need them."""

from pipeline.config import Recipe, RecipeError, nearest
from pipeline.rules import PERPLEXITY_BUCKETS, PERPLEXITY_RULES


def check_perplexity(recipe: Recipe) -> None:
    """Raises RecipeError, naming the key, for a language of which a rule wants the perplexity and there is no
    model, and for cut-offs that do not make three buckets.
    """
    models, cuts = recipe.annotate.perplexity, recipe.decide.perplexity
    for language in recipe.annotate.pieces:
        if language not in models:
            hint = nearest(language, models)
            raise RecipeError(f"annotate.pieces.{language}: annotate.perplexity has no such language{hint}")
    head, *more = cuts.percentiles or (0,)
    if len(more) != 1 or not 0 < head < more[0] < 100:
        raise RecipeError("decide.perplexity.percentiles must be two that rise, between 0 and 100: [30, 60]")
    for language, values in cuts.cut_offs.items():
        key = f"decide.perplexity.cut_offs.{language}"
        if language not in models:
            raise RecipeError(f"{key}: annotate.perplexity has no such language{nearest(language, models)}")
        if len(values) != 2 or not 1 <= values[0] < values[1]:
            raise RecipeError(f"{key} must be two perplexities that rise: [340, 520]")
    for kind, by_language in recipe.decide.thresholds.items():
        for language, thresholds in by_language.items():
            key = f"decide.thresholds.{kind}.{language}"
            asked = [name for name in PERPLEXITY_RULES if getattr(thresholds, name) is not None]
            if asked and not (models if language == "default" else language in models):
                raise RecipeError(
                    f"{key}.{asked[0]} compares nothing: annotate.perplexity has no model for {language}"
                    f"{nearest(language, models)}"
                )
            for name in thresholds.buckets or ():
                if name not in PERPLEXITY_BUCKETS:
                    hint = nearest(name, PERPLEXITY_BUCKETS)
                    raise RecipeError(
                        f"{key}.buckets: {name!r} is not one of {', '.join(PERPLEXITY_BUCKETS)}{hint}"
                    )
