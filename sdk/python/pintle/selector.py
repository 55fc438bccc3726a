"""Label selectors: the string form (`a=b,c in (d,e),!f`) and the object form (`matchLabels`, `matchExpressions`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .snapshot import Requirement, all_hold

_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")


@dataclass
class Selector:
    """All requirements must hold; without any it matches everything."""

    requirements: list[Requirement]

    @classmethod
    def parse(cls, text: str) -> Selector | None:
        """From the string form; None where it is malformed."""
        parts = [part.strip() for part in _OUTSIDE_PARENTHESES.split(text) if part.strip()]
        found = [_requirement(part) for part in parts]
        return None if None in found else cls(found)

    @classmethod
    def from_object(cls, selector: dict[str, Any] | None) -> Selector | None:
        """From a LabelSelector. None where it is missing: such a selector matches nothing."""
        if selector is None:
            return None
        exact = [Requirement(key, "In", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
        rest = [Requirement(e["key"], e["operator"], list(e.get("values") or [])) for e in selector.get("matchExpressions") or []]
        return cls(exact + rest)

    def matches(self, labels: dict[str, str] | None) -> bool:
        return all_hold(self.requirements, labels or {})

    def __str__(self) -> str:
        """The string form, fit for a list request."""
        return ",".join(_text(r) for r in self.requirements)


def _requirement(part: str) -> Requirement | None:
    if part.startswith("!"):
        return Requirement(part[1:].strip(), "DoesNotExist")
    found = _SET.match(part)
    if found:
        values = [value.strip() for value in found[3].split(",")]
        return Requirement(found[1], "In" if found[2] == "in" else "NotIn", values)
    for sign, operator in (("!=", "NotIn"), ("==", "In"), ("=", "In")):
        key, found, value = part.partition(sign)
        if found:
            return Requirement(key.strip(), operator, [value.strip()])
    return None if "(" in part or " " in part else Requirement(part, "Exists")


def _text(r: Requirement) -> str:
    match r.operator:
        case "Exists":
            return r.key
        case "DoesNotExist":
            return f"!{r.key}"
        case "In" if len(r.values) == 1:
            return f"{r.key}={r.values[0]}"
        case "In":
            return f"{r.key} in ({','.join(r.values)})"
    return f"{r.key} notin ({','.join(r.values)})"
