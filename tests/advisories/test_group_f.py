"""
Group F: forged headers and contexts.
"""

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from guardrail import Operator, current_operator, public
from guardrail.errors import GuardrailError, MiddlewareMissingError

from .kit import (
    SCOPE,
    URL,
    Api,
    api,
    bearer,
    claims_of,
    compact,
    endpoint,
    forged,
    guard,
    header_of,
    naming,
    new_issuer,
    octets_of,
    package,
    scope_of,
    send,
)
from .routes import beside_a_public_route

pytestmark = pytest.mark.anyio

IDENTITY_HEADERS = (
    b"x-forwarded-user", b"x_forwarded_user", b"X_Forwarded_User", b"x-forwarded-email",
    b"x-forwarded-groups", b"x-operator", b"x_operator", b"x-operator-id", b"x-auth-user", b"x_auth_user",
    b"x-auth-request-user", b"x-user", b"x-user-id", b"x-remote-user", b"remote-user", b"remote_user",
    b"x-authenticated-userid", b"x-userinfo", b"x-scopes", b"x-consumer-username",
    b"x-credential-identifier", b"x-id-token", b"x-access-token", b"x-jwt-payload", b"x-guardrail",
    b"x-guardrail-operator", b"x-client-id", b"x-tenant", b"x-roles", b"x-jwt-assertion",
)  # fmt: skip


def anonymous_or_not(fake: Any, ran: list[str], seen: list[Operator]) -> Api:
    """
    An API whose public and protected handlers note who their operator is.
    """

    async def note(request: Request) -> Response:
        ran.append(request.scope["path"])
        operators = (current_operator(), request.state.operator, request.user, request.auth)
        assert [one is operators[0] for one in operators] == [True] * 4
        seen.append(operators[0])
        return JSONResponse({})

    async def note_in_public(request: Request) -> Response:
        return await note(request)

    routes = [
        Route("/orders", package(fake).requires(SCOPE)(note)),
        Route("/public", public(note_in_public)),
    ]
    return guard(routes, fake, ran)


async def test_f01_cve_2025_64484_identity_in_a_header() -> None:
    """
    No header says who the operator is, with hyphens or underscores, with a token or without.
    """
    fake, ran, seen = new_issuer(), list[str](), list[Operator]()
    guarded = anonymous_or_not(fake, ran, seen)
    values = (b"admin", b'{"sub":"admin","scope":"orders:read"}', f"{URL}#admin".encode())

    for name in IDENTITY_HEADERS:
        for value in values:
            await guarded.refuses(headers=[(name, value)], error=None, code="missing_token")
    forged_identity = [(name, values[0]) for name in IDENTITY_HEADERS]
    await guarded.accepts(guarded.good(), headers=forged_identity)
    await guarded.accepts(guarded.good(), headers=forged_identity, target="/public")
    assert [one.operator_id for one in seen[-2:]] == [f"{URL}#alice", "anonymous"]


async def test_f02_cve_2026_44087_credentials_of_another_source() -> None:
    """
    The one source of an identity is the token; beside it, others change nothing (also CVE-2026-49231).
    """
    fake, ran, seen = new_issuer(), list[str](), list[Operator]()
    guarded = anonymous_or_not(fake, ran, seen)
    other = fake.token(scope=SCOPE, sub="bob").encode()
    elsewhere = [(name, value) for name in IDENTITY_HEADERS for value in (other, b"Bearer " + other)]
    cookies = [
        (b"cookie", b"token=" + other + b"; session=" + other),
        (b"proxy-authorization", b"Bearer " + other),
    ]

    for one in elsewhere + cookies:
        await guarded.refuses(headers=[one], error=None, code="missing_token")
        await guarded.refuses("anything", headers=[one])
    await guarded.accepts(guarded.good(), headers=elsewhere + cookies)
    assert seen[-1].subject == "alice"


async def test_f03_cve_2025_48865_connection_strips_a_security_header() -> None:
    """
    A token bound to a key is refused as a bearer token, whatever ``Connection`` says of other fields.
    """
    fake = new_issuer()
    guarded = api(fake)
    connections = (b"DPoP", b"authorization, dpop", b"close, DPoP", b"cnf")

    for cnf in ({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}, {"x5t#S256": "x"}, {}):
        bound = compact(header_of(fake.keys), claims_of() | {"cnf": cnf}, fake.keys.current.sign)
        for value in connections:
            for proof in ([], [(b"dpop", b"a.b.c")]):
                await guarded.refuses(
                    bound, headers=[(b"connection", value), *proof], code="sender_constrained"
                )
    await guarded.refuses(headers=[(b"connection", b"authorization")], error=None, code="missing_token")
    await guarded.accepts(guarded.good(), headers=[(b"connection", b"authorization")])


async def test_f04_client_certificate_in_a_header() -> None:
    """
    A certificate that a header tells of is no credential, and does not unbind a bound token (RFC 9440).
    """
    fake = new_issuer()
    guarded = api(fake)
    bound = fake.token(scope=SCOPE, cnf={"x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"})
    names = (
        b"client-cert", b"client-cert-chain", b"x-ssl-cert", b"x-client-cert", b"x-forwarded-client-cert",
        b"ssl-client-cert", b"x-ssl-client-verify",
    )  # fmt: skip

    for name in names:
        for value in (b":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6:", b"SUCCESS"):
            await guarded.refuses(headers=[(name, value)], error=None, code="missing_token")
            await guarded.refuses(bound, headers=[(name, value)], code="sender_constrained")


async def test_f05_operator_left_in_the_scope() -> None:
    """
    Whatever operator an outer component put into the scope is overwritten, on public routes too.
    """
    fake, ran, seen = new_issuer(), list[str](), list[Operator]()
    guarded = anonymous_or_not(fake, ran, seen)
    admin = Operator(
        operator_id=f"{URL}#admin", kind="user", issuer=URL, subject="admin", scopes=frozenset({SCOPE})
    )
    stale: dict[str, Any] = {
        "state": {"operator": admin},
        "user": admin,
        "auth": admin,
        "session": {"user": "admin"},
    }

    for one in (stale, {"state": {"operator": admin}}, {"user": admin}):
        await guarded.refuses(error=None, code="missing_token", **one)
        await guarded.accepts(guarded.good(), **one)
        assert seen[-1].subject == "alice"
        await guarded.accepts(guarded.good(), target="/public", **one)
        assert (seen[-1].kind, seen[-1].scopes) == ("anonymous", frozenset())
    with pytest.raises(MiddlewareMissingError):
        current_operator()


async def test_f05_state_shared_by_two_requests() -> None:
    """
    A state that the server hands to two requests holds the operator of neither for the other.
    """
    fake, ran, seen = new_issuer(), list[str](), list[Operator]()
    guarded = anonymous_or_not(fake, ran, seen)
    shared: dict[str, object] = {}

    await guarded.accepts(fake.token(scope=SCOPE, sub="alice"), state=shared)
    await guarded.accepts(fake.token(scope=SCOPE, sub="bob"), state=shared)
    await guarded.accepts(guarded.good(), target="/public", state=shared)

    assert [one.subject for one in seen] == ["alice", "bob", ""]


async def test_f06_cve_2026_25536_one_clients_data_shown_to_another() -> None:
    """
    Two hundred interleaved requests of twenty users see their own operators, while streaming and afterwards.
    """
    fake, ran, afterwards = new_issuer(), list[str](), list[tuple[str, str]]()

    async def stream(request: Request) -> Response:
        expected = request.headers["x-expected"]

        async def lines() -> AsyncIterator[str]:
            for turn in range(1 + int(expected) % 5):
                await asyncio.sleep(0)
                yield f"{turn}:{current_operator().subject} "

        async def after() -> None:
            await asyncio.sleep(0)
            afterwards.append((expected, current_operator().subject))

        await asyncio.sleep(0)
        ran.append(current_operator().subject)
        return StreamingResponse(lines(), background=BackgroundTask(after))

    guarded = guard([Route("/orders", package(fake).requires(SCOPE)(stream))], fake, ran)
    tokens = {str(user): fake.token(scope=SCOPE, sub=str(user)) for user in range(20)}

    async def ask(user: str, token: str) -> tuple[str, set[str]]:
        answer = await guarded.send(token, headers=[(b"x-expected", user.encode())])
        return user, {part.split(":")[1] for part in answer.body.decode().split()}

    requests = [ask(user, token) for _ in range(10) for user, token in tokens.items()]
    refused = [guarded.send(forged(token)) for token in tokens.values()]
    answers, refusals = await asyncio.gather(asyncio.gather(*requests), asyncio.gather(*refused))

    assert len(answers) == len(afterwards) == len(ran) == 200
    assert all(subjects == {user} for user, subjects in answers)
    assert all(user == subject for user, subject in afterwards)
    assert {one.status for one in refusals} == {401}


async def test_f07_cve_2026_52870_handle_that_belongs_to_somebody_else() -> None:
    """
    What one operator opened another's token does not reach: the operator's key tells them apart.
    """
    fake, other, ran = new_issuer(), new_issuer("https://partner.example.org"), list[str]()
    owners: dict[str, str] = {}

    async def session(request: Request) -> Response:
        ran.append(request.url.path)
        me = current_operator().operator_id
        owner = owners.setdefault(request.path_params["handle"], me)
        return PlainTextResponse("", status_code=200 if owner == me else 404)

    requirement = package(issuer=[fake.issuer, other.issuer]).requires(SCOPE)
    guarded = guard([Route("/sessions/{handle}", requirement(session))], fake, ran)
    alice, again, bob = (fake.token(scope=SCOPE, sub=sub) for sub in ("alice", "alice", "bob"))
    alice_elsewhere = other.token(scope=SCOPE, sub="alice")
    tokens = (alice, again, bob, alice_elsewhere, forged(alice))

    statuses = [(await guarded.send(token, target="/sessions/7")).status for token in tokens]

    assert statuses == [200, 200, 404, 404, 401]
    assert len(ran) == 4


HOSTILE_TEXTS = (
    'x", error="none', "x\\", "x\r\nSet-Cookie: a=b", "x\nX: y", "\u20ac\U0001f600", "\x00\x07\x1b[31m",
    "<script>", "%0d%0a", "x\x85y", "x\u2028y", '", scope="admin', "'; --",
)  # fmt: skip


@pytest.mark.parametrize(
    "place", ["kid", "alg", "typ", "iss", "aud", "sub", "scope", "client_id", "jti", "acr"]
)
async def test_f08_text_of_the_caller_in_the_challenge(place: str) -> None:
    """
    Nothing of a token is in a challenge or a body, so that nothing can break out of it (Authlib 1.5.2).
    """
    fake = new_issuer()
    requirement = {"acr_values": ["urn:mfa"]} if place == "acr" else {}
    good = {"scope": SCOPE, "acr": "urn:mfa"}
    guarded = api(fake, requirement=requirement, good=lambda: fake.token(**cast("Any", good)))
    answers: set[str] = set()

    for text in HOSTILE_TEXTS:
        headers = {place: text} if place in {"kid", "alg", "typ"} else {}
        claims = {} if headers else {place: text}
        token = fake.token(headers=headers, **cast("Any", {**good, **claims}))
        answer = await guarded.send(forged(token) if place in {"sub", "client_id", "jti"} else token)
        await guarded.accepts()
        with naming(repr(text)):
            assert (answer.status, answer.challenge["realm"]) in {(401, "orders"), (403, "orders")}
            assert all(b"\r" not in value and b"\n" not in value for _, value in answer.headers)
            assert text.encode() not in answer.body
            assert json.loads(answer.body)["status"] == answer.status
        answers.add(repr(answer))

    assert len(answers) == 1


async def test_f08_text_of_the_caller_in_the_path() -> None:
    """
    Neither path, query nor method of a request is in an answer of guardrail's.
    """
    fake, ran = new_issuer(), list[str]()
    guarded = beside_a_public_route(fake, ran)

    for text in ("mallory-7f3a", 'mallory-7f3a"%0d%0aX:%20y', "<mallory-7f3a>"):
        for request in (
            {"target": f"/orders/{text}"},
            {"target": f"/orders?{text}"},
            {"method": "MALLORY-7F3A"},
            {"headers": [(b"authorization", f"{text} x".encode())]},
        ):
            answer = await guarded.send(**cast("Any", request))
            assert answer.status in {400, 401, 404, 405}
            assert b"mallory" not in repr(answer).lower().encode()
    assert ran == []


async def test_f09_host_of_the_caller_in_the_challenge() -> None:
    """
    The answer is the same whatever host the request says it is for (RFC 9728 §7.3).
    """
    guarded = api()
    names = (
        b"host",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"forwarded",
        b"x-original-host",
    )
    expected = await guarded.refuses(error=None)

    for name in names:
        for value in (b"evil.example", b"host=evil.example;proto=http", b"evil.example:8080"):
            assert await guarded.refuses(headers=[(name, value)], error=None) == expected
    assert await guarded.refuses(error=None, server=("evil.example", 80), scheme="http") == expected


def parts_of(token: str) -> set[str]:
    """
    The token and its parts, raw.
    """
    return {token, *token.split(".")}


async def test_f11_token_in_logs_and_exceptions(caplog: pytest.LogCaptureFixture) -> None:
    """
    Neither a token nor a part of it is in a log record, an event or an exception, refused or accepted.
    """
    fake = new_issuer()
    guarded = api(fake)
    good = fake.token(scope=SCOPE)
    refused = (
        forged(good),
        fake.token(scope=SCOPE, expires_in=-3600),
        fake.token(scope="x"),
        f"{good}=",
        good[:-9],
    )
    secrets = set().union(*map(parts_of, (good, *refused)))

    with caplog.at_level(logging.DEBUG):
        await guarded.accepts(good)
        for token in refused:
            assert (await guarded.send(token)).status in {401, 403}
        assert (await guarded.send(good, good)).status == 400

    told = "\n".join((*(repr(record.__dict__) for record in caplog.records), *map(repr, guarded.heard)))
    assert len(guarded.heard) > len(refused)
    assert not any(secret in told for secret in secrets)


async def test_f11_token_in_the_repr_of_what_holds_it() -> None:
    """
    What guardrail keeps of a token shows nothing of it, in depth.
    """
    fake, ran = new_issuer(), list[str]()
    kept: list[object] = []

    async def keep(request: Request) -> Response:
        ran.append("")
        kept.extend((current_operator(), current_operator().token, request.user, request.state._state))
        return JSONResponse({})

    guarded = guard([Route("/orders", package(fake).requires(SCOPE)(keep))], fake, ran)
    token = guarded.good()
    await guarded.accepts(token)

    told = repr((kept, guarded.app, vars(guarded.app)))
    assert not any(part in told for part in parts_of(token))


async def test_f12_ghsa_c2jp_c369_7pvx_token_passed_on() -> None:
    """
    The operator has the facts of the token and not the token, so that nothing can pass it on.
    """
    fake, ran, seen = new_issuer(), list[str](), list[Operator]()
    guarded = anonymous_or_not(fake, ran, seen)
    token = guarded.good()

    answer = await guarded.accepts(token)

    (operator,) = seen
    held = repr([getattr(operator, field.name) for field in dataclasses.fields(operator)]) + str(operator)
    assert not any(part in held for part in parts_of(token))
    assert not any(part in repr(answer) for part in parts_of(token))
    assert not any(part in url for part in parts_of(token) for url in guarded.outgoing)


async def test_f12_errors_hold_no_token() -> None:
    """
    No exception that an application can catch of guardrail's has the token in it.
    """
    fake, caught = new_issuer(), list[BaseException]()
    ran: list[str] = []

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(GuardrailError) as info:
            await undecided(scope, receive, send)
        caught.append(info.value)
        ran.append("")
        await PlainTextResponse("")(scope, receive, send)

    undecided: Callable[..., Any] = package(fake, name="other").requires()(endpoint([]))

    guarded = guard(outer, fake, ran, prefixes={"/orders": package(fake).requires(SCOPE)})
    token = guarded.good()
    await send(guarded.app, scope_of(headers=[bearer(token)]))

    (error,) = caught
    assert isinstance(error, MiddlewareMissingError)
    assert not any(part in repr((error, vars(error), error.args)) for part in parts_of(token))
    assert octets_of(claims_of()) not in repr(error).encode()
