"""
The example of an API that calls another: over real servers, with a real authorization server.
"""

import logging
import runpy
from pathlib import Path

import httpx
import pytest

from guardrail.cli._oauth import request_token
from guardrail.cli._servers import address, free_port, serving
from guardrail.issuer import Client, EmbeddedIssuer, new_secret

EXAMPLE = Path(__file__).parents[2] / "examples" / "connect_rest.py"
ORDERS, BILLING = "https://api.example.com/orders", "https://api.example.com/billing"


def test_one_api_calls_another(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """
    The second API sees the first one as its caller, with one token for any number of calls; both are logged.
    A wrong secret is a 503 of the first API, and not an exception.
    """
    caplog.set_level(logging.INFO)
    wrong, caller_secret, api_secret = new_secret(), new_secret(), new_secret()
    caller = Client("portal", client_secret=caller_secret, scopes=["orders:read"], audiences=[ORDERS])
    api = Client("orders-api", client_secret=api_secret, scopes=["invoices:read"], audiences=[BILLING])
    with free_port() as issuer_socket, free_port() as billing_socket, free_port() as orders_socket:
        issuer_url = address(issuer_socket)
        monkeypatch.setenv("CONNECT_ISSUER", issuer_url)
        monkeypatch.setenv("BILLING_URL", address(billing_socket))
        example = runpy.run_path(str(EXAMPLE))
        broken = runpy.run_path(str(EXAMPLE))
        issuer = EmbeddedIssuer(issuer_url, clients=[caller, api])
        with (
            serving(issuer, sock=issuer_socket, lifespan="off"),
            serving(example["billing"], sock=billing_socket),
            httpx.Client() as http,
        ):
            token = request_token(http, issuer_url, client_id="portal", client_secret=caller_secret)
            http.headers["authorization"] = f"Bearer {token}"
            url = f"{address(orders_socket)}/orders/7"
            with serving(example["app"], sock=orders_socket):
                monkeypatch.setenv("BILLING_SECRET", api_secret)
                answers = [http.get(url) for _ in range(3)]
            with free_port() as other_socket, serving(broken["app"], sock=other_socket):
                monkeypatch.setenv("BILLING_SECRET", wrong)
                refused = http.get(f"{address(other_socket)}/orders/7")

    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == {"order_of": "portal", "invoice": 7, "for": "orders-api"}
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "61")
    told = [record.__dict__["event"] for record in caplog.records if record.name == "examples.connect_rest"]
    assert told.count("guardrail.client.token_fetched") == 1
    assert told.count("guardrail.client.token_fetch_failed") == 1
    assert told.count("guardrail.token_accepted") == 7
    for secret in (token, caller_secret, api_secret, wrong):
        assert secret not in caplog.text
