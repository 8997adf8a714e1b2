"""
`guardrail.mcp.guard` in front of the official SDK, over real sockets: every request is decided on, sessions
belong to who opened them, and tools see the operator of their own message.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from guardrail import current_operator
from guardrail.testing import FakeIssuer

from .mcp_kit import RawClient, issuer_of, notes_of, opening, rpc, served

if not os.environ.get("CI"):
    pytest.importorskip("mcp")

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.request_state import authenticated_principal
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from guardrail.mcp import BoundEventStore, guard, principal_key

RESUMABLE = "2025-11-25"  # from here on the SDK begins streams with an event to resume from
PARTNER = "https://partner.example.org"
APP = "https://app.example.com"
# The SDK has an Origin check of its own on loopback, which is not what is tested here.
TO_THE_GUARD = TransportSecuritySettings(enable_dns_rebinding_protection=False)
TRANSPORTS = [
    pytest.param({}, id="sessions"),
    pytest.param({"json_response": True}, id="sessions, JSON"),
    pytest.param({"stateless_http": True}, id="stateless"),
]


def notes_server() -> MCPServer[Any]:
    """
    An MCP server of the official SDK whose tools say for whom they run.
    """
    server = MCPServer("notes", log_level="ERROR")
    inside: list[str] = []
    everybody = asyncio.Event()

    @server.tool()
    async def who(ctx: Context) -> dict[str, Any]:
        request = ctx.request_context.request
        assert request is not None
        return _seen() | {"on_request": request.state.operator.operator_id}

    @server.tool()
    async def meet(count: int) -> dict[str, Any]:
        inside.append(current_operator().subject)
        if len(inside) == count:
            everybody.set()
        await everybody.wait()
        return _seen()

    @server.tool()
    async def principal(ctx: Context) -> dict[str, Any]:
        of_the_sdk = authenticated_principal(ctx.request_context)
        return {"ours": principal_key(current_operator()), "of_the_sdk": of_the_sdk}

    @server.tool()
    def who_in_a_thread() -> dict[str, Any]:
        return _seen()

    @server.tool()
    async def fields(ctx: Context) -> list[str]:
        request = ctx.request_context.request
        assert request is not None
        return sorted(request.headers)

    @server.tool()
    def access() -> dict[str, Any]:
        token = get_access_token()
        assert token is not None
        return token.model_dump()

    return server


def _seen() -> dict[str, Any]:
    operator = current_operator()
    return {"operator": operator.operator_id, "scopes": sorted(operator.scopes)}


@dataclass(frozen=True)
class Notes:
    """
    A guarded MCP server on a socket, and its issuers.
    """

    url: str
    fake: FakeIssuer
    partner: FakeIssuer

    def client(self, **claims: Any) -> RawClient:
        """
        A client with a token of its own.
        """
        return RawClient(f"{self.url}/mcp", self.token(**claims))

    def token(self, *, issuer: FakeIssuer | None = None, scope: str = "notes:read", **claims: Any) -> str:
        """
        A token that the server takes, unless *claims* say otherwise.
        """
        return (issuer or self.fake).token(scope=scope, aud=claims.pop("aud", f"{self.url}/mcp"), **claims)


@contextmanager
def guarded(transport: dict[str, Any] | None = None, **settings: Any) -> Iterator[Notes]:
    """
    The server above, guarded and served.
    """
    issuers: list[FakeIssuer] = []

    def make(url: str) -> ASGIApp:
        issuers.extend((issuer_of(url), issuer_of(url, url=PARTNER)))
        requirement = notes_of(*issuers).requires("notes:read")
        app = notes_server().streamable_http_app(transport_security=TO_THE_GUARD, **(transport or {}))
        return guard(app, requirement, **settings)

    with served(make) as url:
        yield Notes(url, *issuers)


@pytest.fixture(scope="module")
def notes() -> Iterator[Notes]:
    """
    One server for the tests that need nothing of their own.
    """
    with guarded(allowed_origins=[APP]) as one:
        yield one


def test_a_server_that_was_interrupted_ends_no_streams_of_the_next_one() -> None:
    """
    Tests that interrupt a server leave the others their event streams.
    """
    uvicorn.Server(uvicorn.Config("")).handle_exit(signal.SIGTERM, None)

    with guarded() as notes, notes.client() as client:
        assert client.initialize().status_code == 200
        assert client.call("who")["operator"] == "https://login.example.com#alice"


# Every request is decided on (R231, R232, R239)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_no_request_of_a_session_is_served_without_a_token(notes: Notes, method: str) -> None:
    """
    A session ID alone gets 401 and what MCP clients need to find their authorization server.
    """
    with notes.client() as owner, RawClient(owner.url, None) as nobody:
        owner.initialize()
        nobody.session_id = owner.session_id
        answer = nobody.send(method, rpc("ping"))
        still = owner.send(method, rpc("ping"))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="notes", scope="notes:read", '
        f'resource_metadata="{notes.url}/.well-known/oauth-protected-resource/mcp"'
    )
    assert still.status_code == 200


@pytest.mark.parametrize(
    ("claims", "status", "error"),
    [
        pytest.param({}, 200, None, id="a good one"),
        pytest.param({"expires_in": -31}, 401, "invalid_token", id="expired"),
        pytest.param({"aud": "https://api.example.com/other"}, 401, "invalid_token", id="for another server"),
        pytest.param({"aud": None}, 401, "invalid_token", id="for no server"),
        pytest.param({"iss": "https://evil.example"}, 401, "invalid_token", id="of another issuer"),
        pytest.param({"scope": "notes:write"}, 403, "insufficient_scope", id="of another scope"),
    ],
)
def test_each_message_of_a_session_needs_a_good_token(
    notes: Notes, claims: dict[str, Any], status: int, error: str | None
) -> None:
    """
    A session that was opened with a good token does not make up for a later one.
    """
    with notes.client() as client:
        client.initialize()
        client.token = notes.token(**claims)
        answer = client.post(rpc("ping"))

    assert answer.status_code == status
    challenge = answer.headers.get("www-authenticate", "")
    assert (f'error="{error}"' in challenge) == (error is not None)
    assert ("resource_metadata=" in challenge) == (error is not None)


def test_a_missing_scope_is_named(notes: Notes) -> None:
    """
    403 tells a client which scope to ask for, and where (MCP, "Runtime Insufficient Scope Errors").
    """
    with notes.client(scope="notes:write") as client:
        answer = client.initialize()

    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="notes:read"' in answer.headers["www-authenticate"]
    assert f'resource_metadata="{notes.url}/.well-known' in answer.headers["www-authenticate"]


def test_two_authorization_fields_are_malformed(notes: Notes) -> None:
    """
    400: neither of two tokens is chosen.
    """
    fields = [("authorization", f"Bearer {notes.token()}")] * 2

    answer = httpx.post(f"{notes.url}/mcp", headers=fields, json=rpc("ping"))

    assert answer.status_code == 400


# Sessions belong to who opened them


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    ("claims", "status"),
    [
        pytest.param({"scope": "notes:read notes:write"}, 200, id="another token of the same principal"),
        pytest.param({"sub": "bob"}, 404, id="another user"),
        pytest.param({"client_id": "another-client"}, 404, id="another client"),
        pytest.param({"iss": PARTNER}, 404, id="the same name at another issuer"),
    ],
)
def test_nobody_continues_another_ones_session(
    notes: Notes, method: str, claims: dict[str, Any], status: int
) -> None:
    """
    A session ID is no credential: with a good token of somebody else it names no session.
    """
    issuer = notes.partner if claims.get("iss") == PARTNER else notes.fake
    with notes.client() as owner, notes.client(issuer=issuer, **claims) as other:
        owner.initialize()
        other.session_id = owner.session_id
        answer = other.send(method, rpc("ping"))
        still = owner.post(rpc("ping"))

    assert answer.status_code == status
    assert still.status_code == (404 if (method, status) == ("DELETE", 200) else 200)


def test_nobody_without_a_token_continues_a_session_in_shadow_mode() -> None:
    """
    Where nothing is enforced, who is served without an operator opens sessions, and continues no operator's.
    """
    with guarded(enforce=False) as notes, notes.client() as owner, notes.client(expires_in=-31) as nobody:
        owner.initialize()
        own = nobody.initialize().status_code
        nobody.session_id = owner.session_id
        others = nobody.post(rpc("ping")).status_code

    assert (own, others) == (200, 404)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(str.upper, id="in capitals"),
        pytest.param(lambda one: one[:-1], id="a beginning of it"),
        pytest.param(lambda one: f"{one}, {one}", id="twice"),
        pytest.param(lambda _: "0" * 32, id="never issued"),
        pytest.param(lambda _: "", id="empty"),
    ],
)
def test_what_is_nearly_a_session_is_none(notes: Notes, change: Callable[[str], str]) -> None:
    """
    Only the exact ID names a session, for its owner too.
    """
    with notes.client() as owner:
        owner.initialize()
        session_id = str(owner.session_id)
        owner.session_id = change(session_id)
        answer = owner.post(rpc("ping"))
        owner.session_id = session_id
        still = owner.post(rpc("ping"))

    assert (answer.status_code, still.status_code) == (404, 200)


@pytest.mark.parametrize(
    ("order", "status", "alice_has", "bob_has"),
    [
        pytest.param("alice bob", 404, 200, 200, id="hers first"),
        pytest.param("bob alice", 200, 200, 404, id="his first"),
    ],
)
def test_two_session_fields_end_nobody_elses_session(
    notes: Notes, order: str, status: int, alice_has: int, bob_has: int
) -> None:
    """
    Whose session is looked at for its owner is the session that is served.
    """
    with notes.client() as alice, notes.client(sub="bob") as bob:
        alice.initialize()
        bob.initialize()
        ids = {"alice": str(alice.session_id), "bob": str(bob.session_id)}
        fields = [("mcp-session-id", ids[name]) for name in order.split()]
        fields += [
            ("accept", "application/json, text/event-stream"),
            ("authorization", f"Bearer {bob.token}"),
        ]
        answer = bob.request("DELETE", fields, {})
        left = [client.post(rpc("ping")).status_code for client in (alice, bob)]

    assert answer.status_code == status
    assert left == [alice_has, bob_has]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_protocol_without_sessions_is_no_way_into_one(notes: Notes, method: str) -> None:
    """
    A later version in the field takes another road through the SDK, and that road knows no sessions.
    """
    with notes.client() as owner, notes.client(sub="bob") as other:
        owner.initialize()
        other.session_id = owner.session_id
        answer = other.send(method, rpc("ping"), **{"mcp-protocol-version": "2026-07-28"})
        still = owner.post(rpc("ping"))

    assert answer.status_code >= 400
    assert still.status_code == 200


def test_who_is_refused_takes_no_room() -> None:
    """
    Only who is let in opens sessions, so that nobody else can use them up.
    """
    with guarded({"max_sessions": 1}) as notes, notes.client() as owner:
        good, owner.token = owner.token, notes.token(expires_in=-31)
        refused = [owner.initialize().status_code for _ in range(3)]
        owner.token = good
        opened = owner.initialize().status_code
        owner.session_id = None
        one_too_many = owner.initialize().status_code

    assert refused == [401, 401, 401]
    assert (opened, one_too_many) == (200, 503)


def test_a_session_that_nobody_uses_ends() -> None:
    """
    What a session is bound to is kept no longer than the session.
    """
    with guarded({"session_idle_timeout": 1e-6}) as notes, notes.client() as owner:
        opened = owner.post(opening())
        owner.session_id = opened.headers["mcp-session-id"]
        later = [owner.post(rpc("ping")).status_code for _ in range(10)]

    assert opened.status_code == 200
    assert later[-1] == 404


def test_a_stream_ends_with_its_token_where_that_is_asked_for() -> None:
    """
    The stream of a session is one request for hours; ``stream_expiry="cut"`` gives it the token's lifetime.
    """
    now = 1_800_000_000.0
    with guarded(stream_expiry="cut", clock=lambda: now) as notes, notes.client() as owner:
        times: dict[str, Any] = {"iat": now - 60.0, "exp": now + 600.0}
        owner.token = notes.token(**times)
        assert owner.initialize().status_code == 200
        fields = {"accept": "text/event-stream", "mcp-session-id": str(owner.session_id)}
        fields["authorization"] = f"Bearer {notes.token(**times | {'exp': now + 0.1})}"

        stream = httpx.get(owner.url, headers=fields, timeout=10.0)  # returns when it ends

    assert (stream.status_code, stream.text) == (200, "")


# What is kept of streams belongs to who was sent it


class Kept(EventStore):
    """
    An event store as the SDK asks for: IDs that can be guessed, one store for all sessions.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        """
        Keep an event under the next number.
        """
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """
        Send what came later on the same stream.
        """
        if int(last_event_id) >= len(self.events):
            return None
        stream_id = self.events[int(last_event_id)][0]
        for number, (stream, message) in enumerate(self.events):
            if stream == stream_id and message is not None and number > int(last_event_id):
                await send_callback(EventMessage(message, str(number)))
        return stream_id


@pytest.mark.parametrize(
    ("claims", "is_read"),
    [
        pytest.param({"scope": "notes:read notes:write"}, True, id="another token of the same principal"),
        pytest.param({"sub": "bob"}, False, id="another user"),
        pytest.param({"client_id": "another-client"}, False, id="another client"),
    ],
)
def test_nobody_resumes_another_ones_stream(claims: dict[str, Any], is_read: bool) -> None:
    """
    An event ID is no credential, in a session of one's own either.
    """
    store = Kept()
    with (
        guarded({"event_store": BoundEventStore(store)}) as notes,
        notes.client() as owner,
        notes.client(**claims) as other,
    ):
        owner.initialize()
        owner.post(rpc("ping"), **{"mcp-protocol-version": RESUMABLE})
        first = next(number for number, (_, message) in enumerate(store.events) if message is None)
        other.initialize()
        read = beginning_of_stream(other, last_event_id=str(first))

    assert ('"result":{}' in read) is is_read


@pytest.mark.anyio
async def test_an_event_that_was_never_kept_is_nothing() -> None:
    """
    A made-up event ID names no stream.
    """
    sent: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        sent.append(event)

    store = BoundEventStore(Kept())
    kept = await store.store_event("stream", None)

    assert await store.replay_events_after(kept, send) == "stream"
    assert await store.replay_events_after("1000", send) is None
    assert sent == []


def beginning_of_stream(client: RawClient, *, last_event_id: str) -> str:
    """
    What a resumed stream begins with: its first events, or nothing if it ends.
    """
    fields = {"accept": "text/event-stream", "last-event-id": last_event_id}
    fields |= {"authorization": f"Bearer {client.token}", "mcp-session-id": str(client.session_id)}
    with httpx.stream("GET", client.url, headers=fields, timeout=10.0) as stream:
        return next(stream.iter_text(), "")


def test_sessions_of_the_older_transport_are_bound_as_well() -> None:
    """
    Where an SSE stream is the session, messages of others find none.
    """
    fakes: list[FakeIssuer] = []

    def make(url: str) -> ASGIApp:
        fakes.append(issuer_of(url))
        app = notes_server().sse_app(transport_security=TO_THE_GUARD)
        return guard(app, notes_of(*fakes).requires("notes:read"))

    with served(make) as url:
        alice, bob = (fakes[0].token(scope="notes:read", sub=user) for user in ("alice", "bob"))
        with httpx.stream("GET", f"{url}/sse", headers={"authorization": f"Bearer {alice}"}) as stream:
            events = stream.iter_text()
            path = next(events).partition("data: ")[2].split()[0]
            fields = [{"authorization": f"Bearer {token}"} for token in (bob, alice)]
            statuses = [
                httpx.post(f"{url}{path}", headers=one, json=rpc("ping")).status_code for one in fields
            ]

    assert statuses == [404, 202]


# Whom a tool runs for


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_tool_sees_the_operator_of_its_own_message(transport: dict[str, Any]) -> None:
    """
    Not that of the message that opened the session: a later token with less authority counts.
    """
    with guarded(transport) as notes, notes.client(scope="notes:read notes:write") as client:
        client.initialize()
        before = client.call("who")
        client.token = notes.token()
        after = client.call("who")
        in_a_thread = client.call("who_in_a_thread")

    assert before["scopes"] == ["notes:read", "notes:write"]
    assert after["scopes"] == in_a_thread["scopes"] == ["notes:read"]
    assert after["operator"] == after["on_request"] == "https://login.example.com#alice"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sessions_side_by_side_see_their_own_operators(transport: dict[str, Any]) -> None:
    """
    No session's tools see the operator of another, in whatever order their messages come.
    """
    users = ["alice", "bob", "carol"]
    with guarded(transport) as notes:
        clients = {user: notes.client(sub=user) for user in users}
        for client in clients.values():
            client.initialize()
        seen = [(user, clients[user].call("who")["operator"]) for user in users * 5]
        for client in clients.values():
            client.__exit__()

    assert seen == [(user, f"https://login.example.com#{user}") for user in users * 5]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tools_that_run_at_once_see_their_own_operators(transport: dict[str, Any]) -> None:
    """
    While each waits for the other, in sessions of their own and in one.
    """
    with (
        guarded(transport) as notes,
        notes.client() as alice,
        notes.client(scope="notes:read notes:write") as alice_again,
        notes.client(sub="bob") as bob,
        ThreadPoolExecutor() as pool,
    ):
        alice.initialize()
        bob.initialize()
        alice_again.session_id = alice.session_id
        calls = [pool.submit(client.call, "meet", count=3) for client in (alice, alice_again, bob)]
        seen = [call.result(timeout=10.0) for call in calls]

    alice_is, bob_is = "https://login.example.com#alice", "https://login.example.com#bob"
    assert [one["operator"] for one in seen] == [alice_is, alice_is, bob_is]
    assert [len(one["scopes"]) for one in seen] == [1, 2, 1]


def test_the_sdk_knows_the_caller_and_not_the_token(notes: Notes) -> None:
    """
    `get_access_token` has who, for which client, with which authority; the token stays outside.
    """
    with notes.client() as client:
        client.initialize()
        access = client.call("access")

    assert access["subject"] == "alice"
    assert access["client_id"] == "test-client"
    assert access["scopes"] == ["notes:read"]
    assert access["resource"] == f"{notes.url}/mcp"
    assert access["claims"]["iss"] == "https://login.example.com"
    assert access["expires_at"] == int(access["claims"]["exp"])
    assert access["token"].startswith("sha256:")
    assert str(client.token) not in str(access)


def test_the_token_itself_does_not_reach_the_server(notes: Notes) -> None:
    """
    What is not there cannot be passed on (R223, R234): the field ends at the guard.
    """
    with notes.client() as client:
        client.initialize()
        names = client.tool("fields")["result"]

    assert "mcp-session-id" in names
    assert "authorization" not in names


def test_the_sdk_binds_what_it_hands_out_to_the_same_principal(notes: Notes) -> None:
    """
    State of a server and state of the SDK belong to whom `principal_key` says.
    """
    with notes.client() as client:
        client.initialize()
        seen = client.call("principal")

    assert seen["ours"] == seen["of_the_sdk"] == '["test-client","https://login.example.com","alice"]'


# What browsers send


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="no browser"),
        pytest.param({"origin": APP}, 200, id="an allowed page"),
        pytest.param({"origin": "https://evil.example"}, 403, id="another page"),
        pytest.param({"origin": "http://app.example.com"}, 403, id="another scheme"),
        pytest.param({"origin": "https://app.example.com:8443"}, 403, id="another port"),
        pytest.param({"origin": "null"}, 403, id="a page without an origin"),
        pytest.param({"origin": ""}, 403, id="an empty one"),
    ],
)
def test_pages_of_other_origins_are_refused(
    notes: Notes, method: str, headers: dict[str, str], status: int
) -> None:
    """
    A page that a name was made to point here does not get in, token or not (MCP, Transports).
    """
    with notes.client() as client:
        client.initialize()
        answer = client.send(method, rpc("ping"), **headers)

    assert answer.status_code == status
