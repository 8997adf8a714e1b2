"""
`guardrail.fastapi`: the operator as a parameter, and the paths of the documentation.
"""

from typing import Annotated, Any, get_args

import httpx
import pytest
from fastapi import Depends, FastAPI

from guardrail import GuardrailMiddleware, Operator, ServicePackage, public
from guardrail.errors import MiddlewareMissingError, PolicyError
from guardrail.fastapi import DOCS_PATHS, CurrentOperator
from guardrail.testing import FakeIssuer, as_operator, assert_guarded


def _orders(fake: FakeIssuer) -> ServicePackage:
    return ServicePackage("orders", issuer=fake.issuer, audience=fake.audience)


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.example.com")


@pytest.mark.anyio
async def test_the_operator_is_a_parameter(fake_issuer: FakeIssuer) -> None:
    """
    In ``async def``, in ``def`` and in a dependency it is the operator of the request.
    """
    app = FastAPI()
    app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)
    orders = _orders(fake_issuer)

    async def subject_of(operator: CurrentOperator) -> str:
        return operator.subject

    @app.get("/async")
    @orders.requires("orders:read")
    async def in_async(operator: CurrentOperator) -> Any:
        return {"subject": operator.subject}

    @app.get("/sync")
    @orders.requires("orders:read")
    def in_sync(operator: CurrentOperator) -> Any:
        return {"subject": operator.subject}

    @app.get("/dependency")
    @orders.requires("orders:read")
    async def in_dependency(subject: Annotated[str, Depends(subject_of)]) -> Any:
        return {"subject": subject}

    headers = {"Authorization": f"Bearer {fake_issuer.token(scope='orders:read', sub='bob')}"}
    async with _client(app) as client:
        answers = [
            (await client.get(path, headers=headers)).json() for path in ("/async", "/sync", "/dependency")
        ]

    assert answers == [{"subject": "bob"}] * 3


@pytest.mark.anyio
async def test_on_a_public_route_it_is_anonymous() -> None:
    """
    Where no token is asked for, nobody is authenticated.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(GuardrailMiddleware)

    @app.get("/")
    @public
    async def home(operator: CurrentOperator) -> bool:
        return operator.is_authenticated

    async with _client(app) as client:
        response = await client.get("/")

    assert (response.status_code, response.json()) == (200, False)


@pytest.mark.anyio
async def test_an_assumed_operator_is_the_parameter_too(fake_issuer: FakeIssuer) -> None:
    """
    `as_operator` reaches the parameter.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(GuardrailMiddleware)

    @app.get("/")
    @_orders(fake_issuer).requires("orders:read")
    async def home(operator: CurrentOperator) -> str:
        return operator.operator_id

    async with _client(app) as client:
        with as_operator(scopes=["orders:read"], operator_id="alice"):
            response = await client.get("/")

    assert (response.status_code, response.json()) == (200, "alice")


@pytest.mark.anyio
async def test_without_the_middleware_there_is_no_operator() -> None:
    """
    The dependency raises where nobody decided, instead of inventing somebody.
    """
    app = FastAPI(openapi_url=None)

    @app.get("/")
    async def home(operator: CurrentOperator) -> str:
        return operator.operator_id

    async with _client(app) as client:
        with pytest.raises(MiddlewareMissingError):
            await client.get("/")


def test_it_is_no_part_of_the_api_description(fake_issuer: FakeIssuer) -> None:
    """
    The operator is neither a query parameter nor a body in the OpenAPI document.
    """
    app = FastAPI()

    @app.post("/")
    @_orders(fake_issuer).requires("orders:read")
    async def home(operator: CurrentOperator) -> str:
        return operator.operator_id

    operation = app.openapi()["paths"]["/"]["post"]
    assert "parameters" not in operation
    assert "requestBody" not in operation


def test_it_is_an_operator_to_a_type_checker() -> None:
    """
    ``CurrentOperator`` is `Operator`, annotated.
    """
    assert get_args(CurrentOperator)[0] is Operator


@pytest.mark.anyio
async def test_the_docs_paths_are_fastapis_own() -> None:
    """
    With them a bare application is guarded, and its documentation open; without them it is undeclared.
    """
    app = FastAPI()
    app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)
    bare = FastAPI()
    bare.add_middleware(GuardrailMiddleware)

    async with _client(app) as client:
        statuses = [(await client.get(path)).status_code for path in DOCS_PATHS]

    assert_guarded(app)
    assert statuses == [200, 200, 200, 200]
    with pytest.raises(AssertionError) as failed:
        assert_guarded(bare)
    assert all(f"GET {path} ->" in str(failed.value) for path in DOCS_PATHS)


@pytest.mark.anyio
async def test_docs_paths_of_an_application_without_docs_are_an_error() -> None:
    """
    Switched-off documentation and ``public_paths=DOCS_PATHS`` contradict each other, and say so.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(GuardrailMiddleware, public_paths=DOCS_PATHS)

    async with _client(app) as client:
        with pytest.raises(PolicyError, match="public_paths names no route's template: /docs"):
            await client.get("/")
