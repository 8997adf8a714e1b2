"""
RFC 9700: the security best current practice for OAuth 2.0, as far as it concerns who serves the resource.
"""

import dataclasses
import functools
import logging

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import guardrail
from guardrail import GuardrailMiddleware, Operator

from .api import (
    REFUSALS,
    Api,
    Clock,
    Exchange,
    Refusal,
    accepted,
    bearer,
    forged,
    http_scope,
    package,
    refused,
)
from .tokens import token

pytestmark = pytest.mark.anyio

GOOD = token()


async def test_r220_every_request_is_judged_for_itself() -> None:
    """
    R220 (RFC 9700 §2.3, §4.10.2): What was accepted before opens nothing for the next request, at this API
    or at its neighbour.
    """
    api, neighbour = Api(), Api(package(audience="https://api.example.com/billing").requires())

    for _ in range(2):
        await api.accepts(GOOD)
        await neighbour.refuses(GOOD, code="audience_mismatch")
        refused(await api.send(), error=None, code="missing_token")
        await api.refuses(token(aud="https://api.example.com/billing"), code="audience_mismatch")


async def test_r220_packages_behind_one_guard_do_not_share_their_verdicts() -> None:
    """
    R220 (RFC 9700 §2.3, §4.10.2): A token remembered for one package is unknown to the next one, in the same
    process and of the same issuer.
    """

    async def answer(_: Request) -> Response:
        return PlainTextResponse("answer")

    billing = "https://api.example.com/billing"
    packages = {"/orders": package(), "/billing": package(name="billing", audience=billing)}
    routes = [Route(path, one.requires()(functools.partial(answer))) for path, one in packages.items()]
    app = GuardrailMiddleware(Starlette(routes=routes), clock=Clock())

    async def status(path: str, made: bytes) -> int:
        exchange = Exchange()
        await app(http_scope(bearer(made), path=path), exchange.receive, exchange.send)
        return int(exchange.sent[0]["status"])

    for _ in range(2):
        assert [await status(path, GOOD) for path in packages] == [200, 401]
        assert [await status(path, token(aud=billing)) for path in packages] == [401, 200]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-forwarded-user", b"mallory"),
        (b"x-remote-user", b"mallory"),
        (b"remote-user", b"mallory"),
        (b"x-user-id", b"mallory"),
        (b"x-forwarded-email", b"mallory@example.com"),
        (b"x-forwarded-groups", b"approver"),
        (b"x-amzn-oidc-identity", b"mallory"),
        (b"client-cert", b":MIIB:"),
        (b"x-forwarded-client-cert", b"Subject=mallory"),
        (b"forwarded", b"for=127.0.0.1"),
        (b"x-forwarded-for", b"127.0.0.1"),
    ],
)
async def test_r221_no_identity_comes_from_a_header(name: bytes, value: bytes) -> None:
    """
    R221 (RFC 9700 §4.13): Headers that a proxy might set name nobody, and let nobody in.
    """
    api = Api()

    with_token = accepted(await api.send([(name, value), *bearer(GOOD)]))

    assert with_token == await api.accepts(GOOD)
    refused(await api.send([(name, value)]), error=None, code="missing_token")


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_r222_a_token_is_written_nowhere(refusal: Refusal, caplog: pytest.LogCaptureFixture) -> None:
    """
    R222 (RFC 9700 §4.9.2, RFC 6750 §5.3): No log record, event, answer or representation has a part of a
    token, refused or accepted.
    """
    caplog.set_level(logging.DEBUG)
    api = Api()

    answers = [await api.send(refusal.fields), await api.send(bearer(GOOD))]

    refused(answers[0], status=refusal.status, error=refusal.error)
    accepted(answers[1])
    texts = (caplog.text, repr(api.events), repr(answers), repr(api.app))
    values = (value.removeprefix(b"Bearer ") for _, value in (*refusal.fields, *bearer(GOOD)))
    parts = [part.decode() for value in values for part in value.split(b".") if len(part) > 8]
    assert not [part for part in parts for text in texts if part in text]


def test_r223_there_is_nothing_to_pass_a_token_on_with() -> None:
    """
    R223 (MCP, Access Token Privilege Restriction): No public name gives a handler the received token.
    """
    names = {*guardrail.__all__, *(field.name for field in dataclasses.fields(Operator))}

    assert {name for name in names if "token" in name.lower()} == {"TokenFacts", "token"}
    assert {field.name for field in dataclasses.fields(guardrail.TokenFacts)} == {
        "token_id",
        "issued_at",
        "expires_at",
        "auth_time",
        "acr",
        "amr",
    }


async def test_r224_a_client_is_not_taken_for_a_user() -> None:
    """
    R224 (RFC 9700 §4.15): The application sees which of the two a token is for.
    """
    api = Api()

    assert (await api.accepts(token(sub="shop"))).kind == "service"
    assert (await api.accepts(token(sub="alice"))).kind == "user"
    await api.refuses(forged(token(sub="shop")), code="bad_signature")


async def test_r219_a_bound_token_is_no_bearer_token() -> None:
    """
    R219 (RFC 9700 §2.2.1): A token bound to a key by *cnf* is refused until its proof can be verified,
    whatever *cnf* holds.
    """
    api = Api()

    await api.accepts(GOOD)
    for cnf in ({"jkt": "x" * 43}, {"x5t#S256": "x" * 43}, {"unknown": 1}, {}, None, "x"):
        await api.refuses(token(cnf=cnf), code="sender_constrained")
