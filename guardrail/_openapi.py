"""
What an OpenAPI document says of a guarded API: security schemes, what each operation requires, its refusals.

Pure: a document and declarations in, a new document out. What is known of an authorization server's endpoints
is handed in; nothing here asks for it.
"""

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from ._issuer import Issuer
from ._policy import Requirement, ServicePackage

__all__ = ["Document", "Flows", "Operations", "describe"]

Document = dict[str, Any]
# By path template and method in lower case, as the document has them. No requirement: public, or undeclared.
Operations = Mapping[tuple[str, str], tuple[Requirement, ...]]
# By issuer, then by flow: the URLs of an OAuth Flow Object, without its scopes.
Flows = Mapping[str, Mapping[str, Mapping[str, str]]]

_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9._-]+")  # OpenAPI 3.1 §4.8.7: the keys of components

_PROBLEM: Final = {
    "title": "Problem",
    "description": "Why the request was refused (RFC 9457), in the words of RFC 6750 where there are any.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "error": {
            "type": "string",
            "enum": [
                "invalid_request",
                "invalid_token",
                "insufficient_scope",
                "insufficient_user_authentication",
            ],
        },
        "error_description": {"type": "string"},
    },
}
_CHALLENGE: Final = {
    "WWW-Authenticate": {
        "description": "What to authenticate with (RFC 6750 §3).",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
}
# Status: name of the component, description, headers.
_REFUSALS: Final[Mapping[str, tuple[str, str, Mapping[str, object]]]] = {
    "401": ("Unauthorized", "The access token is missing, or not valid here.", _CHALLENGE),
    "403": ("Forbidden", "The access token does not allow this.", _CHALLENGE),
    "503": ("ServiceUnavailable", "The access token cannot be verified at the moment.", _RETRY_AFTER),
}


def describe(
    document: Mapping[str, Any], operations: Operations, *, flows: Flows, has_own_bodies: bool = False
) -> Document:
    """
    *document* with what its operations require. *document* itself stays as it is.

    Roles, access groups and step-up have no place in OpenAPI, and are left out; so is what a scope implies.
    An operation's own security is required beside ours, and its own 401, 403 and 503 stay.

    Args:
        document: An OpenAPI document, 3.0 or later.
        operations: What its operations declare; those that the document does not have are passed over.
        flows: The OAuth flows of issuers; who has none is described by OpenID Connect discovery.
        has_own_bodies: Whether refusals have bodies that we know nothing of.
    """
    described: Document = copy.deepcopy(dict(document))
    guarded = list(_guarded(described.get("paths") or {}, operations))
    if not guarded:
        return described
    components: Document = described.setdefault("components", {})
    schemes = _Schemes(
        components.setdefault("securitySchemes", {}),
        [requirement for _, several in guarded for requirement in several],
        flows,
        # OpenAPI 3.1 §4.8.30: roles may be named where a scheme has no scopes; 3.0 wants an empty list there.
        has_roles=not str(described.get("openapi", "")).startswith("3.0."),
    )
    refusals = _add_refusals(components, has_own_bodies=has_own_bodies)
    for operation, several in guarded:
        own = operation.get("security", described.get("security"))
        operation["security"] = _both(own, schemes.required_by(several))
        _add_responses(operation.setdefault("responses", {}), refusals)
    return described


def _guarded(
    paths: Mapping[str, Mapping[str, Document]], operations: Operations
) -> Iterator[tuple[Document, tuple[Requirement, ...]]]:
    for (path, method), several in operations.items():
        operation = paths.get(path, {}).get(method)
        if several and operation is not None:
            yield operation, several


def _add_responses(responses: Document, refusals: Mapping[str, str]) -> None:
    for status, reference in refusals.items():
        # As FastAPI with its 422: a range or a default covers it.
        if responses.keys().isdisjoint({status, f"{status[0]}XX", "default"}):
            responses[status] = {"$ref": reference}


class _Schemes:
    """
    A security scheme for each issuer of each package, under names that are free.
    """

    def __init__(
        self, components: Document, required: Collection[Requirement], flows: Flows, *, has_roles: bool
    ) -> None:
        self._has_roles = has_roles
        self._names: dict[ServicePackage, list[tuple[str, bool]]] = {}
        for package in dict.fromkeys(one.package for one in required):
            scopes = _scopes_of(package, (one for one in required if one.package == package))
            names = self._names[package] = []
            for issuer in package.issuers:
                own = f"-{issuer.url.partition('://')[2] or issuer.url}" if len(package.issuers) > 1 else ""
                name = _free(f"{package.name}{own}", components)
                components[name] = scheme = _scheme(issuer, scopes, flows.get(issuer.url))
                names.append((name, scheme["type"] != "http"))

    def required_by(self, alternatives: Iterable[Requirement]) -> list[dict[str, list[str]]]:
        """
        The Security Requirement Objects of an operation; any one will do, and all that is in it is needed.
        """
        found: list[dict[str, list[str]]] = []
        for requirement in alternatives:
            for one_more in requirement.any_scopes or (None,):
                scopes = [scope for scope in dict.fromkeys((*requirement.all_scopes, one_more)) if scope]
                for name, has_scopes in self._names[requirement.package]:
                    one = {name: scopes if has_scopes or self._has_roles else []}
                    found += [one] if one not in found else []
        return found


def _scheme(
    issuer: Issuer, scopes: Mapping[str, str], flows: Mapping[str, Mapping[str, str]] | None
) -> Document:
    described = {"description": f"An access token of {issuer.url}."}
    if flows:
        with_scopes = {flow: {**urls, "scopes": {**scopes}} for flow, urls in flows.items()}
        return {"type": "oauth2", **described, "flows": with_scopes}
    if issuer.url.startswith("urn:"):  # nothing can be discovered there
        return {"type": "http", **described, "scheme": "bearer", "bearerFormat": "JWT"}
    discovery = f"{issuer.url.rstrip('/')}/.well-known/openid-configuration"
    return {"type": "openIdConnect", **described, "openIdConnectUrl": discovery}


def _scopes_of(package: ServicePackage, required: Iterable[Requirement]) -> dict[str, str]:
    """
    The package's vocabulary, and what its operations require beyond that where it has none.
    """
    named = [scope for one in required for scope in (*one.all_scopes, *one.any_scopes)]
    return dict.fromkeys(named, "") | {**package.vocabulary}


def _both(
    own: Collection[Mapping[str, list[str]]] | None, ours: Collection[Mapping[str, list[str]]]
) -> list[dict[str, list[str]]]:
    return [{**one, **another} for one in own or [{}] for another in ours]


def _add_refusals(components: Document, *, has_own_bodies: bool) -> dict[str, str]:
    """
    Add the responses, and return where each is, by status.
    """
    content: Document = {}
    if not has_own_bodies:
        schemas: Document = components.setdefault("schemas", {})
        problem = _free("Problem", schemas)
        schemas[problem] = copy.deepcopy(_PROBLEM)
        schema = {"$ref": f"#/components/schemas/{problem}"}
        content = {"content": {"application/problem+json": {"schema": schema}}}
    responses: Document = components.setdefault("responses", {})
    found: dict[str, str] = {}
    for status, (base, description, headers) in _REFUSALS.items():
        name = _free(base, responses)
        responses[name] = copy.deepcopy({"description": description, "headers": {**headers}, **content})
        found[status] = f"#/components/responses/{name}"
    return found


def _free(name: str, taken: Collection[str]) -> str:
    """
    *name*, made fit for the key of a component, with a number where another has it.
    """
    fit = _NOT_IN_KEYS.sub("-", name).strip("-") or "bearer"
    number = 1
    while (found := fit if number == 1 else f"{fit}-{number}") in taken:
        number += 1
    return found
