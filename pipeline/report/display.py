"""What comes from data and goes to a terminal or page: no markup, no control characters, no reordering of
text.
"""

import re

from rich.text import Text

# C0 and C1 controls (escape sequences start with one), and the characters that reverse or isolate the
# direction of text, with which a URL can be made to look like another one (Unicode TR 36, 3.2).
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def shown(text: str, *, limit: int = 0, style: str = "") -> Text:
    """Text from data as rich shows it literally; longer than `limit` characters (0 = any) ends in "…"."""
    return Text(cleaned(text, limit=limit), style=style)


def cleaned(text: str, *, limit: int = 0) -> str:
    """Text in which runs of control and direction characters are one space, cut to `limit` characters (0 =
    any).
    """
    clean = _UNSAFE.sub(" ", text)
    return clean if not limit or len(clean) <= limit else clean[: limit - 1] + "…"
