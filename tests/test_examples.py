"""
The examples run, and do what they say.
"""

import runpy
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guardrail.issuer import load_clients
from guardrail.testing import FakeIssuer, as_operator, assert_guarded

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


# Those of MCP servers need extras: tests/frameworks/test_mcp_examples.py runs them.
BY_THEMSELVES = sorted(path for path in EXAMPLES.glob("[a-z]*.py") if "mcp" not in path.name)


@pytest.mark.parametrize("path", BY_THEMSELVES, ids=lambda path: path.name)
def test_every_example_is_guarded(path: Path) -> None:
    """
    Each example's application declares all its routes.
    """
    assert_guarded(runpy.run_path(str(path))["app"])


def test_orders_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The demo's API reads its issuer from the environment and tells reading from writing.
    """
    fake = FakeIssuer("https://orders.example.com")
    monkeypatch.setenv("ORDERS_ISSUER", fake.url)
    app: Starlette = example("orders_api.py")["app"]
    app.user_middleware[0].kwargs["http_client"] = fake.http_client

    with TestClient(app) as client:
        headers = {"authorization": f"Bearer {fake.token(scope='orders:read')}"}
        read, write = client.get("/orders", headers=headers), client.post("/orders", headers=headers)

    assert read.json() == {"orders_of": "https://orders.example.com#alice", "called_by": "test-client"}
    assert write.status_code == 403


def test_status_page() -> None:
    """
    The page is open and empty; its data needs the scope, and tells of the request that was refused.
    """
    namespace = example("status_page.py")

    with TestClient(namespace["app"]) as client:
        page = client.get("/status", headers={"accept": "text/html"})
        without = client.get("/status/data")
        with as_operator(scopes=["orders:read"]):
            other, served = client.get("/status/data"), client.get("/orders")
        with as_operator(scopes=["status:read"]):
            data = client.get("/status/data").json()

    assert [one.status_code for one in (page, without, other, served)] == [200, 401, 403, 200]
    assert [one["code"] for one in data["refusals"]] == ["insufficient_scope", "missing_token"]
    assert {one["scope"]: one["lacking"] for one in data["scopes"]} == {"orders:read": 0, "status:read": 1}


def test_starlette_api() -> None:
    """
    Classes, single methods, mounts, static files and background tasks are each guarded as declared.
    """
    namespace = example("starlette_api.py")

    with TestClient(namespace["app"]) as client, as_operator(scopes=["invoices:write"]) as operator:
        assert client.get("/invoices").json() == {"invoices_of": operator.operator_id}
        assert client.get("/invoices/7").json() == {"id": 7, "read_by": "alice"}
        assert client.post("/invoices").status_code == 403  # no bookkeeper
        with as_operator(scopes=["invoices:write"], roles=["bookkeeper"]):
            assert client.post("/invoices").status_code == 201
        with client.websocket_connect("/watch") as websocket:
            assert websocket.receive_json() == {"watched_by": operator.operator_id}

    assert namespace["written_by"] == [operator.operator_id]


def test_starlette_api_without_a_token() -> None:
    """
    Without a token only what is public answers.
    """
    with TestClient(example("starlette_api.py")["app"]) as client:
        statuses = {
            path: client.get(path).status_code for path in ("/healthz", "/static/clients.toml", "/invoices")
        }
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/watch"):
            pass

    assert statuses == {"/healthz": 200, "/static/clients.toml": 200, "/invoices": 401}


def test_clients_file() -> None:
    """
    The example registrations load; the public client has no secret, and each authenticates as it says.
    """
    clients = {client.client_id: client for client in load_clients(EXAMPLES / "clients.toml")}

    assert clients["orders-batch"].operator == "svc-orders-batch"
    assert [client_id for client_id, client in clients.items() if client.is_public] == ["orders-app"]
    assert clients["orders-gateway"].auth_methods == {"client_secret_post"}
    assert clients["orders-signer"].auth_methods == {"private_key_jwt"}
