"""Personal data as edits with fixed placeholders: e-mail addresses, telephone numbers, IP addresses, numbers
of residents of China, bank cards.

Only what is nearly certain by its form is found; names and postal addresses are not. The kernels
(kernels/personal_*.py) say what each kind looks like. Offsets are bytes of the stored UTF-8 text, which stays
as it is: `pipeline/decide/edits.py` applies edits when text leaves for training.

- E-mail: mailbox and domain of ASCII; not files (logo@2x.png), not git@host.
- Telephone: mobile numbers of mainland China (11 digits from 13 to 19, alone or as 3-4-4, with or without
  86), its landlines with their area code, North American numbers as 3-3-4, any other behind a +.
- IP: public addresses (as datatrove and FineWeb choose: private and reserved ones are nobody's). IPv4 whose
  numbers are all below 32 is a version or a section, unless it has a port, a mask or a / before it.
- Residents' numbers: 18 digits with a right province, day of birth and check digit (GB 11643).
- Bank cards: 14, 15, 16 or 19 digits, alone or in groups of four (15: 4-6-5), of a known issuer, with a right
  Luhn digit.

Caught although it is disguised: full-width digits, brackets and hyphens; joiners between digits (zero-width
spaces are gone before, see normalize.py). Not caught: digits written as words or as Chinese numerals, letters
for digits (l38...), look-alike letters in addresses, "name at host dot org", other separators, residents'
numbers of 15 digits (before 2004), which have no check digit. Numbers inside of URLs are left alone.

Right, judged by eye on different finds in 145 MB of what misleads such rules (Python's standard library, web
pages full of code, logs and tables, English and Chinese): 119 of 125 IP addresses (the others are versions
and sections), 19 of 20 telephone numbers, 55 of 64 e-mail addresses (the others have the form, but are ids of
messages, names of algorithms, or user:password@host). Residents' numbers and cards: no find in all of it.

Costs 0.01 to 0.03 ms for a page of 5 kB.
"""

import numpy as np
import pyarrow as pa

from pipeline.kernels.personal_data import KINDS, find_personal_data
from pipeline.schema import EDITS

PLACEHOLDERS = {kind: f"<{kind}>" for kind in KINDS}


def mask_personal_data(text: pa.Array) -> pa.Array:
    """EDITS per document of a string or large_string array."""
    finds = find_personal_data(text)
    bounds = np.searchsorted(finds.row, np.arange(len(text) + 1)).astype(np.int32)
    kinds = pa.array(finds.kind.astype(np.int32))
    replacements, reasons = (
        pa.DictionaryArray.from_arrays(kinds, pa.array(names)).cast(pa.string())
        for names in ([PLACEHOLDERS[kind] for kind in KINDS], list(KINDS))
    )
    places = [pa.array(column.astype(np.uint32)) for column in (finds.start, finds.end)]
    edits = pa.StructArray.from_arrays([*places, replacements, reasons], fields=list(EDITS.value_type))
    return pa.ListArray.from_arrays(pa.array(bounds), edits, type=EDITS)
