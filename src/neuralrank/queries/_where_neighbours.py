"""Which token may follow which in a condition.

The SQL parser is lenient: it takes the second of two values for a new name of the first and a keyword for a column,
skips a plus and a surplus comma, and reads NOT IS NULL. Where two tokens may not meet, it is not asked.
"""

from collections.abc import Sequence

from neuralrank.queries._where_tokens import COMPARISONS, EXAMPLE, Token, refuse

_OPERANDS = {"value", "number", "plus"}
_AFTER_OPERAND = {"comparison", "AND", "OR", "IN", "LIKE", "BETWEEN", "IS", "inner NOT", "ESCAPE", ",", ")", "end"}
_OPERAND_RULE = (_AFTER_OPERAND, "After a field or value stands a comparison, IN, LIKE, BETWEEN, IS, AND or OR")
_LIST_RULE = (_OPERANDS, "The parentheses of IN hold values with a comma between them")
_IS_RULE = "After IS stands NULL or NOT NULL"
_RULES: dict[str, tuple[set[str], str]] = {
    "start": ({*_OPERANDS, "NOT"}, "A condition begins with a field, a value, NOT or a parenthesis"),
    "value": _OPERAND_RULE,
    "number": _OPERAND_RULE,
    "comparison": (_OPERANDS, "After a comparison stands a field or value"),
    "plus": ({"number"}, "Plus and minus stand before numbers only"),
    "AND": ({*_OPERANDS, "NOT"}, "After AND stands another comparison or value"),
    "OR": ({*_OPERANDS, "NOT"}, "After OR stands another comparison"),
    "NOT": ({*_OPERANDS, "NOT"}, "After NOT stands a comparison"),
    "inner NOT": ({"IN", "LIKE", "BETWEEN"}, "After a field and NOT stands IN, LIKE or BETWEEN"),
    "IN": ({"("}, "After IN stand values in parentheses"),
    "(": _LIST_RULE,
    ",": _LIST_RULE,
    ")": ({"AND", "OR", "end"}, "After the parentheses of IN stands AND or OR"),
    "LIKE": ({"value"}, "After LIKE stands a pattern in single quotes"),
    "ESCAPE": ({"value"}, "After ESCAPE stands one character in single quotes"),
    "BETWEEN": (_OPERANDS, "After BETWEEN stand two values with AND between them"),
    "IS": ({"NULL", "NOT NULL"}, _IS_RULE),
    "NOT NULL": ({"NULL"}, _IS_RULE),
    "NULL": ({"AND", "OR", "end"}, "After NULL stands AND or OR"),
}


def check_neighbours(text: str, tokens: Sequence[Token]) -> None:
    """Raise UsageError if a token of a group follows one that it may not follow.

    Parentheses but those of IN have become tokens of the kind 'group'.
    """
    role, start, is_list = "start", tokens[0].start, False
    for token in tokens:
        following = _role(token, role)
        is_list = following == "(" or (is_list and following != ")")
        if following == "," and not is_list:
            advice = "Write decimals with a point, and join comparisons by AND or OR"
            raise refuse("Commas stand between the values of IN only", text[start : token.end], advice)
        _check_pair(role, following, text[start : token.end])
        role, start = following, token.start
    _check_pair(role, "end", text[start:].strip())


def _check_pair(role: str, following: str, got: str) -> None:
    allowed, rule = _RULES[role]
    if following in allowed:
        return
    if rule == _IS_RULE or following == "NULL":
        raise refuse(rule, got, "Write for example license IS NULL, license IS NOT NULL or loadable = TRUE")
    raise refuse(rule, got, EXAMPLE)


def _role(token: Token, before: str) -> str:
    if token.kind in ("field", "text", "truth", "group"):
        return "value"
    if token.kind == "number":
        return "number"
    word = str(token.value)
    if word == "NOT":
        return {"IS": "NOT NULL", "value": "inner NOT", "number": "inner NOT"}.get(before, "NOT")
    if word in COMPARISONS:
        return "comparison"
    return {"+": "plus", "-": "plus", "ILIKE": "LIKE"}.get(word, word)
