"""
An operator as the MCP SDK knows callers: its `AccessToken`, and the principal that it compares.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mcp.server.auth.provider import AccessToken, principal_components

from .._operator import Operator
from .._policy import Requirement, ServicePackage
from .._resource_metadata import resources_of
from .._shapes import is_object, is_sequence
from ..errors import PolicyError

__all__ = ["access_token", "principal_key", "require_resource_of"]


def principal_key(operator: Operator) -> str:
    """
    Whom state that outlives a request belongs to: client, issuer and subject, as one string.

    It is the same for each token of one user in one client, and for nobody else: the SDK binds its sessions,
    and the state that it hands to clients, to the same. Bind handles, tasks and caches to it, so that knowing
    a handle is not enough.

    Args:
        operator: A verified one; the anonymous operator owns nothing.

    Raises:
        ValueError: *operator* is anonymous.
    """
    if not operator.is_authenticated:
        raise ValueError("the anonymous operator has no principal key")
    return json.dumps(principal_components(access_token(operator, ())), separators=(",", ":"))


def access_token(operator: Operator, packages: Iterable[ServicePackage]) -> AccessToken:
    """
    What the SDK is told of a verified token: who, for which client, with which authority, until when.

    Not the token: ``token`` has a digest of what was verified, which differs where the authority does, so
    that what is cached under it is not shared. ``client_id`` is empty where the token names no client.

    Args:
        operator: Whom the token was verified for.
        packages: Whom it may have been verified by. A single one adds the scopes that it implies.
    """
    packages = tuple(packages)
    granted = packages[0].expand(operator.scopes) if len(packages) == 1 else operator.scopes
    expires_at = operator.token.expires_at
    token = AccessToken(
        token="",
        client_id=operator.client_id or "",
        subject=operator.subject,
        scopes=sorted(granted),
        resource=_resource(operator, packages),
        expires_at=None if expires_at is None else int(expires_at),
        claims=_thawed(operator.claims) | {"iss": operator.issuer},
    )
    return token.model_copy(update={"token": f"sha256:{_digest(token)}"})


def require_resource_of(requirement: object) -> str:
    """
    The URL that MCP clients know the server of *requirement* by, in its canonical form.

    Raises:
        PolicyError: It has none, or one in another form (MCP, "Canonical Server URI"); or the requirement is
            none, or asks for ``offline_access``, which is no scope of a resource (MCP, "Refresh Tokens").
    """
    if not isinstance(requirement, Requirement):
        raise PolicyError(
            f'an MCP server needs a requirement, such as orders.requires("orders:read"); got {requirement!r}'
        )
    if "offline_access" in requirement.all_scopes + requirement.any_scopes:
        raise PolicyError("offline_access is asked of the authorization server, not by a resource")
    resource = _resource_of(requirement.package)
    if resource is None:
        raise PolicyError(
            f"the package {requirement.package.name!r} needs the URL that clients know its MCP server by, "
            'such as resource="https://api.example.com/mcp"'
        )
    parts = urlsplit(resource)
    path = parts.path.rstrip("/")
    canonical = urlunsplit((parts.scheme, parts.netloc.lower(), path, parts.query, ""))
    if resource != canonical:
        raise PolicyError(f"the resource of an MCP server is written {canonical!r}; got {resource!r}")
    return resource


@functools.lru_cache(maxsize=256)
def _resource_of(package: ServicePackage) -> str | None:
    """
    The one resource that *package* is; None if it is none, or could be several.
    """
    resources = resources_of(package)
    return package.resource or (resources[0] if len(resources) == 1 else None)


def _resource(operator: Operator, packages: tuple[ServicePackage, ...]) -> str | None:
    """
    The resource that a token is for (RFC 8707): its package's, else the audience by which it was accepted.
    """
    known = [resource for resource in map(_resource_of, packages) if resource is not None]
    if len(known) == 1:
        return known[0]
    value: object = operator.claims.get("aud")
    named = value if is_sequence(value) else (value,)
    accepted = frozenset[str]().union(*(package.audiences for package in packages))
    return next((one for one in sorted(accepted) if one in named), None)


def _thawed(value: object) -> Any:
    """
    A frozen JSON value as plain objects and arrays, which the SDK's models write and read.
    """
    if is_object(value):
        return {name: _thawed(member) for name, member in value.items()}
    return [_thawed(element) for element in value] if is_sequence(value) else value


def _digest(token: AccessToken) -> str:
    written = json.dumps(token.model_dump(), sort_keys=True, default=str)
    return hashlib.sha256(written.encode("ascii")).hexdigest()
