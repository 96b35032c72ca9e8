"""From which chance on a block is kept: chosen on pages that the models did not learn from.

By the labels of pages without a truth only, so that the sets which the benchmark reports stay out of it.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.extract.blocks import Cuts, is_kept
from pipeline.kernels.trees import STEP

KINDS = ("articles", "chinese", "pool", "hand")  # pages that mostly have a main text; each kind counts alike
KEPT, LIKELY, LOWERED = (40, 45, 50, 55), (15, 20, 25), (20, 25, 30, 35)  # percent

# (kind, chances [blocks] by models that did not see the site, labels [blocks], characters [blocks])
Judged = tuple[str, NDArray[np.uint16], NDArray[np.float32], NDArray[np.int64]]


def choose_cuts(pages: Sequence[Judged]) -> Cuts:
    """The cuts with the best mean F1, in characters, over the pages of KINDS; the first of equals."""
    best, best_f1 = Cuts(STEP // 2, STEP // 5, STEP * 3 // 10), -1.0
    for percents in product(KEPT, LIKELY, LOWERED):
        cuts = Cuts(*(STEP * percent // 100 for percent in percents))
        by_kind = [[_f1(cuts, *page[1:]) for page in pages if page[0] == kind] for kind in KINDS]
        f1 = float(np.mean([np.mean(scores) for scores in by_kind if scores]))
        if f1 > best_f1:
            best, best_f1 = cuts, f1
    print(f"cuts {best._asdict()} of {STEP}: F1 {best_f1:.4f} on {', '.join(KINDS)}", flush=True)
    return best


def _f1(
    cuts: Cuts, chances: NDArray[np.uint16], labels: NDArray[np.float32], lengths: NDArray[np.int64]
) -> float:
    kept = is_kept(chances, lengths, cuts)
    right = float((lengths * labels * kept).sum())
    return 2 * right / max(float((lengths * kept).sum()) + float((lengths * labels).sum()), 1.0)
