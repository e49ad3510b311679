"""The text of a condition to its steps, one group in parentheses after the other, each by way of the SQL parser.

The parser sees each field and value as the number of its token: neither their spelling nor their size reaches it.
"""

from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from neuralrank.queries._where_arrays import Step
from neuralrank.queries._where_neighbours import check_neighbours
from neuralrank.queries._where_tokens import EXAMPLE, Token, read_tokens, refuse
from neuralrank.queries._where_tree import Group

MAX_DEPTH = 100
MAX_NOTS = 10
_PARSER_ERRORS = (
    SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError, AssertionError
)  # fmt: skip
"""What is no grammar to the parser may end in any of these; it promises the first alone."""


def compile_condition(text: str) -> tuple[Step, ...]:
    """Return the steps of a condition in the order of a stack machine: operands first, then what joins them.

    Groups in parentheses are compiled from the inside out, each by itself: the parser needs some twenty frames for each
    level of them, and fifty levels would exhaust the stack.

    Raises:
        UsageError: the text is no condition.
    """
    tokens = read_tokens(text)
    _check_depth(text, tokens)
    compiled: dict[int, tuple[Step, ...]] = {}
    levels: list[list[Token]] = [[]]
    opened: list[Token] = []
    listed: Token | None = None
    for token in tokens:
        sign = token.value if token.kind == "sign" else ""
        if listed or sign not in ("(", ")"):
            levels[-1].append(token)
            listed = None if sign == ")" else listed
        elif sign == "(" and levels[-1] and levels[-1][-1].kind == "keyword" and levels[-1][-1].value == "IN":
            levels[-1].append(token)
            listed = token
        elif sign == "(":
            opened.append(token)
            levels.append([])
        elif not opened:
            raise refuse("A closing parenthesis needs an opening one", text[token.start :], "Take it out, or add '('")
        else:
            start = opened.pop().start
            compiled[start] = _compile_group(text[start : token.end], text, levels.pop(), compiled)
            levels[-1].append(Token(kind="group", value="", start=start, end=token.end))
    unclosed = listed or (opened[-1] if opened else None)
    if unclosed:
        raise refuse("An opening parenthesis needs a closing one", text[unclosed.start :], "Add ')' where it ends")
    return _compile_group(text, text, levels.pop(), compiled)


def _check_depth(text: str, tokens: Sequence[Token]) -> None:
    depth = run = 0
    for token in tokens:
        run = run + 1 if token.kind == "keyword" and token.value == "NOT" else 0
        depth += {"(": 1, ")": -1}.get(str(token.value), 0) if token.kind == "sign" else 0
        if depth > MAX_DEPTH or run > MAX_NOTS:
            needed = f"A condition needs at most {MAX_DEPTH} levels of parentheses and {MAX_NOTS} NOT in a row"
            raise refuse(needed, text, "Take out those that change nothing")


def _compile_group(
    written: str, text: str, tokens: Sequence[Token], compiled: Mapping[int, tuple[Step, ...]]
) -> tuple[Step, ...]:
    """Compile tokens without parentheses but those of IN; `compiled` has the steps of groups by their start."""
    if not tokens:
        raise refuse("Parentheses need a condition between them", written, EXAMPLE)
    check_neighbours(text, tokens)
    group = Group(written=written, text=text, tokens=tokens, compiled=compiled)
    spelled = [_spell(index, token) for index, token in enumerate(tokens)]
    try:
        tree = sqlglot.parse_one(" ".join(spelled))
    except _PARSER_ERRORS as error:
        raise group.refuse_grammar(written) from error
    if not isinstance(tree, exp.Expression):
        raise group.refuse_grammar(written)
    return tuple(group.steps(tree))


def _spell(index: int, token: Token) -> str:
    """Return what the parser sees of a token."""
    if token.kind in ("field", "group"):
        return f'"{index}"'
    if token.kind == "text":
        return f"'{index}'"
    return str(index) if token.kind in ("number", "truth") else str(token.value)
