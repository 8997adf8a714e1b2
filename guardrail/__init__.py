"""
OAuth 2.0 resource-server middleware for ASGI.

Routes declare what they need with a service package's decorator; `GuardrailMiddleware` verifies the bearer
token, decides, and puts the `Operator` on the request. See the README for a start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from . import errors, events
from ._alternatives import Alternatives, any_of
from ._decision import current_operator
from ._declaration import public
from ._fetching import Fetching
from ._health import Health, IssuerHealth
from ._issuer import Issuer
from ._operator import Actor, Operator, TokenFacts
from ._policy import Requirement, ServicePackage
from ._registration import ClientRegistration
from ._version import __version__

if TYPE_CHECKING:
    from ._middleware import GuardrailMiddleware
    from ._readiness import health, health_app
    from ._refusal import Refusal

__all__ = [
    "Actor",
    "Alternatives",
    "ClientRegistration",
    "Fetching",
    "GuardrailMiddleware",
    "Health",
    "Issuer",
    "IssuerHealth",
    "Operator",
    "Refusal",
    "Requirement",
    "ServicePackage",
    "TokenFacts",
    "__version__",
    "any_of",
    "current_operator",
    "errors",
    "events",
    "health",
    "health_app",
    "public",
]


_LAZY: Final = {
    "GuardrailMiddleware": "._middleware",
    "Refusal": "._refusal",
    "health": "._readiness",
    "health_app": "._readiness",
}


def __getattr__(name: str) -> Any:
    """
    Load the middleware, and with it httpx and cryptography, when it is first asked for (PEP 562).
    """
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_LAZY[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
