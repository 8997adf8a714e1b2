"""
`GuardedRouter`: one declaration for all routes of a router that declare nothing themselves.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from .._alternatives import Alternatives, requirements_of
from .._declaration import declaration_of, declare, endpoint_name, hold, public
from .._policy import Requirement
from ..errors import PolicyError

__all__ = ["GuardedRouter"]

_Endpoint = Callable[..., Any]
_Public = Callable[..., object]  # `public`, which is a function


class GuardedRouter(APIRouter):
    """
    An `APIRouter` whose routes, WebSockets too, need what the router says, unless they say it themselves::

        router = GuardedRouter(orders.requires("orders:read"), prefix="/orders")

        @router.get("/{order_id}")
        async def read_order(order_id: int, operator: CurrentOperator) -> Order: ...

        @router.delete("/{order_id}")
        @orders.requires("orders:write")               # of its own, and then alone
        async def cancel_order(order_id: int) -> None: ...

    The router declares an endpoint when it is added: an own declaration stands below the router's decorator.
    Does not declare mounts, nor the routes of routers that it includes: these declare for themselves.

    Args:
        requirement: What `ServicePackage.requires` and `any_of` return, or `guardrail.public`.
        settings: The settings of `fastapi.APIRouter`.

    Raises:
        PolicyError: *requirement* is something else; when a route is added: another router has declared its
            endpoint otherwise, or it cannot hold a mark.
    """

    def __init__(self, requirement: Requirement | Alternatives | _Public, **settings: Any) -> None:
        if requirement is not public and not requirements_of(requirement):
            raise PolicyError(
                'GuardedRouter takes a requirement, such as orders.requires("orders:read"), or public; '
                f"got {requirement!r}"
            )
        self._requirement = None if requirement is public else requirement
        self._is_including = False
        super().__init__(**settings)

    def add_api_route(self, path: str, endpoint: _Endpoint, **settings: Any) -> None:
        """
        As FastAPI's, for a declared endpoint.
        """
        super().add_api_route(path, self._declared(endpoint), **settings)

    def add_api_websocket_route(
        self, path: str, endpoint: _Endpoint, name: str | None = None, **settings: Any
    ) -> None:
        """
        As FastAPI's, for a declared endpoint.
        """
        super().add_api_websocket_route(path, self._declared(endpoint), name, **settings)

    def add_route(self, path: str, endpoint: _Endpoint, *args: Any, **settings: Any) -> None:
        """
        As Starlette's, for a declared endpoint.
        """
        super().add_route(path, self._declared(endpoint), *args, **settings)

    def add_websocket_route(self, path: str, endpoint: _Endpoint, name: str | None = None) -> None:
        """
        As Starlette's, for a declared endpoint.
        """
        super().add_websocket_route(path, self._declared(endpoint), name)

    def include_router(self, router: APIRouter, **settings: Any) -> None:
        """
        As FastAPI's. The routes of *router* need what they say themselves.
        """
        # FastAPI before 0.137 adds each of them to this router anew; later ones do not show them here at all.
        self._is_including = True
        try:
            super().include_router(router, **settings)
        finally:
            self._is_including = False

    def _declared(self, endpoint: _Endpoint) -> _Endpoint:
        if self._is_including:  # pragma: no cover - by FastAPI before 0.137, whose tests are not measured
            return endpoint
        existing = declaration_of(endpoint)
        if existing is None:
            declared = declare(endpoint, self._requirement)
            # On the declaration, so that it lives as long as the endpoint; it is frozen for everyone else.
            object.__setattr__(declaration_of(declared), "by_router", (endpoint, declared))
            return declared
        if existing.by_router is None:
            return endpoint
        # The same function on two paths: it must not matter which router came first.
        if existing.requirement != self._requirement:
            raise PolicyError(f"{endpoint_name(endpoint)} is declared twice: by two routers, and not alike")
        original, declared = existing.by_router
        # A partial, a bound method, and what a decorator made of it show the mark, and do something else.
        is_the_same = endpoint is original or endpoint is declared
        return declared if is_the_same else hold(endpoint, existing)
