"""`Ranking` → CSV for spreadsheet programs: one row per ranked model. Failures are in the other reports."""

import csv
import io
import math
from typing import Any

import numpy as np

from neuralrank.reports._names import clean
from neuralrank.reports._rows import COLUMNS, flat_rows, score_names
from neuralrank.types import Ranking

# A cell that starts so is a formula to a spreadsheet program; the last four are the full-width forms.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def spreadsheet(ranking: Ranking) -> str:
    r"""Write the ranked models as CSV (RFC 4180: commas, CRLF, doubled quotes), best first.

    Numbers are written in full precision, an unknown value as an empty cell. Text that a spreadsheet program would
    take for a formula (it begins with = + - or @) gets a leading apostrophe; control characters are written as
    visible escapes such as \n, so that every model keeps to one line.

    Args:
        ranking: the result to write.

    Returns:
        The file's text: the header, then one line per model. The header is the same for every ranking, except that
        one column `score_NAME` follows for each further score.
    """
    header = [*COLUMNS, *(f"score_{name}" for name in score_names(ranking))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([cell(name) for name in header])
    for row in flat_rows(ranking):
        writer.writerow([cell(row[name]) for name in header])
    return buffer.getvalue()


def cell(value: Any) -> str:
    """Write one value as a cell that no spreadsheet program takes for a formula."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, tuple):
        return cell(" ".join(value))
    if not isinstance(value, str):
        return str(value)
    text = clean(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text
