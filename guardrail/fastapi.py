"""
FastAPI: the operator as a parameter, and the paths of its documentation.
"""

from typing import Annotated, Final

from fastapi import Depends

from ._decision import current_operator
from ._operator import Operator

__all__ = ["DOCS_PATHS", "CurrentOperator"]

# FastAPI's own routes with its default settings; for ``GuardrailMiddleware(public_paths=DOCS_PATHS)``.
DOCS_PATHS: Final = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")


async def _operator() -> Operator:
    # An async dependency: FastAPI would send a plain one to a worker thread.
    return current_operator()


CurrentOperator = Annotated[Operator, Depends(_operator)]
"""
The operator of the request, as a parameter of a path operation or of a dependency.
"""
