"""
The decision made for the request being served, and the operator that it found.

A context variable carries it: into the handler's task, into the worker thread of a ``def`` handler, and
into the tasks a handler starts; never into another request.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ._operator import Operator
from .errors import MiddlewareMissingError


@dataclass(slots=True, eq=False)
class Decision:
    """
    One request may run the endpoint that *declaration* stands on, for *operator*.

    Attributes:
        declaration: The declaration decided on, compared by identity; None allows no declared endpoint.
        operator: The verified operator, or `ANONYMOUS` on a public route.
        is_entered: Whether that endpoint's tripwire let the request in: proof that the right one runs.
    """

    declaration: object
    operator: Operator
    is_entered: bool = False


decision_in_force: Final[ContextVar[Decision | None]] = ContextVar("guardrail_decision", default=None)

# Set by guardrail.testing alone, in the context of a test: the operator that stands in for a token's.
assumed_operator: Final[ContextVar[Operator | None]] = ContextVar("guardrail_assumed_operator", default=None)


def enter(declaration: object) -> bool:
    """
    Whether the decision in force was made for this very declaration; if so, its endpoint runs now.
    """
    decision = decision_in_force.get()
    if decision is None or declaration is None or decision.declaration is not declaration:
        return False
    decision.is_entered = True
    return True


def current_operator() -> Operator:
    """
    The operator of the request being served, in any framework, in ``def`` and ``async def`` alike.

    On a public route it is the anonymous operator.

    Raises:
        MiddlewareMissingError: No request is being served behind `guardrail.GuardrailMiddleware`.
    """
    decision = decision_in_force.get()
    if decision is None:
        raise MiddlewareMissingError("current_operator() was called outside a guarded request")
    return decision.operator
