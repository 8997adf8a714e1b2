"""
FastAPI: the guard with its OpenAPI document, the operator as a parameter, routers with one declaration.
"""

from typing import Annotated, Final

from fastapi import Depends

from .._decision import current_operator
from .._middleware_settings import MiddlewareSettings
from .._operator import Operator
from ._install import install
from ._router import GuardedRouter

__all__ = ["DOCS_PATHS", "CurrentOperator", "GuardedRouter", "MiddlewareSettings", "get_operator", "install"]

# FastAPI's own routes with its default settings; for ``GuardrailMiddleware(public_paths=DOCS_PATHS)``.
DOCS_PATHS: Final = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")


async def get_operator() -> Operator:
    """
    The operator of the request: the dependency behind `CurrentOperator`, for ``app.dependency_overrides``.

    An override replaces the parameter alone: the guard decides as before.

    Raises:
        MiddlewareMissingError: Nobody decided on the request.
    """
    # Asynchronous: FastAPI would send a plain function to a worker thread.
    return current_operator()


CurrentOperator = Annotated[Operator, Depends(get_operator)]
"""
The operator of the request, as a parameter of a path operation or of a dependency.
"""
