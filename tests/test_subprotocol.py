"""
A token in ``Sec-WebSocket-Protocol``, for browsers: off unless wanted, and never seen by the application.
"""

from typing import Any

import pytest
from road_kit import connect, handshake, new_issuer, package_of
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket

from guardrail import GuardrailMiddleware
from guardrail._subprotocol import take_token
from guardrail.errors import PolicyError
from guardrail.events import Event, TokenRefused
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

PREFIX = "bearer."


def feed_of(
    fake: FakeIssuer,
    seen: list[Any],
    *,
    prefix: str | None = PREFIX,
    events: list[Event] | None = None,
) -> ASGIApp:
    """
    A feed that notes what it sees of a handshake.
    """

    @package_of(fake).requires("orders:read")
    async def feed(websocket: WebSocket) -> None:
        seen.append((websocket.user.subject, websocket.scope["subprotocols"], dict(websocket.headers)))
        await websocket.accept(subprotocol="chat.v1")

    listeners = [] if events is None else [events.append]
    return GuardrailMiddleware(
        Starlette(routes=[WebSocketRoute("/feed", feed)]),
        websocket_token_protocol=prefix,
        on_event=listeners,
    )


async def test_a_browsers_token_is_taken_from_its_subprotocols() -> None:
    """
    The handshake is accepted for the token's operator; the application sees the other subprotocols alone.
    """
    fake, seen = new_issuer(), list[Any]()
    token = fake.token(scope="orders:read")

    sent = await connect(feed_of(fake, seen), handshake("/feed", "chat.v1", PREFIX + token, "chat.v0"))

    assert sent[0] == {"type": "websocket.accept", "subprotocol": "chat.v1", "headers": []}
    assert seen == [("alice", ["chat.v1", "chat.v0"], {"sec-websocket-protocol": "chat.v1, chat.v0"})]


async def test_an_offer_of_the_token_alone_leaves_none() -> None:
    """
    The field is gone, since an empty one would be malformed.
    """
    fake, seen = new_issuer(), list[Any]()

    await connect(feed_of(fake, seen), handshake("/feed", PREFIX + fake.token(scope="orders:read")))

    assert seen == [("alice", [], {})]


@pytest.mark.parametrize(
    ("protocols", "fields", "code"),
    [
        pytest.param(["chat.v1"], [], "missing_token", id="no token"),
        pytest.param(["Bearer.{good}"], [], "missing_token", id="another prefix"),
        pytest.param(["bearer.{bad}"], [], "bad_signature", id="a forged one"),
        pytest.param(["bearer."], [], "authorization_malformed", id="an empty one"),
        pytest.param(["bearer.{good}", "bearer.{good}"], [], "authorization_repeated", id="two"),
        pytest.param(
            ["bearer.{good}"], [(b"authorization", b"Bearer {good}")], "authorization_repeated", id="both"
        ),
        pytest.param(
            ["bearer.{good}"], [(b"authorization", b"Basic YQ==")], "authorization_repeated", id="basic"
        ),
    ],
)
async def test_what_is_not_one_good_token_is_refused(
    protocols: list[str], fields: list[tuple[bytes, bytes]], code: str
) -> None:
    """
    One token, in one place, whichever it is (RFC 6750 §2); the application does not run.
    """
    fake, seen, events = new_issuer(), list[Any](), list[Event]()
    good = fake.token(scope="orders:read")
    tokens = {"good": good, "bad": good[:-8] + "AAAAAAAA"}
    offered = [one.format(**tokens) for one in protocols]
    headers = [(name, value.replace(b"{good}", good.encode())) for name, value in fields]

    sent = await connect(feed_of(fake, seen, events=events), handshake("/feed", *offered, headers=headers))

    assert seen == []
    assert sent[0]["type"] == "websocket.http.response.start"
    assert [event.code for event in events if isinstance(event, TokenRefused)] == [code]


async def test_it_is_off_unless_it_is_wanted() -> None:
    """
    Without the setting a subprotocol is a subprotocol, and the handshake has no token.
    """
    fake, seen, events = new_issuer(), list[Any](), list[Event]()
    scope = handshake("/feed", PREFIX + fake.token(scope="orders:read"))

    await connect(feed_of(fake, seen, prefix=None, events=events), scope)

    assert seen == []
    assert [event.code for event in events if isinstance(event, TokenRefused)] == ["missing_token"]


async def test_an_authorization_field_still_does() -> None:
    """
    Clients that can send it need not do as browsers do.
    """
    fake, seen = new_issuer(), list[Any]()
    field = (b"authorization", f"Bearer {fake.token(scope='orders:read')}".encode())

    await connect(feed_of(fake, seen), handshake("/feed", "chat.v1", headers=[field]))

    assert [subject for subject, *_ in seen] == ["alice"]


def test_several_fields_are_read_as_one() -> None:
    """
    RFC 6455 §11.3.4: the field may be there several times, in any case, with spaces or without.
    """
    scope: Scope = {
        "type": "websocket",
        "headers": [
            (b"Sec-WebSocket-Protocol", b"chat.v1,bearer.abc"),
            (b"x", b"y"),
            (b"sec-websocket-protocol", b" chat.v0 "),
        ],
    }

    judged, served = take_token(scope, PREFIX)

    assert served["headers"] == [(b"x", b"y"), (b"sec-websocket-protocol", b"chat.v1, chat.v0")]
    assert judged["headers"] == [*served["headers"], (b"authorization", b"Bearer abc")]
    assert served["subprotocols"] == ["chat.v1", "chat.v0"]


def test_a_server_may_keep_the_field_to_itself() -> None:
    """
    uvicorn on wsproto puts the subprotocols into the scope and leaves the field out of the headers.
    """
    scope: Scope = {"type": "websocket", "headers": [], "subprotocols": ["chat.v1", "bearer.abc"]}

    judged, served = take_token(scope, PREFIX)

    assert (b"authorization", b"Bearer abc") in judged["headers"]
    assert served["subprotocols"] == ["chat.v1"]
    assert b"bearer.abc" not in b"".join(value for _, value in served["headers"])


def test_a_token_stands_once_where_a_server_puts_it_in_both_places() -> None:
    """
    The field and the scope's list are two views of the same offer; two offers are still two.
    """
    once: Scope = {
        "type": "websocket",
        "headers": [(b"sec-websocket-protocol", b"bearer.abc")],
        "subprotocols": ["bearer.abc"],
    }
    twice: Scope = {"type": "websocket", "headers": [], "subprotocols": ["bearer.abc", "bearer.abc"]}

    counts = [
        [name for name, _ in take_token(scope, PREFIX)[0]["headers"]].count(b"authorization")
        for scope in (once, twice)
    ]

    assert counts == [1, 2]


@pytest.mark.parametrize(
    ("kind", "prefix", "field"),
    [
        pytest.param("http", PREFIX, b"bearer.abc", id="no handshake"),
        pytest.param("websocket", PREFIX, b"chat.v1", id="no token"),
        pytest.param("websocket", PREFIX, b"xbearer.abc", id="not at the beginning"),
    ],
)
def test_without_a_token_the_scope_is_as_it_was(kind: str, prefix: str, field: bytes) -> None:
    """
    The very object, not a copy.
    """
    scope: Scope = {"type": kind, "headers": [(b"sec-websocket-protocol", field)]}

    judged, served = take_token(scope, prefix)

    assert judged is served is scope


@pytest.mark.parametrize("prefix", ["", "a b", "bearer,", "é", 7, b"bearer."])
def test_what_begins_no_subprotocol_is_refused_at_construction(prefix: Any) -> None:
    """
    An empty one would make a token of every subprotocol.
    """
    with pytest.raises(PolicyError, match="websocket_token_protocol must begin a subprotocol name"):
        feed_of(new_issuer(), [], prefix=prefix)
