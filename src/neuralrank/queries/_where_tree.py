"""The tree that the SQL parser made of a condition, read node by node.

Only the nodes named here pass, with the arguments named here: one overlooked could turn the meaning around, as the
`negate` of LIKE does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from sqlglot import exp

from neuralrank.errors import UsageError
from neuralrank.queries import _where_meaning as meaning
from neuralrank.queries._where_arrays import Step
from neuralrank.queries._where_tokens import EXAMPLE, Token, refuse

_SIGNS: dict[type, str] = {exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARGUMENTS: dict[type, set[str]] = {
    **{kind: {"this", "expression"} for kind in (*_SIGNS, exp.And, exp.Or, exp.Is, exp.Escape)},
    **{kind: {"this", "expression", "negate"} for kind in (exp.Like, exp.ILike)},
    **{kind: {"this"} for kind in (exp.Not, exp.Neg, exp.Column)},
    exp.Literal: {"this", "is_string"},
    exp.In: {"this", "expressions"},
    exp.Between: {"this", "low", "high"},
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """The tokens of one group, and the reading of the tree that the parser made of them."""

    written: str
    text: str
    tokens: Sequence[Token]
    compiled: Mapping[int, tuple[Step, ...]]

    def refuse_grammar(self, got: str) -> UsageError:
        return refuse("A condition is made of comparisons joined by AND, OR and NOT", got, EXAMPLE)

    def steps(self, node: exp.Expression) -> list[Step]:
        """Return the steps of a node that is true, false or unknown."""
        self.check(node)
        kind = type(node)
        if kind in (exp.And, exp.Or):
            return self.joined_steps(node, "and" if kind is exp.And else "or")
        if kind is exp.Not:
            return [*self.steps(node.this), "not"]
        if kind is exp.Column:
            token = self.operand(node)
            is_group = token.kind == "group"
            return [*(self.compiled[token.start] if is_group else meaning.is_true(str(token.value), self.written))]
        if kind in _SIGNS:
            return self.comparison_steps(node)
        if kind is exp.Is and isinstance(node.expression, exp.Null):
            return [*meaning.is_missing(self.field(node.this))]
        if kind is exp.In:
            values = [self.value(value) for value in node.expressions]
            if not values:
                raise refuse("IN needs at least one value in its parentheses", self.written, EXAMPLE)
            return [*meaning.is_among(self.field(node.this), values, self.quote(node))]
        if kind is exp.Between:
            low, high = self.value(node.args["low"]), self.value(node.args["high"])
            return [*meaning.is_between(self.field(node.this), low, high, self.quote(node))]
        if kind in (exp.Like, exp.ILike, exp.Escape):
            return self.like_steps(node)
        raise self.refuse_grammar(self.quote(node))

    def joined_steps(self, node: exp.Expression, word: Literal["and", "or"]) -> list[Step]:
        """Return the steps of a chain of ANDs or ORs, which the parser nests to the left as deep as it is long."""
        kind, last = type(node), []
        while type(node) is kind:
            self.check(node)
            last.append(node.expression)
            node = node.this
        steps = self.steps(node)
        for part in reversed(last):
            steps += [*self.steps(part), word]
        return steps

    def comparison_steps(self, node: exp.Expression) -> list[Step]:
        left, right, sign = self.operand(node.this), self.operand(node.expression), _SIGNS[type(node)]
        if left.kind != "field":
            left, right, sign = right, left, _MIRRORED.get(sign, sign)
        if left.kind != "field" or right.kind == "group":
            raise refuse("A comparison needs a field on one side and a value on the other", self.quote(node), EXAMPLE)
        if right.kind == "field":
            return [*meaning.compare_fields(str(left.value), sign, str(right.value), self.quote(node))]
        return [*meaning.compare(str(left.value), sign, right, self.quote(node))]

    def like_steps(self, node: exp.Expression) -> list[Step]:
        """Return the steps of LIKE; newer parsers mark a negated one, older ones put NOT around it."""
        escape = self.value(node.expression) if isinstance(node, exp.Escape) else None
        inner = node.this if isinstance(node, exp.Escape) else node
        if type(inner) not in (exp.Like, exp.ILike):
            raise self.refuse_grammar(self.quote(node))
        self.check(inner)
        steps = meaning.is_like(self.field(inner.this), self.value(inner.expression), escape, self.quote(node))
        return [*steps, "not"] if inner.args.get("negate") else [*steps]

    def field(self, node: exp.Expression) -> str:
        token = self.operand(node)
        if token.kind != "field":
            raise refuse("IN, LIKE, BETWEEN and IS NULL need a field before them", self.quote(node), EXAMPLE)
        return str(token.value)

    def value(self, node: exp.Expression) -> Token:
        token = self.operand(node)
        if token.kind in ("field", "group"):
            raise refuse("IN, LIKE and BETWEEN need values after them", self.quote(node), EXAMPLE)
        return token

    def operand(self, node: exp.Expression) -> Token:
        """Return the token of a field, group or value."""
        self.check(node)
        inner = node.this if isinstance(node, exp.Neg) else node
        if isinstance(inner, exp.Column | exp.Literal) and inner.name.isdigit():  # a keyword may pass for a column
            token = self.tokens[int(inner.name)]
            if inner is node:
                return token
            if isinstance(token.value, Fraction):
                return replace(token, value=-token.value)
        raise refuse("A comparison needs a field and a value, without arithmetic", self.quote(node), EXAMPLE)

    def check(self, node: exp.Expression) -> None:
        """Raise UsageError unless the node is one of those known, with no argument but those known."""
        present = {name for name, value in node.args.items() if value not in (None, False, [])}
        if not present <= _ARGUMENTS.get(type(node), set()) or type(node) not in _ARGUMENTS:
            raise self.refuse_grammar(self.quote(node))

    def quote(self, node: exp.Expression) -> str:
        """Return what the user wrote for a node, as far as its tree tells."""
        places = [int(leaf.name) for leaf in node.find_all(exp.Column, exp.Literal) if leaf.name.isdigit()]
        if not places:
            return self.written
        last = max(places)
        closes = last + 1 < len(self.tokens) and self.tokens[last + 1].value == ")"
        return self.text[self.tokens[min(places)].start : self.tokens[last + closes].end]
