"""
`as_operator`: test what an operator may do, without a token.
"""

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

from .. import Operator, TokenFacts
from .._decision import assumed_operator

_ALICE: Final[dict[str, Any]] = {"kind": "user", "issuer": "https://testing.invalid", "subject": "alice"}


@contextmanager
def as_operator(
    *,
    scopes: Iterable[str] = (),
    operator_id: str = "https://testing.invalid#alice",
    roles: Iterable[str] = (),
    access_group: str | None = None,
    acr: str | None = None,
    **fields: Any,
) -> Generator[Operator, None, None]:
    """
    Serve requests made in this context as this operator. The token is skipped; the policy is not.

    It holds in the calling task and in the tasks started from it, with `asyncio.to_thread` and Starlette's
    test client too. It does not in a bare `threading.Thread`, nor in a server that runs apart. A public
    route stays anonymous.

    Args:
        scopes: The scopes granted.
        operator_id: The operator's key.
        roles: The roles held.
        access_group: The active access group.
        acr: The authentication context class; the operator has authenticated just now.
        fields: Further fields of `guardrail.Operator`.

    Raises:
        TypeError: *scopes* or *roles* is a bare string, or a field does not exist.
    """
    if isinstance(scopes, str) or isinstance(roles, str):
        raise TypeError('scopes and roles take several strings, such as scopes=["orders:read"]')
    standard: dict[str, Any] = {
        "scopes": frozenset(scopes),
        "roles": frozenset(roles),
        "access_groups": () if access_group is None else (access_group,),
        "access_group": access_group,
        "token": TokenFacts(acr=acr, auth_time=time.time()),
    }
    operator = Operator(operator_id=operator_id, **(_ALICE | standard | fields))
    token = assumed_operator.set(operator)
    try:
        yield operator
    finally:
        assumed_operator.reset(token)
