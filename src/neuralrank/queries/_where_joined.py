"""AND, OR and NOT of a condition: the cheap parts first, the dear ones only on rows that those leave open.

The order makes no difference to the result: with unknown as a third value, AND and OR are as free of it as with two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuralrank.queries._where_arrays import Holds, Predicate, Step
from neuralrank.queries._where_columns import as_mask, known_mask, truths

_DEAR = 400_000
"""A part that reads more bytes than this is worth a look at what the others leave open."""
_FEW = 0.3
"""Up to this share of the rows, taking them out and testing them costs less than testing all."""


@dataclass(frozen=True, kw_only=True)
class Negated:
    """NOT."""

    part: "Node"


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Parts joined by one word."""

    word: Literal["and", "or"]
    parts: "tuple[Node, ...]"


Node = Predicate | Negated | Joined


def tree_of(steps: Sequence[Step]) -> Node:
    """Return steps as a tree in which a chain of one word is one node."""
    stack: list[Node] = []
    for step in steps:
        if step == "not":
            stack.append(Negated(part=stack.pop()))
        elif step == "and" or step == "or":
            right, left = stack.pop(), stack.pop()
            stack.append(Joined(word=step, parts=(*_parts(left, step), *_parts(right, step))))
        else:
            stack.append(step)
    return stack.pop()


def value_of(node: Node, table: Any) -> pa.BooleanArray:
    """Return one truth value per row, null for unknown."""
    if isinstance(node, Negated):
        return pc.invert(value_of(node.part, table))
    if not isinstance(node, Joined):
        return node(table)
    first, *others = sorted((_cost(part, table), place) for place, part in enumerate(node.parts))
    found = value_of(node.parts[first[1]], table)
    for cost, place in others:
        found = _joined(node.word, found, node.parts[place], table, dear=cost > _DEAR)
    return found


def _parts(node: Node, word: str) -> tuple[Node, ...]:
    return node.parts if isinstance(node, Joined) and node.word == word else (node,)


def _cost(node: Node, table: Any) -> int:
    """Return about how many bytes have to be looked through; 0 for what takes next to no time."""
    if isinstance(node, Negated):
        return _cost(node.part, table)
    if isinstance(node, Joined):
        return sum(_cost(part, table) for part in node.parts)
    return table.column(node.field).nbytes if isinstance(node, Holds) and node.kind in ("text", "list") else 0


def _joined(word: str, found: pa.BooleanArray, part: Node, table: Any, *, dear: bool) -> pa.BooleanArray:
    """Join what was found with a further part, which is looked at only where it can make a difference."""
    join = pc.and_kleene if word == "and" else pc.or_kleene
    if not dear:
        return join(found, value_of(part, table))
    truth, known = as_mask(found), known_mask(found)
    rows = np.flatnonzero(~known | (truth if word == "and" else ~truth))
    if not len(rows):
        return found
    if len(rows) > _FEW * len(truth):
        return join(found, value_of(part, table))
    chosen = pa.array(rows)
    closer = join(found.take(chosen), value_of(part, table.select(_fields(part)).take(chosen)))
    truth[rows], known[rows] = as_mask(closer), known_mask(closer)
    return truths(truth, known)


def _fields(node: Node) -> list[str]:
    if isinstance(node, Joined):
        return list(dict.fromkeys(name for part in node.parts for name in _fields(part)))
    return _fields(node.part) if isinstance(node, Negated) else list(node.fields)
