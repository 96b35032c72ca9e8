"""What the HTML scanner knows of names: tags, attributes, character references, cues in class and id names.

A name is a key: its first eight bytes in lower case as a little-endian uint64. Tag numbers, cue groups and
their order are part of every model that was trained on them (pipeline/annotate/extract/): append, never sort.
"""

import html.entities
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only


def words_of(names: str) -> list[str]:
    """Names between white space."""
    return names.split()


INLINE = words_of(
    """
    a span b strong i em u s small sub sup code font abbr cite q mark time label kbd samp var tt big ins
    del bdi bdo wbr img acronym strike nobr input math source picture option object map area embed param
    link meta base annotation mjx-container script noscript template style svg
    """
)
BLOCK = words_of(
    """
    p div li ul ol dl dt dd table tbody thead tfoot tr td th h1 h2 h3 h4 h5 h6 pre blockquote figure
    figcaption article section main nav header footer aside form fieldset address details summary body
    html center hr caption br legend hgroup dir menu head textarea title iframe xmp canvas video audio
    frameset button select
    """
)
TAGS = ("?", *INLINE, *BLOCK)  # 0: unknown, treated as inline
_VOID = words_of("br hr img input wbr link meta base area embed param source")
_RAW_TO_END = words_of("script style textarea title iframe xmp")  # without an end tag, to the end of the page
_RAW = [*_RAW_TO_END, "svg", "template", "noscript"]  # what is in them is no text

# Groups, at most 64: a text in class, id, role or itemprop that hints at what an element is for. "." is any
# character but a letter, also the beginning and the end.
CUES = """
nav,navi,navbar | menu | footer,foot,.bottom. | header,.head.,masthead |
sidebar,side.bar,.side.,sidenav,rightcol,leftcol,right.col,aside | comment,disqus,discuss | respon,reply |
share,sharing,addthis,addtoany | social,facebook,twitter,weibo,wechat | related,relacion,verwandt,similar |
recommend,suggest | popular,trending,.most,.hot | promo,sponsor,campaign |
advert,.ad.,.ads.,.adv.,adsense,dfp,banner,werbung,anzeige | cookie,consent,gdpr |
newsletter,subscri,.abo,premium,paywall | signup,sign.up,login,register | crumb | meta | byline,author,autor |
date,time,publish | tag,keyword | categor,topic | paginat,pager,.next,.prev | toc,table.of.contents,outline |
tool,btn,button | modal,popup,overlay,dialog | widget | outbrain,taboola | caption,credit |
copyright,legal,disclaim,license | search | form | hidden,hide,invisible,sr.only,screen.reader,.d.none |
rating,vote,like,star | video,player,audio | gallery,carousel,slide,swiper | teaser | card | list | more |
embed | .bio,about | shop,product,price,cart | user,profile,avatar | logo | notice,alert,warning,message |
image,img,photo,figure,media | link | item | box | article |
articlebody,article.body,article.content,articlecontent,article.text,articletext,post.content,postcontent,
post.body,postbody,entry.content,entrycontent,story.body,storybody,storycontent,body.text,bodytext,
post.entry |
content,inhalt | entry | post | story | body | main,primary | text | markdown,document,rst,wiki |
lead,summary,intro,standfirst,subtitle,abstract,excerpt,description | headline,title |
katex.html,mathjax.preview,.gutter.,.lineno,line.number,.mathjax.,mathjax.display,mathjax.svg,mathjax.chtml
"""
CUE_GROUPS = [
    [cue.strip() for cue in group.split(",") if cue.strip()] for group in CUES.split("|")
]  # at most 64
# elements whose distance above a block is a feature
SEMANTIC = words_of(
    """
    article main nav header footer aside section form ul ol table figure blockquote dl button h1 h2 h3
    h4 h5 h6 a pre code figcaption details label p li td dd select summary address tr time option
    """
)

HIDDEN_CUE = next(i for i, group in enumerate(CUE_GROUPS) if "hidden" in group)
RENDERING_CUE = len(CUE_GROUPS) - 1  # a formula drawn a second time, line numbers beside code
IS_BLOCK, IS_VOID, IS_RAW, IS_RAW_TO_END, PLACE_IN_SEMANTIC, KINDS = range(6)
TAGS_AT, TAG_SLOTS, ENTITY_SLOTS = np.int64(0), np.int64(1024), np.int64(8192)
BARE = 1 << 24  # flag of a reference that old pages may write without its semicolon
_OTHER = 26  # class of every byte that is no letter
MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: Fibonacci hashing (Knuth, 6.4)


class HtmlTables(NamedTuple):
    """All of it as arrays that kernels read; made once by `load_html_tables`."""

    keys: NDArray[np.uint64]  # [places] of tags, then of entities; open addressing, 0 = empty
    values: NDArray[np.int32]  # [places + 32] tag numbers; code points, with BARE; what &#128; to &#159; mean
    kinds: NDArray[np.int32]  # [tags, KINDS]
    letter: NDArray[np.uint8]  # [256] a-z and A-Z -> 0-25, others 26
    next_state: NDArray[np.int16]  # [states, 27] Aho-Corasick over CUE_GROUPS
    state_cues: NDArray[np.uint64]  # [states] bit g: a cue of group g ends here


def key_of(name: str) -> int:
    """The key of a name."""
    return int.from_bytes(name.encode()[:8], "little")


def tag_number(name: str) -> np.int64:
    """A tag's place in TAGS; ValueError if it is none.

    A NumPy integer, like all constants that kernels hand to kernels: for Python ones Numba compiles a form
    for each value.
    """
    return np.int64(TAGS.index(name))


@cache
def load_html_tables() -> HtmlTables:
    """The tables, read-only."""
    known = html.entities.html5
    entities = {
        name.removesuffix(";"): ord(text) | (BARE if name.removesuffix(";") in known else 0)
        for name, text in known.items()
        if len(text) == 1 and len(name.removesuffix(";")) <= 8
    }
    entity_keys, entity_points = _hash_table(entities, int(ENTITY_SLOTS))
    tag_keys, tag_numbers = _hash_table(
        {name: number for number, name in enumerate(TAGS) if number}, int(TAG_SLOTS)
    )
    semantic = [SEMANTIC.index(tag) if tag in SEMANTIC else -1 for tag in TAGS]
    kinds = [*(np.isin(TAGS, names) for names in (BLOCK, _VOID, _RAW, _RAW_TO_END)), semantic]
    letter = np.full(256, _OTHER, np.uint8)
    letter[97:123] = letter[65:91] = np.arange(26)
    next_state, state_cues = _cue_automaton()
    upper_controls = [ord(bytes([byte]).decode("cp1252", "ignore") or "\ufffd") for byte in range(128, 160)]
    arrays = (
        np.concatenate([tag_keys, entity_keys]),
        np.concatenate([tag_numbers, entity_points, np.array(upper_controls, np.int32)]),
        np.array(kinds, np.int32).T.copy(),
        letter,
        next_state,
        state_cues,
    )
    return HtmlTables(*(read_only(array) for array in arrays))


def _hash_table(numbers: dict[str, int], size: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for name, number in numbers.items():
        key = key_of(name)
        slot = ((key * MULTIPLIER) & (2**64 - 1)) >> 40 & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], values[slot] = key, number
    return keys, values


def _cue_automaton() -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
    """Aho and Corasick (1975): one state change per byte finds all cues."""
    edges: list[dict[int, int]] = [{}]
    found = [0]
    for group, cues in enumerate(CUE_GROUPS):
        for cue in cues:
            state = 0
            for character in cue:
                symbol = ord(character) - ord("a") if "a" <= character <= "z" else _OTHER
                if symbol not in edges[state]:
                    edges[state][symbol] = len(edges)
                    edges.append({})
                    found.append(0)
                state = edges[state][symbol]
            found[state] |= 1 << group
    next_state = np.zeros((len(edges), _OTHER + 1), np.int16)
    fallback = [0] * len(edges)
    queue = []
    for symbol, state in edges[0].items():
        next_state[0, symbol] = state
        queue.append(state)
    for state in queue:  # grows while it is walked: breadth first
        found[state] |= found[fallback[state]]
        for symbol in range(_OTHER + 1):
            after = int(next_state[fallback[state], symbol])
            if symbol in edges[state]:
                after, fallback[edges[state][symbol]] = edges[state][symbol], after
                queue.append(after)
            next_state[state, symbol] = after
    return next_state, np.array(found, np.uint64)
