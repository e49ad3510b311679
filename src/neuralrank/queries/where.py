"""Conditions over the fields of the catalogue: what `--where` takes.

A condition is a small part of SQL: comparisons joined by AND, OR and NOT. Nothing else of SQL passes: the text is read
into a list of tests, and neither it nor anything made from it is ever run as a statement. The grammar: `docs/where.md`.
"""

from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from neuralrank.queries._where_arrays import Step
from neuralrank.queries._where_joined import Node, tree_of, value_of


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition that was read and found to be one."""

    text: str
    """As the user wrote it."""
    fields: tuple[str, ...]
    """Names of the fields it reads, in the order of their first mention."""
    steps: tuple[Step, ...] = field(repr=False, compare=False)
    """Operands first, then the word that joins them."""

    def evaluate(self, table: pa.Table | pa.RecordBatch) -> pa.BooleanArray:
        """Say of each record whether the condition holds; null where that is unknown.

        A comparison with a missing value is unknown. `NOT unknown` is unknown, `unknown AND false` is false,
        `unknown OR true` is true. `IS NULL` always knows.

        Args:
            table: has a column for each of `fields`. By the kind of the field: text as string or dictionary of strings;
                list as list of these or dictionary of such lists, missing if empty; integer as int64; number as
                float64, where NaN is missing; date as timestamp[us, UTC]; boolean as bool.

        Returns:
            One truth value per row.

        Example:
            >>> table = pa.table({"params": [10, 50_000_000, None], "license": ["MIT", "mit", "mit"]})
            >>> parse_where("params < 30M AND license = 'mit'").evaluate(table).to_pylist()
            [True, False, None]
        """
        return value_of(self._tree, table)

    @cached_property
    def _tree(self) -> Node:
        return tree_of(self.steps)


def parse_where(text: str) -> Condition:
    """Read a condition.

    Args:
        text: for example "params < 30M AND license IN ('mit', 'apache-2.0')".

    Raises:
        UsageError: it is no condition; the message says which part and what to write.

    Example:
        >>> parse_where("created >= '2024' AND NOT languages = 'en'").fields
        ('created', 'languages')
    """
    from neuralrank.queries._where_groups import compile_condition  # the SQL parser takes a third of a second to import

    steps = compile_condition(text)
    named = (name for step in steps if not isinstance(step, str) for name in step.fields)
    return Condition(text=text, fields=tuple(dict.fromkeys(named)), steps=steps)
