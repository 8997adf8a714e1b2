"""
`install`: the guard around a FastAPI application, and what it does in the OpenAPI document.
"""

from collections.abc import Iterator
from typing import Final, Protocol, Unpack, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from .._alternatives import requirements_of
from .._declaration import Declaration
from .._frameworks import entries_of
from .._inspection import survey
from .._middleware import GuardrailMiddleware
from .._middleware_settings import MiddlewareSettings
from .._openapi import Document, Flows, describe
from .._policy import Requirement
from .._prefixes import Resolved
from .._readiness import guard_of
from .._route_table import Branch, Leaf, RouteTable
from ..errors import MiddlewareMissingError, PolicyError
from ._flows import checked_flows, flows_of, require_known

__all__ = ["install"]

_PKCE: Final = {"usePkceWithAuthorizationCodeGrant": True}


class _PathOperation(Protocol):
    """
    What is asked of a FastAPI route, or of the context of an included one.
    """

    include_in_schema: bool
    path_format: str
    methods: set[str]


def install(
    app: FastAPI, *, oauth_flows: Flows | None = None, **settings: Unpack[MiddlewareSettings]
) -> None:
    """
    Guard *app*, and describe in its OpenAPI document what its routes need, those added later too.

    ``app.openapi()`` gets a security scheme for each service package and issuer, and for each operation that
    declares something its ``security`` and the answers 401, 403 and 503, unless it has these itself. A public
    operation stays as it is. An ``openapi`` function that the application has now is called first, and keeps
    its own cache. Nothing is fetched for any of it. In shadow mode the document says what will be required.

    Swagger UI uses PKCE, unless ``swagger_ui_init_oauth`` says otherwise.

    Does not describe mounted applications: their documents are their own.

    Args:
        app: The application, to which no middleware has been added yet.
        oauth_flows: How clients get tokens, by issuer: ``{"https://login.example.com": {"authorizationCode":
            {"authorizationUrl": ..., "tokenUrl": ...}}}``, or ``clientCredentials`` with ``tokenUrl``. The
            scopes are the package's. An issuer without flows is described by what its metadata said when
            its keys were discovered, and until then by its discovery URL.
        settings: Of `guardrail.GuardrailMiddleware`. Without ``public_paths``, the paths of the
            documentation as *app* has them are public.

    Raises:
        PolicyError: A setting is wrong, the guard was added already, or other middleware was added before it.
        RuntimeError: The application has been started.
    """
    _require_first(app)
    flows = checked_flows(oauth_flows)
    settings.setdefault("public_paths", _docs_paths(app))
    GuardrailMiddleware(app, **settings)  # Starlette makes the real one at startup; wrong settings show now
    app.add_middleware(GuardrailMiddleware, **settings)
    has_own_bodies = settings.get("refusal_body") is not None
    described = _DescribedOpenAPI(app, flows=flows, has_own_bodies=has_own_bodies)
    # RFC 9700 §2.1.1: a public client uses PKCE, and Swagger UI is one.
    app.swagger_ui_init_oauth = _PKCE | (app.swagger_ui_init_oauth or {})
    setattr(app, "openapi", described)  # noqa: B010 - as FastAPI documents it; a type checker refuses to assign


def _require_first(app: object) -> None:
    if not isinstance(app, FastAPI):
        raise PolicyError(f"install() takes a FastAPI application; got {type(app)}")
    added: list[object] = [middleware.cls for middleware in app.user_middleware]
    if GuardrailMiddleware in added:
        raise PolicyError("GuardrailMiddleware was added already; install(app) is instead of add_middleware")
    if added:
        names = ", ".join(str(getattr(one, "__name__", one)) for one in added)
        raise PolicyError(
            f"guardrail belongs innermost: call install(app) before other middleware is added, and not with "
            f"FastAPI(middleware=...); there is {names}"
        )


def _docs_paths(app: FastAPI) -> tuple[str, ...]:
    """
    The routes that FastAPI itself added, for its documentation.
    """
    docs = (app.docs_url, app.swagger_ui_oauth2_redirect_url) if app.docs_url else ()
    paths = (app.openapi_url, *docs, app.redoc_url) if app.openapi_url else ()
    return tuple(path for path in paths if path)


class _DescribedOpenAPI:
    """
    ``app.openapi`` with what guardrail knows; made anew only when what is under it was, or more is known.
    """

    def __init__(self, app: FastAPI, *, flows: Flows, has_own_bodies: bool) -> None:
        self._app = app
        self._plain = app.openapi
        self._flows = flows
        self._has_own_bodies = has_own_bodies
        self._made_of: Document | None = None
        self._made_with: Flows = {}
        self._described: Document = {}

    def __call__(self) -> Document:
        """
        The document; the same object each time, as FastAPI has it, while nothing changes.

        Raises:
            PolicyError: A route is declared twice, or a setting names what is not there.
        """
        plain = self._plain()
        flows = {**_learned_flows(self._app), **self._flows}
        if plain is not self._made_of or flows != self._made_with:
            table = survey(self._app)
            required = [requirements_of(one.requirement) for one in table.declarations()]
            require_known(self._flows, (one.package for several in required for one in several))
            self._described = describe(
                plain,
                dict(_operations(self._app, table)),
                flows=flows,
                has_own_bodies=self._has_own_bodies,
            )
            self._made_of, self._made_with = plain, flows
        return self._described


def _learned_flows(app: FastAPI) -> Flows:
    """
    The flows of the issuers that the guard has discovered by now.
    """
    try:
        guard = guard_of(app)  # None until Starlette has made it
    except MiddlewareMissingError:  # a middleware in front hides what it wraps
        return {}
    endpoints = {} if guard is None else guard.key_sets.endpoints()
    return {url: flows_of(one) for url, one in endpoints.items()}


def _operations(app: FastAPI, table: RouteTable) -> Iterator[tuple[tuple[str, str], tuple[Requirement, ...]]]:
    """
    What the operations of the document declare, in its order: of two on one path, it has the later one.
    """
    entries = list(entries_of(app.router.routes))
    # An application that is declared as a whole has no levels.
    nodes = [None] * len(entries) if table.level is None else table.level.nodes
    for (matcher, _), node in zip(entries, nodes, strict=True):
        operation = cast("_PathOperation", matcher)  # a context answers for its route
        is_described = isinstance(getattr(matcher, "original_route", matcher), APIRoute)
        for method in operation.methods if is_described and operation.include_in_schema else ():
            declaration = _declaration(node, operation.path_format, method, table)
            required = () if declaration is None else requirements_of(declaration.requirement)
            yield (operation.path_format, method.lower()), required


def _declaration(node: Leaf | Branch | None, path: str, method: str, table: RouteTable) -> Declaration | None:
    if not isinstance(node, Leaf):
        prefix = table.prefixes.covering(path)
        return None if prefix is None else table.prefixes.declarations[prefix]
    resolved = node.resolved
    found = resolved if isinstance(resolved, Resolved) or resolved is None else resolved.get(method)
    return None if found is None else found.declaration
