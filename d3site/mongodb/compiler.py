"""The backend's compilers; Django looks for each by its name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.compiler import (  # noqa: F401
    SQLAggregateCompiler,
    SQLInsertCompiler,
)
from django_mongodb_backend.query import MongoQuery

TIGHTER = {"$gt": max, "$gte": max, "$lt": min, "$lte": min}
SIDES = (("$gt", "$gte", max), ("$lt", "$lte", min))  # where both bound the same, the first does


class SQLCompiler(compiler.SQLCompiler):
    def build_query(self, columns: tuple | None = None) -> MongoQuery:
        """Without the fields that the backend sets to themselves before it sorts by them.

        They change nothing, but a server that sees a stage between ``$match`` and ``$sort`` reads
        every match and sorts in memory, where an index would give the first page at once.
        """
        query = super().build_query(columns)
        if query.extra_fields:
            query.extra_fields = {
                name: value
                for name, value in query.extra_fields.items()
                if not _is_itself(name, value)
            }
        if query.project_fields:
            query.project_fields = dotted(query.project_fields)
        query.match_mql = moments_first(flattened(query.match_mql))
        return query


class SQLUpdateCompiler(compiler.SQLUpdateCompiler):
    def update(self, criteria: dict[str, Any], pipeline: list[dict[str, Any]]) -> int:
        return super().update(flattened(criteria), pipeline)


class SQLDeleteCompiler(compiler.SQLDeleteCompiler, SQLCompiler):
    """Finds what it deletes as the other queries find what they read."""


def _is_itself(name: str, value: Any) -> bool:
    """A field, or some fields of a joined collection."""
    if isinstance(value, dict):
        return all(part == f"${name}.{key}" for key, part in value.items())
    return value == f"${name}"


def dotted(fields: dict[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``: the fields of a joined collection.

    MongoDB takes both alike; a server that takes the inner part for a value would answer 1.
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if _is_joined_collection(value):
            flat |= {f"{name}.{key}": 1 for key in value}
        else:
            flat[name] = value
    return flat


def _is_joined_collection(value: Any) -> bool:
    """Names of fields, each with a 1; no operator."""
    if not isinstance(value, dict) or not value:
        return False
    return all(part == 1 and not key.startswith("$") for key, part in value.items())


def flattened(condition: dict[str, Any]) -> dict[str, Any]:
    """``{"$and": [{"a": 1}, {"b": 2}]}`` as ``{"a": 1, "b": 2}``, where that says the same.

    MongoDB plans both alike; not every server with its protocol looks for an index inside $and.
    """
    if condition.keys() != {"$and"}:
        return condition
    if _is_guarded_comparison(condition["$and"]):
        return condition["$and"][0]
    merged: dict[str, Any] = {}
    for part in map(flattened, condition["$and"]):
        for key, value in part.items():
            if key not in merged:
                merged[key] = value
            elif joined := _joined(key, merged[key], value):
                merged[key] = joined
            else:
                return condition
    return merged


def moments_first(condition: dict[str, Any]) -> dict[str, Any]:
    """Bounds in time before other conditions, which MongoDB takes in any order.

    A server that uses the index of one condition only uses the first one that has an index.
    """
    return dict(sorted(condition.items(), key=lambda item: not _is_about_moments(item[1])))


def _is_about_moments(condition: Any) -> bool:
    return _has_operators(condition) and all(
        isinstance(bound, datetime) for bound in condition.values()
    )


def _is_guarded_comparison(parts: list[dict[str, Any]]) -> bool:
    """``a < 1 and a is not null``: a comparison never finds null in the first place."""
    if not parts[0]:
        return False
    field, comparison = next(iter(parts[0].items()))
    guard = {"$and": [{field: {"$exists": True}}, {field: {"$ne": None}}]}
    return (
        len(parts) == 2
        and parts[1] == guard
        and isinstance(comparison, dict)
        and comparison.keys() in ({"$lt"}, {"$lte"})
        and None not in comparison.values()
    )


def _joined(field: str, one: Any, other: Any) -> dict[str, Any] | None:
    """Two conditions on a field as one, where each has operators and none of them stands twice;
    of two bounds in time on the same side, the tighter one.
    """
    if field.startswith("$") or not all(map(_has_operators, (one, other))):
        return None
    joined = one | other
    for operator in one.keys() & other.keys():
        bounds = one[operator], other[operator]
        if operator not in TIGHTER or not all(isinstance(bound, datetime) for bound in bounds):
            return None
        joined[operator] = TIGHTER[operator](bounds)
    return _without_wider(joined)


def _without_wider(bounds: dict[str, Any]) -> dict[str, Any]:
    """Of two moments on the same side, the tighter one alone: not every server compares them."""
    for strict, inclusive, tighter in SIDES:
        both = bounds.get(strict), bounds.get(inclusive)
        if all(isinstance(bound, datetime) for bound in both):
            wider = inclusive if tighter(both) == both[0] else strict
            bounds = {name: bound for name, bound in bounds.items() if name != wider}
    return bounds


def _has_operators(condition: Any) -> bool:
    return (
        isinstance(condition, dict)
        and bool(condition)
        and all(str(key).startswith("$") for key in condition)
    )
