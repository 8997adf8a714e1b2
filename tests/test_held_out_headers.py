"""
Held out: header fields, alternatives, shadow mode and hooks, used to lead past the guard.

As in `test_held_out`, each row says what ran, and for whom.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from held_out_kit import (
    ORDERS,
    OURS,
    PARTNERS,
    STRANGER,
    THEIRS,
    Fields,
    Ran,
    bearer,
    request,
    send_request,
)
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Scope

from guardrail import GuardrailMiddleware, Issuer, ServicePackage, any_of, public
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

READ: Final = "orders:read"
read = ORDERS.requires(READ)


def one_route(ran: Ran, requirement: Any = read, **settings: Any) -> ASGIApp:
    """
    One endpoint for requests and WebSockets, and one that is public.
    """
    routes = [
        Route("/x", requirement(ran.http("x")), methods=["GET", "POST"]),
        WebSocketRoute("/feed", requirement(ran.socket("feed"))),
        Route("/open", public(ran.http("open"))),
    ]
    return GuardrailMiddleware(Starlette(routes=routes), **settings)


def good() -> str:
    """
    A token that is good for the route.
    """
    return OURS.token(scope=READ)


def key_of(fake: FakeIssuer) -> dict[str, Any]:
    """
    The public key that an issuer signs with.
    """
    keys: Any = fake.keys.jwks()["keys"]
    return dict(keys[0])


# The Authorization field, and what is beside it

A: Final = "authorization"
FIELDS: list[Any] = [
    ("plain", lambda t: ((A, f"Bearer {t}"),), 200),
    ("none", lambda _: (), 401),
    ("empty", lambda _: ((A, ""),), 401),
    ("spaces alone", lambda _: ((A, "  "),), 400),
    ("the scheme alone", lambda _: ((A, "Bearer"),), 400),
    ("the scheme and a space", lambda _: ((A, "Bearer "),), 400),
    ("the token alone", lambda t: ((A, t),), 401),
    ("small letters", lambda t: ((A, f"bearer {t}"),), 200),
    ("mixed letters", lambda t: ((A, f"bEARER {t}"),), 200),
    ("a field name in capitals", lambda t: (("AUTHORIZATION", f"Bearer {t}"),), 200),
    ("several spaces", lambda t: ((A, f"Bearer    {t}"),), 200),
    ("a tab", lambda t: ((A, f"Bearer\t{t}"),), 400),
    ("a space and a tab", lambda t: ((A, f"Bearer \t{t}"),), 400),
    ("a space behind", lambda t: ((A, f"Bearer {t} "),), 400),
    ("a line feed behind", lambda t: ((A, f"Bearer {t}\n"),), 400),
    ("a space in front", lambda t: ((A, f" Bearer {t}"),), 400),
    ("a comma", lambda t: ((A, f"Bearer {t},"),), 400),
    ("two in a list", lambda t: ((A, f"Bearer {t}, Bearer {t}"),), 400),
    ("behind another scheme", lambda t: ((A, f"Basic YTpi, Bearer {t}"),), 401),
    ("before another scheme", lambda t: ((A, f"Bearer {t}, Basic YTpi"),), 400),
    ("a parameter", lambda t: ((A, f"Bearer token={t}"),), 400),
    ("quotes", lambda t: ((A, f'Bearer "{t}"'),), 400),
    ("a colon", lambda t: ((A, f"Bearer: {t}"),), 400),
    ("no space", lambda t: ((A, f"Bearer{t}"),), 401),
    ("an equals sign", lambda t: ((A, f"Bearer={t}"),), 400),
    ("a hard space", lambda t: ((A, f"Bearer\xa0{t}"),), 400),
    ("a letter beyond ASCII", lambda t: ((A, f"Bearer {t}\xe9"),), 400),
    ("a NUL", lambda t: ((A, f"Bearer {t}\x00"),), 400),
    ("padding", lambda t: ((A, f"Bearer {t}="),), 401),
    ("an escape", lambda t: ((A, f"Bearer {t}%3D"),), 400),
    ("twice the scheme", lambda t: ((A, f"Bearer Bearer {t}"),), 400),
    ("another scheme", lambda t: ((A, f"DPoP {t}"),), 401),
    ("a scheme that begins so", lambda t: ((A, f"BearerX {t}"),), 401),
    ("too large", lambda _: ((A, "Bearer " + "a" * 16_378),), 400),
    ("as large as may be", lambda _: ((A, "Bearer " + "a" * 16_377),), 401),
    ("too large, of another scheme", lambda _: ((A, "Basic " + "a" * 20_000),), 400),
    ("twice the same", lambda t: ((A, f"Bearer {t}"), (A, f"Bearer {t}")), 400),
    ("a bad one first", lambda t: ((A, "Bearer x"), (A, f"Bearer {t}")), 400),
    ("a bad one last", lambda t: ((A, f"Bearer {t}"), (A, "Bearer x")), 400),
    ("an empty one first", lambda t: ((A, ""), (A, f"Bearer {t}")), 400),
    ("another scheme beside", lambda t: ((A, "Basic YTpi"), (A, f"Bearer {t}")), 400),
    ("in another case beside", lambda t: (("Authorization", f"Bearer {t}"), (A, "Bearer x")), 400),
    ("an underscore", lambda t: (("authorization_", f"Bearer {t}"),), 401),
    ("for a proxy", lambda t: (("proxy-authorization", f"Bearer {t}"),), 401),
    ("forwarded", lambda t: (("x-forwarded-authorization", f"Bearer {t}"),), 401),
    ("another field", lambda t: (("x-access-token", t), ("access_token", t)), 401),
    ("a cookie", lambda t: (("cookie", f"access_token={t}; token={t}; Authorization=Bearer {t}"),), 401),
    ("a subprotocol's field", lambda t: (("sec-websocket-protocol", f"bearer.{t}"),), 401),
    ("identities", lambda _: (("x-forwarded-user", "root"), ("x-user", "root"), ("x_operator", "root"),
                              ("remote-user", "root"), ("client-cert", "root")), 401),
    ("identities beside a token", lambda t: ((A, f"Bearer {t}"), ("x-forwarded-user", "root"),
                                             ("x-operator-id", "root"), ("x-scopes", "admin")), 200),
    ("what a proxy should drop", lambda t: ((A, f"Bearer {t}"), ("connection", "authorization")), 200),
    ("another method named", lambda _: (("x-http-method-override", "OPTIONS"), ("origin", "https://a.example"),
                                        ("access-control-request-method", "GET")), 401),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status"), [pytest.param(*row[1:], id=row[0]) for row in FIELDS])
async def test_one_token_in_one_field_or_nothing_runs(fields: Callable[[str], Fields], status: int) -> None:
    """
    A good token counts in one `Authorization` field of the scheme's own form, and nowhere else.
    """
    ran = Ran()

    answer = await send_request(one_route(ran), request("/x", fields=fields(good())))

    served = (["x"], ["alice"]) if status == 200 else ([], [])
    assert (answer.status, (ran.names, ran.operators)) == (status, served)
    assert len(answer.all("www-authenticate")) == (0 if status == 200 else 1)


QUERIES: list[Any] = [
    ("access_token={t}", False, 401),
    ("access_token={t}", True, 400),
    ("access%5Ftoken={t}", True, 400),
    ("%61ccess_%74oken=x", True, 400),
    ("a=1&access_token", True, 400),
    ("a=1;access_token=", True, 400),
    ("access_token=&access_token={t}", True, 400),
    ("access_token=", False, 401),
    ("Access_Token={t}", True, 200),
    ("my_access_token={t}", True, 200),
    ("access_token_hint={t}", True, 200),
    ("a=access_token", True, 200),
    ("a=%26access_token={t}", True, 200),
]


@pytest.mark.parametrize(("query", "has_field", "status"), QUERIES)
async def test_a_token_in_the_query_is_never_read(query: str, has_field: bool, status: int) -> None:
    """
    Alone it is no token; beside a header it is one too many, however its name is spelled.
    """
    ran, token = Ran(), good()
    scope = request("/x", query=query.format(t=token), fields=bearer(token) if has_field else ())

    answer = await send_request(one_route(ran), scope)

    assert (answer.status, ran.names) == (status, ["x"] if status == 200 else [])


@pytest.mark.parametrize("has_field", [False, True])
async def test_a_token_in_a_form_is_never_read(has_field: bool) -> None:
    """
    A body is the application's alone: with a header it is served, without one nobody reads it.
    """
    ran, token = Ran(), good()
    form = (("content-type", "application/x-www-form-urlencoded"),)
    scope = request("/x", method="POST", fields=(*form, *(bearer(token) if has_field else ())))

    answer = await send_request(one_route(ran), scope, f"access_token={token}".encode())

    assert (answer.status, ran.names) == ((200, ["x"]) if has_field else (401, []))


# WebSockets of browsers


P: Final = "sec-websocket-protocol"
PROTOCOLS: list[Any] = [
    ("a token", lambda t: ((P, f"bearer.{t}"),), 101),
    ("beside another", lambda t: ((P, f"chat, bearer.{t}"),), 101),
    ("in a field of its own", lambda t: ((P, "chat"), (P, f"bearer.{t}")), 101),
    ("empty elements", lambda t: ((P, f",, bearer.{t} ,"),), 101),
    ("a tab for a space", lambda t: ((P, f"chat,\tbearer.{t}"),), 101),
    ("none", lambda _: ((P, "chat"),), 401),
    ("the prefix alone", lambda _: ((P, "bearer."),), 400),
    ("the prefix alone, beside a token", lambda t: ((P, f"bearer., bearer.{t}"),), 400),
    ("two", lambda t: ((P, f"bearer.{t}, bearer.x"),), 400),
    ("the same twice", lambda t: ((P, f"bearer.{t}"), (P, f"bearer.{t}")), 400),
    ("and a header", lambda t: ((P, f"bearer.{t}"), *bearer(t)), 400),
    ("and a bad header", lambda t: ((P, f"bearer.{t}"), (A, "Basic YTpi")), 400),
    ("and an empty header", lambda t: ((P, f"bearer.{t}"), (A, "")), 400),
    ("none, and a header", lambda t: ((P, "chat"), *bearer(t)), 101),
    ("another case", lambda t: ((P, f"Bearer.{t}"),), 401),
    ("a space behind the prefix, as in a header", lambda t: ((P, f"bearer. {t}"),), 101),
    ("a tab behind the prefix", lambda t: ((P, f"bearer.\t{t}"),), 400),
    ("quotes", lambda t: ((P, f'"bearer.{t}"'),), 401),
    ("padding", lambda t: ((P, f"bearer.{t}="),), 401),
    ("a letter beyond ASCII", lambda t: ((P, f"bearer.{t}\xe9"),), 400),
    ("too large", lambda _: ((P, f"bearer.{'a' * 20_000}"),), 400),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status"), [pytest.param(*row[1:], id=row[0]) for row in PROTOCOLS])
async def test_one_token_in_the_subprotocols_or_nothing_runs(
    fields: Callable[[str], Fields], status: int
) -> None:
    """
    With ``websocket_token_protocol`` one offered subprotocol may be the token, and then it is the only one.
    """
    ran = Ran()
    app = one_route(ran, websocket_token_protocol="bearer.")

    answer = await send_request(app, request("/feed", kind="websocket", fields=fields(good())))

    assert (answer.status, ran.names) == (status, ["feed"] if status == 101 else [])


async def test_a_subprotocol_and_a_query_are_two_tokens() -> None:
    """
    What is said of a header holds for a subprotocol.
    """
    ran, token = Ran(), good()
    app = one_route(ran, websocket_token_protocol="bearer.")
    scope = request(
        "/feed", kind="websocket", fields=((P, f"bearer.{token}"),), query=f"access_token={token}"
    )

    answer = await send_request(app, scope)

    assert (answer.status, ran.names) == (400, [])


async def test_a_subprotocol_is_no_token_unless_it_is_set() -> None:
    """
    By default a WebSocket is authenticated by its header alone.
    """
    ran = Ran()

    answer = await send_request(
        one_route(ran), request("/feed", kind="websocket", fields=((P, f"bearer.{good()}"),))
    )

    assert (answer.status, ran.names) == (401, [])


# Where metadata is, whatever Host says


METADATA: Final = "/.well-known/oauth-protected-resource/orders"
SPOOFED: Final[Fields] = (
    ("host", "evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("forwarded", "host=evil.example"),
)


async def test_no_host_is_in_a_challenge() -> None:
    """
    A challenge names metadata of the configured resource.
    """
    answer = await send_request(one_route(Ran()), request("/x", fields=SPOOFED))

    assert f'resource_metadata="https://api.example.com{METADATA}"' in answer.all("www-authenticate")[0]
    assert "evil" not in str(answer)


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        pytest.param(METADATA, {}, 200, id="itself"),
        pytest.param(METADATA, {"method": "HEAD"}, 200, id="HEAD"),
        pytest.param(METADATA, {"method": "OPTIONS"}, 204, id="OPTIONS"),
        pytest.param(METADATA, {"method": "POST"}, 405, id="POST"),
        pytest.param(METADATA, {"kind": "websocket"}, 404, id="a socket"),
        pytest.param(METADATA, {"query": "x=1"}, 404, id="a query"),
        pytest.param(METADATA + "/", {}, 404, id="a slash"),
        pytest.param(METADATA + "/../orders", {}, 404, id="dots"),
        pytest.param(METADATA.upper(), {}, 404, id="another case"),
        pytest.param("/.well-known/oauth-protected-resource", {}, 404, id="another resource"),
        pytest.param("/.well-known/oauth-protected-resource/partners", {}, 404, id="a package of no route"),
    ],
)
async def test_metadata_is_at_one_path(path: str, more: dict[str, Any], status: int) -> None:
    """
    Metadata answers at its own path, says nothing that Host said, and runs nothing.
    """
    ran = Ran()

    answer = await send_request(one_route(ran), request(path, fields=SPOOFED, **more))

    assert (answer.status, ran.names, "evil" in str(answer)) == (status, [], False)


# Alternatives


ADMIN: Final = any_of(ORDERS.requires(READ, roles=["admin"]), PARTNERS.requires("feed", roles=["admin"]))
ALTERNATIVES: list[Any] = [
    ("ours", lambda: OURS.token(scope=READ, roles=["admin"]), 200, "orders"),
    ("theirs", lambda: THEIRS.token(scope="feed", roles=["admin"]), 200, "partners"),
    ("our role, their scope", lambda: OURS.token(scope="feed", roles=["admin"]), 403, "orders"),
    ("their role, our scope", lambda: THEIRS.token(scope=READ, roles=["admin"]), 403, "partners"),
    ("our scope, no role", lambda: OURS.token(scope=READ), 403, "orders"),
    ("both scopes, no role", lambda: THEIRS.token(scope=f"feed {READ}"), 403, "partners"),
    ("our issuer, their audience", lambda: OURS.token(
        scope="feed", roles=["admin"], aud=THEIRS.audience), 401, None),
    ("their issuer, our audience", lambda: THEIRS.token(
        scope=READ, roles=["admin"], aud=OURS.audience), 401, None),
    ("both audiences are ours", lambda: OURS.token(
        scope=f"feed {READ}", roles=["admin"], aud=[OURS.audience, THEIRS.audience]), 200, "orders"),
    ("theirs in ours' name", lambda: THEIRS.token(
        scope=READ, roles=["admin"], iss=OURS.url, aud=OURS.audience), 401, None),
    ("their key ID, our key", lambda: OURS.token(
        scope=READ, roles=["admin"], headers={"kid": key_of(THEIRS)["kid"]}), 401, None),
    ("both issuers", lambda: OURS.token(scope=READ, roles=["admin"], iss=[OURS.url, THEIRS.url]), 401, None),
    ("nobody's", lambda: STRANGER.token(scope=READ, roles=["admin"]), 401, None),
    ("expired", lambda: OURS.token(scope=READ, roles=["admin"], expires_in=-60), 401, None),
    ("none", lambda: None, 401, None),
    ("no token at all", lambda: "a b", 400, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("token", "status", "package"), [pytest.param(*row[1:], id=row[0]) for row in ALTERNATIVES]
)
async def test_a_token_is_held_against_each_package_as_a_whole(
    token: Callable[[], str | None], status: int, package: str | None
) -> None:
    """
    Scopes and roles of one package's token never complete the other's; a challenge names whom to ask.
    """
    ran, made = Ran(), token()

    scope = request("/x", fields=() if made is None else bearer(made))
    answer = await send_request(one_route(ran, ADMIN), scope)

    challenges = " ".join(answer.all("www-authenticate"))
    asked = [name for name in ("orders", "partners") if f'realm="{name}"' in challenges]
    expected = [] if status == 200 else ["orders", "partners"] if package is None else [package]
    assert (answer.status, ran.names, asked) == (status, ["x"] if status == 200 else [], expected)


async def test_issuers_that_share_a_key_id_do_not_share_keys() -> None:
    """
    Of two issuers with one key ID, each one's tokens are verified with its own key, whichever was seen first.
    """
    first, second = FakeIssuer(algorithm="EdDSA"), FakeIssuer("https://second.example.com", algorithm="EdDSA")
    kid = key_of(first)["kid"]
    second_keys = {"keys": [{**key_of(second), "kid": kid}]}
    both = ServicePackage(
        "both", issuer=[first.issuer, Issuer(second.url, keys=second_keys)], audience=first.audience
    )
    ran = Ran()
    app = one_route(ran, both.requires(READ))
    header = {"kid": kid}
    tokens = [
        first.token(scope=READ),
        second.token(scope=READ, headers=header),
        first.token(scope=READ, iss=second.url),
        second.token(scope=READ, headers=header, iss=first.url),
    ]

    statuses = [(await send_request(app, request("/x", fields=bearer(token)))).status for token in tokens * 2]

    assert statuses == [200, 200, 401, 401] * 2


# Which of several refusals it is


NOW: Final = 2_000_000_000.0
STEPS: list[Any] = [
    ("all of it", {}, 200),
    ("nothing else is right, and expired", {"expires_in": -60, "scope": "x", "roles": [], "acr": "0"}, 401),
    ("weak, and no scope, no role", {"scope": "x", "roles": [], "acr": "0"}, 401),
    ("too old, and no scope", {"scope": "x", "auth_time": NOW - 400}, 401),
    ("from the future", {"auth_time": NOW + 400}, 401),
    ("when is not said", {"auth_time": None}, 401),
    ("when is a text", {"auth_time": str(NOW)}, 401),
    ("how is a list", {"acr": ["mfa"]}, 401),
    ("no scope, no role", {"scope": "x", "roles": []}, 403),
    ("another role", {"roles": ["approvers", "Approver"]}, 403),
    ("a role in another claim", {"roles": None, "groups": ["approver"]}, 403),
    ("a role as a text", {"roles": "xapproverx"}, 403),
]


@pytest.mark.parametrize(("claims", "status"), [pytest.param(*row[1:], id=row[0]) for row in STEPS])
async def test_every_condition_of_a_route_counts(claims: dict[str, Any], status: int) -> None:
    """
    Authentication comes first (401), then scopes, then roles (403); one failing is enough.
    """
    ran = Ran()
    fake = FakeIssuer(algorithm="EdDSA", clock=lambda: NOW)
    package = ServicePackage("steps", issuer=fake.issuer, audience=fake.audience)
    strict = package.requires(READ, roles=["approver"], acr_values=["mfa"], max_age=300.0)
    standard: dict[str, Any] = {"scope": READ, "roles": ["approver"], "acr": "mfa", "auth_time": NOW}
    app = one_route(ran, strict, clock=lambda: NOW)

    answer = await send_request(app, request("/x", fields=bearer(fake.token(**(standard | claims)))))

    assert (answer.status, ran.names) == (status, ["x"] if status == 200 else [])


# Shadow mode


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("fields", "operator"),
    [
        pytest.param(lambda: bearer(good()), "alice", id="a good token"),
        pytest.param(lambda: bearer(OURS.token(scope="x")), "", id="too little"),
        pytest.param(lambda: bearer(STRANGER.token(scope=READ)), "", id="forged"),
        pytest.param(lambda: (*bearer(good()), *bearer(good())), "", id="two"),
        pytest.param(lambda: (), "", id="none"),
    ],
)
async def test_in_shadow_mode_a_failed_token_is_nobody(
    kind: str, fields: Callable[[], Fields], operator: str
) -> None:
    """
    Everybody is served, and only a token that holds makes an operator.
    """
    ran = Ran()
    app = one_route(ran, enforce=False)

    await send_request(app, request("/x" if kind == "http" else "/feed", kind=kind, fields=fields()))

    assert ran.operators == [operator]


async def test_shadow_mode_opens_no_route_that_is_not_there() -> None:
    """
    Unknown paths, wrong methods and undeclared routes are as ever.
    """
    ran = Ran()
    app = one_route(ran, enforce=False)

    statuses = [(await send_request(app, request(path, method=method))).status
                for path, method in (("/y", "GET"), ("/x", "PUT"), ("/x", "OPTIONS"))]  # fmt: skip

    assert (statuses, ran.names) == ([404, 405, 405], [])


# Hooks that fail


def _raises(_: Any) -> Any:
    raise LookupError("of the hook")


_ENDLESS: dict[str, Any] = {}
_ENDLESS["of it"] = _ENDLESS

HOOKS: list[Any] = [
    ("raises", _raises),
    ("returns nothing", lambda _: None),
    ("returns a text", lambda _: "no"),
    ("returns a status", lambda _: (200, b"")),
    ("returns three", lambda _: ("text/plain", b"", 200)),
    ("a field in the media type", lambda _: ("text/html\r\nset-cookie: a=b", b"")),
    ("a line feed in the media type", lambda _: ("text/html\nx: y", b"")),
    ("a NUL in the media type", lambda _: ("text/html\x00", b"")),
    ("letters beyond ASCII in the media type", lambda _: ("text/h\u0442ml", b"")),
    ("a text as body", lambda _: ("text/plain", "no")),
    ("what is no JSON", lambda _: {"x": object()}),
    ("what has no end", lambda _: _ENDLESS),
    ("a response", lambda _: JSONResponse({}, 200)),
    ("a lone surrogate in the media type", lambda _: ("text/\ud800", b"")),
]  # fmt: skip


@pytest.mark.parametrize("hook", [pytest.param(row[1], id=row[0]) for row in HOOKS])
async def test_no_hook_makes_another_answer_of_a_refusal(hook: Callable[[Any], Any]) -> None:
    """
    Status, challenge and number of fields are those without the hook, and nothing runs.
    """
    ran = Ran()
    plain = await send_request(one_route(ran), request("/x"))

    answer = await send_request(one_route(ran, refusal_body=hook), request("/x"))

    assert (answer, ran.names) == (plain, [])
    assert answer.status == 401


async def test_a_hook_cannot_change_what_is_sent_through_the_scope() -> None:
    """
    The hook gets a scope of its own, without credentials.
    """
    seen: list[Scope] = []

    def hook(refusal: Any) -> Any:
        seen.append(dict(refusal.scope))
        refusal.scope.update(method="HEAD", type="websocket", path="/open")
        return {"ok": False}

    token = STRANGER.token()
    ran = Ran()
    scope = request(
        "/x", fields=(*bearer(token), ("cookie", token), ("Proxy-Authorization", token)), query=token
    )

    answer = await send_request(one_route(ran, refusal_body=hook), scope)

    assert (answer.status, json.loads(answer.body), ran.names) == (401, {"ok": False}, [])
    assert token not in str(seen)
