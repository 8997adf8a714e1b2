"""
The setting ``oauth_flows``: how clients get tokens of an issuer, for the OpenAPI document.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from .._discovery import Endpoints
from .._openapi import Flows
from .._policy import ServicePackage
from .._shapes import is_object
from .._urls import require_fetchable
from ..errors import PolicyError

__all__ = ["checked_flows", "flows_of", "require_known"]

# RFC 9700 §2.1.2 and §2.4 advise against the other two: implicit and password.
_FLOWS: Final = {"authorizationCode": ("authorizationUrl", "tokenUrl"), "clientCredentials": ("tokenUrl",)}
_EXAMPLE: Final = (
    'oauth_flows maps issuers to flows, such as {"https://login.example.com": {"clientCredentials": '
    '{"tokenUrl": "https://login.example.com/token"}}}'
)


def checked_flows(value: object) -> Flows:
    """
    The setting ``oauth_flows``, checked; None is none.

    Raises:
        PolicyError: It has not the form in the message, a flow that RFC 9700 advises against, or a URL that
            is not ``https``. An issuer that is plain ``http`` itself may have such URLs.
    """
    if value is not None and not is_object(value):
        raise PolicyError(f"{_EXAMPLE}; got {value!r}")
    return {str(issuer): _checked(str(issuer), flows) for issuer, flows in (value or {}).items()}


def require_known(flows: Flows, packages: Iterable[ServicePackage]) -> None:
    """
    Refuse flows of an issuer that no package trusts: what was misspelt would change nothing.

    Raises:
        PolicyError: There are some, and packages to compare them with.
    """
    known = dict.fromkeys(issuer.url for package in packages for issuer in package.issuers)
    unknown = sorted(flows.keys() - known.keys())
    if known and unknown:
        raise PolicyError(
            f"oauth_flows names {', '.join(unknown)}, which no route trusts; known are {', '.join(known)}"
        )


def flows_of(endpoints: Endpoints) -> Mapping[str, Mapping[str, str]]:
    """
    The flows that an issuer's own metadata makes possible; none for what says too little.
    """
    found: dict[str, Mapping[str, str]] = {}
    if endpoints.token is None:
        return found
    token = {"tokenUrl": endpoints.token}
    if endpoints.authorization is not None and "authorization_code" in endpoints.grant_types:
        refresh = {"refreshUrl": endpoints.token} if "refresh_token" in endpoints.grant_types else {}
        found["authorizationCode"] = {"authorizationUrl": endpoints.authorization, **token, **refresh}
    if "client_credentials" in endpoints.grant_types:
        found["clientCredentials"] = token
    return found


def _checked(issuer: str, value: object) -> Mapping[str, Mapping[str, str]]:
    if not is_object(value) or not value:
        raise PolicyError(f"{_EXAMPLE}; {issuer} has {value!r}")
    found: dict[str, Mapping[str, str]] = {}
    for flow, urls in value.items():
        needed = _FLOWS.get(str(flow))
        if needed is None:
            raise PolicyError(f"a flow is one of {', '.join(_FLOWS)} (RFC 9700 §2); {issuer} has {flow!r}")
        if not is_object(urls) or not {*needed} <= urls.keys() <= {*needed, "refreshUrl"}:
            raise PolicyError(f"{flow} has {', '.join(needed)}, perhaps refreshUrl; {issuer} has {urls!r}")
        for name, url in urls.items():
            require_fetchable(url, name=str(name), insecure_allow_http=issuer.startswith("http:"))
        found[str(flow)] = {str(name): str(url) for name, url in urls.items()}
    return found
