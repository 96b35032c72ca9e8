"""What is surroundings whatever a model says: navigation, buttons, menus, footers, lists of links, hidden
text.

A footer inside an article belongs to it. Hidden text (the attribute, display: none, visibility: hidden)
counts as surroundings unless it holds nearly all paragraphs: such a page is shown by a script.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_features import FEATURES
from pipeline.kernels.html_page import CHARACTERS, HIDDEN, Page
from pipeline.kernels.jit import kernel

_LINK_SHARE, _LINK_SHARE_AROUND = FEATURES.index("link_share"), FEATURES.index("around1_link_share")
_IN_NAV, _IN_BUTTON, _IN_SELECT = (FEATURES.index(f"in_{tag}") for tag in ("nav", "button", "select"))
_IN_FOOTER, _IN_ARTICLE = FEATURES.index("in_footer"), FEATURES.index("in_article")
_LONG = 80  # characters of a paragraph
_MOSTLY_HIDDEN = 8  # times as much hidden text as visible: a script will show it
_LINK_LIST = np.float32(0.75)  # of a block and of what is around it: above it both are navigation


def open_blocks(page: Page, features: NDArray[np.float32], elements: NDArray[np.int32]) -> NDArray[np.int32]:
    """The blocks that no rule decides, in order; `elements` [blocks] are their block-level elements."""
    found = np.empty(len(features), np.int32)
    return found[: _find_open(page, features, elements, found)]


@kernel
def _find_open(page, features, elements, found):
    visible = hidden = np.int64(0)
    for block in range(elements.size):
        characters = np.int64(page.blocks[block, CHARACTERS])
        if characters < _LONG or features[block, _LINK_SHARE] > _LINK_LIST:
            continue
        if page.elements[elements[block], HIDDEN]:
            hidden += characters
        else:
            visible += characters
    drops_hidden = visible * _MOSTLY_HIDDEN >= hidden
    count = 0
    for block in range(elements.size):
        row = features[block]
        if row[_IN_NAV] > 0 or row[_IN_BUTTON] > 0 or row[_IN_SELECT] > 0:
            continue
        if row[_IN_FOOTER] > 0 and row[_IN_ARTICLE] == 0:
            continue
        if row[_LINK_SHARE] > _LINK_LIST and row[_LINK_SHARE_AROUND] > _LINK_LIST:
            continue
        if drops_hidden and page.elements[elements[block], HIDDEN]:
            continue
        found[count] = block
        count += 1
    return count
