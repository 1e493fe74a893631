"""Expressions in a space: arithmetic and comparisons over named values, and nothing else."""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from golden.spec.errors import ConfigError
from golden.spec.names import nearest

LONGEST = 1_000
"""Characters of an expression."""

OPERATIONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
ALLOWED = "numbers, texts, names, + - * / // %, comparisons, in, and, or, not"


@dataclass(frozen=True)
class Expression:
    """An expression of a space, read from `text`, which is never run as a program.

    Names are those of values, with points and with "_" for "-": `vector.chains`.

    Attributes:
        text: as the space has it. names: that it reads.
    """

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return what it is worth; None where a value that it needs is missing.

        Raises:
            ConfigError: the values cannot be combined so.
        """
        try:
            return _value(self.tree, values)
        except _Missing:
            return None
        except (TypeError, ArithmeticError) as error:
            raise ConfigError(f"{self.text!r} cannot be computed: {error}") from None

    def check_names(self, known: Iterable[str], open_ends: Iterable[str] = ()) -> None:
        """Raise ConfigError unless it reads `known` names only.

        Args:
            open_ends: beginnings behind which a name may go on as it likes.
        """
        known, open_ends = set(known), tuple(open_ends)
        for name in self.names:
            if name not in known and not name.startswith(open_ends):
                raise ConfigError(
                    f"{self.text!r} has the name {name!r}, which is unknown{nearest(name, known)}"
                )


class _Missing(Exception):
    """A value that is not there."""


def read(text: object) -> Expression:
    """Return the expression that `text` is.

    Raises:
        ConfigError: it is none, or does more than compare and reckon.
    """
    if isinstance(text, bool | int | float):
        text = str(text)
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ConfigError(
            f"an expression is {str(text)[:80]!r}; a short text is needed, as 'a < b'"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = tuple(dict.fromkeys(_names(tree, text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(f"{text!r} is not an expression; allowed are {ALLOWED}") from None
    return Expression(text, tree, names)


def _names(node: ast.AST, text: str) -> Iterable[str]:
    """Yield the names in an expression, all of whose parts are allowed."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield _name(node, text)
        return
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        parts: list[ast.expr] = [node.left, node.right]
    elif isinstance(node, ast.Compare) and all(type(one) in OPERATIONS for one in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        parts = [node.operand]
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.List | ast.Tuple):
        parts = node.elts
    elif isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        parts = []
    else:
        raise ConfigError(f"{text!r} does more than an expression may; allowed are {ALLOWED}")
    for part in parts:
        yield from _names(part, text)


def _name(node: ast.expr, text: str) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, text)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ConfigError(f"{text!r} does more than an expression may; allowed are {ALLOWED}")


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        found = values.get(_name(node, ""))
        if found is None:
            raise _Missing
        return found
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, values), _value(node.right, values)
        if not all(isinstance(side, bool | int | float) for side in (left, right)):
            raise TypeError("only numbers are added and multiplied")
        return OPERATIONS[type(node.op)](left, right)
    if isinstance(node, ast.Compare):
        return _compare(node, values)
    if isinstance(node, ast.UnaryOp):
        found = _value(node.operand, values)
        return not found if isinstance(node.op, ast.Not) else -found
    if isinstance(node, ast.BoolOp):
        truths = (bool(_value(one, values)) for one in node.values)
        return any(truths) if isinstance(node.op, ast.Or) else all(truths)
    assert isinstance(node, ast.List | ast.Tuple)
    return [_value(one, values) for one in node.elts]


def _compare(node: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _value(node.left, values)
    for one, side in zip(node.ops, node.comparators, strict=True):
        right = _value(side, values)
        if not OPERATIONS[type(one)](left, right):
            return False
        left = right
    return True
