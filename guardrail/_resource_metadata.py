"""
Protected resource metadata (RFC 9728): where it is, and what it says. Made of the configuration alone.
"""

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from ._asgi import Headers, Scope, Send, send_response
from ._paths import route_path_of
from ._policy import ServicePackage
from ._urls import require_resource
from .errors import PolicyError

__all__ = ["ResourceMetadata", "metadata_url", "resources_of", "send_metadata"]

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
MAX_AGE: Final = 3_600  # seconds; RFC 9728 §7.10

_Key = tuple[str, bytes]


def metadata_url(resource: str) -> str:
    """
    Where the metadata of *resource* is (RFC 9728 §3.1): the well-known path goes between host and path.
    """
    parts = urlsplit(resource)
    path = "" if parts.path == "/" and not parts.query else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}{query}"


class ResourceMetadata:
    """
    The documents of an application's service packages, one for each resource.

    A request says for which resource by its path, never by its ``Host``: of resources that differ in the
    host alone, none has a document, unless a package names one as its own.
    """

    def __init__(self, packages: Iterable[ServicePackage]) -> None:
        """
        Args:
            packages: All packages that routes require. Those with a resource in common share its document.
        """
        packages = tuple(packages)
        by_key: dict[_Key, dict[str, list[ServicePackage]]] = {}
        for package in packages:
            for resource in resources_of(package):
                by_key.setdefault(_key_of(resource), {}).setdefault(resource, []).append(package)
        own = {package.resource for package in packages}
        self._resources: dict[_Key, str] = {}
        self._documents: dict[_Key, bytes] = {}
        for key, sharing in by_key.items():
            named = [resource for resource in sharing if resource in own] or list(sharing)
            if len(named) == 1:
                self._resources[key] = named[0]
                self._documents[key] = _document(named[0], sharing[named[0]])

    def find(self, scope: Scope) -> bytes | None:
        """
        The document that a request asks for. Another path, or another query, has none (RFC 9728 §7.10).

        The well-known path is the host's, not behind a root path; servers put theirs in front of every path.
        """
        return self._documents.get((route_path_of(scope), scope.get("query_string", b"")))

    def url_of(self, package: ServicePackage) -> str | None:
        """
        What challenges of *package* name (RFC 9728 §5.1): of its own resource, or of the only one it has.
        """
        resources = resources_of(package)
        resource = package.resource or (resources[0] if len(resources) == 1 else None)
        is_served = resource is not None and self._resources.get(_key_of(resource)) == resource
        return metadata_url(resource) if resource is not None and is_served else None

    def without(self, paths: Iterable[str]) -> "ResourceMetadata":
        """
        The same, but for paths that the application answers itself.
        """
        taken = frozenset(paths)
        left = ResourceMetadata(())
        left._resources = {key: one for key, one in self._resources.items() if key[0] not in taken}
        left._documents = {key: one for key, one in self._documents.items() if key[0] not in taken}
        return left


async def send_metadata(document: bytes, scope: Scope, send: Send) -> None:
    """
    Answer GET, HEAD and a browser's preflight; anybody may ask, from any origin.
    """
    any_origin = [(b"access-control-allow-origin", b"*")]
    if scope["method"] == "OPTIONS":
        allowed = [(b"access-control-allow-methods", b"GET"), (b"access-control-allow-headers", b"*")]
        await send_response(scope, send, status=204, headers=[*any_origin, *allowed], body=b"")
        return
    if scope["method"] not in {"GET", "HEAD"}:
        await send_response(scope, send, status=405, headers=[(b"allow", b"GET, HEAD, OPTIONS")], body=b"")
        return
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(document)).encode("ascii")),
        (b"cache-control", f"max-age={MAX_AGE}".encode("ascii")),
        *any_origin,
    ]
    await send_response(scope, send, status=200, headers=headers, body=document)


def resources_of(package: ServicePackage) -> tuple[str, ...]:
    """
    What identifies *package* on the web: ``https``, or ``http`` on loopback (RFC 9728 §1.2, §7.1). The plain
    names that large issuers use for APIs identify nothing there.
    """
    own = () if package.resource is None else (package.resource,)
    return tuple(dict.fromkeys((*own, *filter(_is_resource, sorted(package.audiences)))))


def _is_resource(audience: str) -> bool:
    try:
        require_resource(audience)
    except PolicyError:
        return False
    return True


def _key_of(resource: str) -> _Key:
    parts = urlsplit(metadata_url(resource))
    return parts.path, parts.query.encode("ascii")


def _document(resource: str, packages: Iterable[ServicePackage]) -> bytes:
    packages = tuple(packages)
    issuers = dict.fromkeys(issuer.url for package in packages for issuer in package.issuers)
    scopes = {scope for package in packages for scope in (*package.vocabulary, *package.required_scopes)}
    members = {
        "resource": resource,
        "authorization_servers": [url for url in issuers if not url.startswith("urn:")],
        "scopes_supported": sorted(scopes - {"offline_access"}),  # it is no scope of a resource
        "bearer_methods_supported": ["header"],
        "resource_name": " and ".join(dict.fromkeys(package.name for package in packages)),
    }
    # RFC 9728 §3.2: what has no value is left out.
    return json.dumps({name: value for name, value in members.items() if value}).encode("ascii")
