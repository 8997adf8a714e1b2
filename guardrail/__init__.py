"""
OAuth 2.0 resource-server middleware for ASGI.

Routes declare what they need with a service package's decorator; `GuardrailMiddleware` verifies the bearer
token, decides, and puts the `Operator` on the request. See the README for a start.
"""

from typing import TYPE_CHECKING, Any

from . import errors, events
from ._decision import current_operator
from ._issuer import Issuer
from ._operator import Actor, Operator, TokenFacts
from ._policy import Requirement, ServicePackage, public
from ._version import __version__

if TYPE_CHECKING:
    from ._middleware import GuardrailMiddleware

__all__ = [
    "Actor",
    "GuardrailMiddleware",
    "Issuer",
    "Operator",
    "Requirement",
    "ServicePackage",
    "TokenFacts",
    "__version__",
    "current_operator",
    "errors",
    "events",
    "public",
]


def __getattr__(name: str) -> Any:
    """
    Load the middleware, and with it httpx and cryptography, when it is first asked for.
    """
    if name != "GuardrailMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._middleware import GuardrailMiddleware  # noqa: PLC0415 - this is what makes it lazy (PEP 562)

    globals()[name] = GuardrailMiddleware
    return GuardrailMiddleware


def __dir__() -> list[str]:
    return sorted(__all__)
