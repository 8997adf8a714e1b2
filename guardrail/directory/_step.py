"""
The directory's step on the road: an operator as token and registration made it → as the directory has it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._operator import Operator
from ..errors import OperatorRefusedError
from ..events import Listener
from ._cached import CachedDirectory
from ._records import OperatorDirectory, OperatorKey, OperatorRecord

__all__ = ["DirectoryStep", "key_of", "refine"]


class DirectoryStep:
    """
    Looks operators up, and judges what is found; each time, so that nothing kept elsewhere outlives it.
    """

    def __init__(self, directory: OperatorDirectory, *, clock: Callable[[], float], emit: Listener) -> None:
        """
        Args:
            directory: Whom to ask; wrapped in a `CachedDirectory` unless it is one.
            clock: The clock of that one.
            emit: Hears of look-ups that fail.

        Raises:
            PolicyError: It is no directory.
        """
        cached = (
            directory if isinstance(directory, CachedDirectory) else CachedDirectory(directory, clock=clock)
        )
        self._cache = cached._cache  # noqa: SLF001 - our own room
        self._emit = emit

    async def refine(self, operator: Operator) -> Operator:
        """
        *operator* as the directory has it.

        Raises:
            OperatorRefusedError: It does not know the operator, or has it disabled.
            UnavailableError: It cannot be had.
        """
        return refine(operator, await self._cache.look_up(key_of(operator), self._emit))


def key_of(operator: Operator) -> OperatorKey:
    """
    Whom the directory is asked about.
    """
    return OperatorKey(
        operator_id=operator.operator_id,
        issuer=operator.issuer,
        tenant=operator.tenant,
        subject=operator.subject,
        client_id=operator.client_id,
        kind=operator.kind,
    )


def refine(operator: Operator, record: OperatorRecord | None) -> Operator:
    """
    *operator* with what *record* has in place of the token's. Scopes are the token's whatever it says.

    Raises:
        OperatorRefusedError: There is no record, or it is disabled.
    """
    if record is None:
        raise OperatorRefusedError("the directory does not know the operator", code="operator_unknown")
    if not record.enabled:
        raise OperatorRefusedError("the directory has the operator disabled", code="operator_disabled")
    changes: dict[str, Any] = {"operator_id": record.operator_id}
    left_out = operator._left_out  # noqa: SLF001 - a field of our own
    if record.roles is not None:
        changes["roles"] = record.roles
        left_out -= {"roles"}
    if record.access_groups is not None:
        groups = changes["access_groups"] = tuple(record.access_groups)
        changes["access_group"] = groups[0] if groups else None
        left_out -= {"access_groups"}
    default = record.default_access_group
    if default is not None:
        # Only what is held can be active. To fall back on another group would be to act as nobody said.
        is_held = default in changes.get("access_groups", operator.access_groups)
        changes["access_group"] = default if is_held else None
    return replace(operator, **changes, _left_out=left_out)
