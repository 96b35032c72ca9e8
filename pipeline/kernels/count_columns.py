"""Which column of the count matrix holds what, as constants that kernels can use.

The order is that of `counts.TEXT_COUNTS`, which says what each count means; a test holds the two together.
Written out here, and not read from the schema, because a kernel's cached machine code contains these numbers
and must be compiled again when they change (see `jit.source_digest`).
"""

CHARACTERS = 0
BYTES = 1
WORDS = 2
WORD_CHARACTERS = 3
ALPHABETIC_WORDS = 4
STOP_WORDS = 5
STOP_WORDS_ZH = 6
HASH_SYMBOLS = 7
ELLIPSES = 8
LINES = 9
BULLET_LINES = 10
ELLIPSIS_LINES = 11
PUNCTUATED_LINES = 12
SHORT_LINES = 13
DUPLICATE_LINES = 14
DUPLICATE_LINE_CHARACTERS = 15
PARAGRAPHS = 16
DUPLICATE_PARAGRAPHS = 17
DUPLICATE_PARAGRAPH_CHARACTERS = 18
DIGIT_CHARACTERS = 19
ALPHABETIC_CHARACTERS = 20
WHITESPACE_CHARACTERS = 21
HAN_CHARACTERS = 22
UPPERCASE_CHARACTERS = 23
NEWLINES = 24
LONGEST_LINE_CHARACTERS = 25
MAX_WORD_CHARACTERS = 26

STOP_WORD_OCCURRENCES = 27
TOP_2_GRAM_CHARACTERS = 28  # and those of three and four words
DUPLICATE_5_GRAM_CHARACTERS = 31  # and those of six to ten words

COPIED_LINES = 37
COPIED_LINE_CHARACTERS = 38
COPIED_PARAGRAPHS = 39
COPIED_PARAGRAPH_CHARACTERS = 40
PARAGRAPH_CHARACTERS = 41
ENDED_LINES = 42

COLUMNS = 43
