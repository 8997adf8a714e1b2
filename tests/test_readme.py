"""
The README's code runs as printed, and does what the README says.
"""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from guardrail.errors import PolicyError
from guardrail.testing import FakeIssuer

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def run(*sources: str) -> dict[str, Any]:
    """
    Run blocks one after another in one namespace, as a reader who pastes them would.
    """
    namespace: dict[str, Any] = {}
    for source in sources:
        exec(compile(source, str(README), "exec"), namespace)  # noqa: S102 - it is our own README
    return namespace


def quick_start(fake: FakeIssuer) -> FastAPI:
    """
    The first block's application, its one issuer reached in process instead of over the network.
    """
    app: FastAPI = run(blocks("python")[0])["app"]
    app.user_middleware[0].kwargs["http_client"] = fake.http_client
    return app


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "scope", "status"),
    [
        pytest.param("GET", "/orders", "orders:read", 200, id="read"),
        pytest.param("GET", "/orders", "orders:write", 403, id="read-without-scope"),
        pytest.param("GET", "/orders", None, 401, id="read-without-token"),
        pytest.param("POST", "/orders", "orders:read orders:write", 200, id="write"),
        pytest.param("POST", "/orders", "orders:write", 403, id="write-without-all-scopes"),
        pytest.param("GET", "/healthz", None, 200, id="public"),
        pytest.param("GET", "/docs", None, 200, id="docs"),
        pytest.param("GET", "/openapi.json", None, 200, id="openapi"),
    ],
)
async def test_quick_start(method: str, path: str, scope: str | None, status: int) -> None:
    """
    The quick start guards each route as its comments say.
    """
    fake = FakeIssuer("https://login.example.com", audience="https://api.example.com/orders")
    headers = {} if scope is None else {"authorization": f"Bearer {fake.token(scope=scope)}"}
    transport = httpx.ASGITransport(quick_start(fake))

    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        response = await client.request(method, path, headers=headers)

    assert response.status_code == status


def test_quick_start_knows_the_operator() -> None:
    """
    The first route answers with the operator's key.
    """
    fake = FakeIssuer("https://login.example.com", audience="https://api.example.com/orders")
    headers = {"authorization": f"Bearer {fake.token(scope='orders:read')}"}

    with TestClient(quick_start(fake)) as client:
        assert client.get("/orders", headers=headers).json() == {
            "orders_of": "https://login.example.com#alice"
        }


def test_a_forgotten_decorator_stops_the_server() -> None:
    """
    The message is the one printed.
    """
    app = quick_start(FakeIssuer())

    @app.get("/v1/invoices/{id}")
    async def read_invoice() -> None: ...

    with pytest.raises(PolicyError) as caught, TestClient(app):
        pass

    assert str(caught.value) in blocks("text")[0]


@pytest.mark.anyio
async def test_the_other_blocks_run() -> None:
    """
    Every further Python block runs after the ones before it, its test functions included.
    """
    namespace = run(*blocks("python")[:1], *blocks("python")[2:])

    for name, value in list(namespace.items()):
        if name.startswith("test_"):
            value()

    transport = httpx.ASGITransport(namespace["guarded"])
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        assert [(await client.get(path)).status_code for path in ("/healthz", "/reports", "/else")] == [
            200,
            401,
            404,
        ]


@pytest.mark.anyio
async def test_the_listener_hears_why() -> None:
    """
    The listener of the second block prints code, route and detail of a refusal.
    """
    heard: list[tuple[object, ...]] = []
    without_middleware = re.sub(r"^app.add_middleware.*$", "", blocks("python")[0], flags=re.MULTILINE)
    namespace = run(without_middleware, blocks("python")[1])
    namespace["print"] = lambda *words: heard.append(words)
    transport = httpx.ASGITransport(namespace["app"])

    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        await client.get("/orders")

    assert heard == [("missing_token", "/orders", "no bearer token in the request")]
