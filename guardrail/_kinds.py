"""
What the subject of a token is: a service, or a user.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ._claim_values import Claims, malformed

__all__ = ["ServiceTest", "service_tests"]

# The claims, and the operator that was read of them so far → whether its subject is a service.
ServiceTest = Callable[[Claims, object], bool]

_COMPARISONS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "equals": str.__eq__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def service_tests(rules: Iterable[Mapping[str, Any]]) -> tuple[ServiceTest, ...]:
    """
    The tests that a profile's ``service_when`` lists; a subject is a service when one of them holds.

    There are four: two fields are the ``same``, wherever a mapping has them read; several claims are all
    ``absent``; a ``claim`` ``equals``, ``starts_with`` or ``ends_with`` a text, and is a string if it is
    there; or it is ``registered``, which no claim tells: `Profile.is_kind_registered`.
    """
    return tuple(_test(rule) for rule in rules if "registered" not in rule)


def _test(rule: Mapping[str, Any]) -> ServiceTest:
    if "same" in rule:
        one, other = rule["same"]
        return lambda _, operator: bool(getattr(operator, one) == getattr(operator, other))
    if "absent" in rule:
        absent = frozenset(rule["absent"])
        return lambda claims, _: claims.keys().isdisjoint(absent)
    [(comparison, text)] = [(name, rule[name]) for name in rule if name != "claim"]
    return _text_test(rule["claim"], _COMPARISONS[comparison], text)


def _text_test(claim: str, compare: Callable[[str, str], bool], text: str) -> ServiceTest:
    def test(claims: Claims, _: object) -> bool:
        if claim not in claims:
            return False
        value = claims[claim]
        if isinstance(value, str):
            return compare(value, text)
        # A machine taken for a person would keep rights that its registration takes away.
        raise malformed(claim, value)

    return test
