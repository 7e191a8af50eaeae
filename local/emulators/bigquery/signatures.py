"""
What a statement means by the types of its operands, settled before it is translated.

- Beside a NUMERIC a literal such as 0.5 is NUMERIC, as in COALESCE(amount, 0.5).
- DATE_ADD, DATE_SUB, DATE_DIFF and DATE_TRUNC of a TIMESTAMP are TIMESTAMP's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def settle() -> None:
    """Have statements settled before the emulator's own rules."""
    from local_bigquery.sql import rules

    at = rules.STATEMENT_RULES.index(rules.datetime.datetime)
    annotate = next(
        rule for rule in rules.STATEMENT_RULES if rule.__name__ == "annotate"
    )
    rules.STATEMENT_RULES.insert(at, Signatures(annotate).rule)


class Signatures:
    """A rule of the emulator's translation, of a whole statement."""

    def __init__(self, annotate: Callable[[Any, Any], Any]) -> None:
        from sqlglot import exp

        self._annotate = annotate
        self._of_moments = {
            exp.DateAdd: exp.TimestampAdd,
            exp.DateSub: exp.TimestampSub,
            exp.DateDiff: exp.TimestampDiff,
            exp.DateTrunc: exp.TimestampTrunc,
        }

    def rule(self, tree: Any, context: Any) -> Any:
        """Settle a statement; what is within others has to come first."""
        while any(
            self._of_moments.get(type(one)) or self._literals(one)
            for one in tree.walk()
        ):
            self._annotate(tree, context)
            if not sum(self._settle(node) for node in list(tree.walk())):
                break
        return tree

    def _settle(self, node: Any) -> bool:
        """Settle a node; tell whether there was anything to do."""
        from sqlglot import exp

        if (function := self._of_moments.get(type(node))) is not None:
            unit = node.args.get("unit")
            is_plain = isinstance(unit, exp.Var | exp.Literal)
            if not is_plain or not self._is(node.this, exp.DType.TIMESTAMPTZ):
                return False
            values = {**node.args, "unit": exp.var(unit.name)}
            values = {key: values[key] for key in function.arg_types if key in values}
            node.replace(function(**values))
            return True
        literals = self._literals(node)
        if not any(self._is(arm, exp.DType.DECIMAL) for arm in self._arms(node)):
            return False
        for literal in literals:
            literal.replace(exp.cast(literal.copy(), "NUMERIC", dialect="bigquery"))
        return bool(literals)

    def _arms(self, node: Any) -> list[Any]:
        """Return what may be the value of a node."""
        from sqlglot import exp

        if isinstance(node, exp.Case):
            results = [branch.args["true"] for branch in node.args["ifs"]]
            return [*results, node.args.get("default")]
        if isinstance(node, exp.If) and not isinstance(node.parent, exp.Case):
            return [node.args.get("true"), node.args.get("false")]
        if isinstance(node, exp.Coalesce | exp.Greatest | exp.Least):
            return [node.this, *node.expressions]
        return []

    def _literals(self, node: Any) -> list[Any]:
        """Return those that are numbers with a point."""
        from sqlglot import exp

        return [
            arm
            for arm in self._arms(node)
            if isinstance(arm, exp.Literal) and arm.is_number and not arm.is_int
        ]

    def _is(self, node: Any, kind: Any) -> bool:
        return node is not None and node.type is not None and node.type.this == kind
