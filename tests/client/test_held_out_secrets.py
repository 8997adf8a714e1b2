"""
The contract of outbound tokens: what is told, what never is, and taking tokens back.
"""

import asyncio
import base64
import dataclasses
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from guardrail.errors import GuardrailError, PolicyError, TokenUnavailableError

from .loopback import Answer, Party, Request, Scene, grant, refusal

pytestmark = pytest.mark.anyio

SECRET = "s3cret+of the:client"
REFRESH = "refresh-token-nobody-may-see"
SUBJECT = "subject-token-nobody-may-see"
TOKEN = "access-token-nobody-may-see"
ENCODED = base64.b64encode(b"orders-batch:s3cret%2Bof+the%3Aclient").decode()
KEY = {
    **ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True),
    "kid": "key-1",
    "alg": "ES256",
}
HIDDEN = (SECRET, REFRESH, SUBJECT, TOKEN, ENCODED, str(KEY["d"]), "s3cret")

CREDENTIALS: dict[str, dict[str, Any]] = {
    "basic": {"client_secret": SECRET},
    "post": {"client_secret": SECRET, "auth_method": "client_secret_post"},
    "jwt": {"client_assertion_key": KEY},
    "refresh": {"client_secret": SECRET, "refresh_token": REFRESH},
    "exchange": {"client_secret": lambda: SECRET, "subject_token": SUBJECT},
}


def echo(request: Request) -> Answer:
    """
    A server that says back whatever it was sent.
    """
    sent = f"{request.header('authorization')} {request.body.decode()} " + " ".join(
        v for _, v in request.form
    )
    return refusal(400, sent, error_description=f"you sent {sent}", error_uri=sent)


def echo_each(request: Request) -> Answer:
    """
    Likewise, beginning with the last parameter, so that what matters is within what is kept.
    """
    values = [value for _, value in request.form][::-1]
    credentials = request.header("authorization") or ""
    return refusal(401, "invalid_client", error_description=" ".join([credentials, *values]))


def page(request: Request) -> Answer:
    return Answer(200, request.body + (request.header("authorization") or "").encode())


def granting_rubbish(_request: Request) -> Answer:
    return grant(TOKEN, token_type="mac", refresh_token=REFRESH)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """
    All that anybody logs, at the lowest level.
    """
    with caplog.at_level(0):
        yield caplog


def shown(exc: BaseException | None) -> str:
    """
    An exception, whatever is chained to it, and the locals of our own frames.
    """
    if exc is None:
        return ""
    told = traceback.TracebackException.from_exception(exc, capture_locals=True)
    ours = [frame for frame in told.stack if "/guardrail/" in frame.filename]
    locals_ = " ".join(f"{frame.locals}" for frame in ours)
    chained = shown(exc.__cause__) + shown(exc.__context__)
    return f"{exc} {exc!r} {vars(exc)} {locals_} {chained}"


@pytest.mark.parametrize("answer", [echo, echo_each, page, granting_rubbish], ids=lambda one: one.__name__)
@pytest.mark.parametrize("arguments", CREDENTIALS.values(), ids=CREDENTIALS)
def test_secrets_are_in_no_failure(
    party: Party, everything_logged: pytest.LogCaptureFixture, arguments: dict[str, Any], answer: Any
) -> None:
    """
    Not in the exception, its attributes, its chain, the locals of its frames, the events and the log; even
    when the server says back what it was sent.
    """
    scene = Scene(party, answer, **arguments)
    with pytest.raises(TokenUnavailableError) as raised:
        scene.get()

    assertion = dict(party.token_requests[0].form).get("client_assertion", SECRET)
    everything = f"{shown(raised.value)} {scene.events} {everything_logged.text} {scene.profile!r}"
    for hidden in (*HIDDEN, assertion):
        assert hidden not in everything


def test_a_description_without_a_secret_is_kept(party: Party) -> None:
    """
    What a server says of its own is told, with a secret in play too.
    """
    scene = Scene(party, refusal(401, error_description="no such client: orders-batch"), client_secret=SECRET)
    with pytest.raises(TokenUnavailableError) as raised:
        scene.get()

    assert raised.value.error_description == "no such client: orders-batch"


def _raising() -> str:
    raise ValueError(f"the vault said: {SECRET}")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        pytest.param({"client_secret": _raising}, TokenUnavailableError, id="secret-raises"),
        pytest.param({"subject_token": _raising}, TokenUnavailableError, id="subject-raises"),
        pytest.param({"client_assertion_key": _raising}, TokenUnavailableError, id="key-raises"),
        pytest.param({"client_secret": SECRET.encode}, PolicyError, id="secret-bytes"),
        pytest.param({"client_secret": lambda: ""}, PolicyError, id="secret-empty"),
        pytest.param({"client_assertion_key": lambda: {"d": SECRET}}, PolicyError, id="key-no-key"),
        pytest.param({"subject_token": lambda: [SUBJECT]}, PolicyError, id="subject-list"),
    ],
)
def test_a_callable_that_fails(
    party: Party,
    everything_logged: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    kind: type[GuardrailError],
) -> None:
    """
    Nothing is sent, and what it raised or returned is not told.
    """
    scene = Scene(party, **arguments)
    with pytest.raises(GuardrailError) as raised:
        scene.get()

    assert type(raised.value) is kind
    assert party.got == []
    everything = f"{shown(raised.value)} {scene.events} {everything_logged.text}"
    for hidden in HIDDEN:
        assert hidden not in everything


def test_tokens_are_in_no_log(party: Party, everything_logged: pytest.LogCaptureFixture) -> None:
    """
    A whole life, with a listener that raises: nothing of it is in the log or the events.
    """

    def raising(_event: object) -> None:
        raise RuntimeError("the listener is broken")

    heard: list[object] = []
    scene = Scene(
        party,
        grant(TOKEN, refresh_token=REFRESH + "-2"),
        grant(TOKEN + "-2"),
        client_secret=SECRET,
        refresh_token=REFRESH,
        revocation_url=f"{party.origin}/revoke",
        on_event=[raising, heard.append],
    )
    scene.get()
    scene.profile.invalidate(TOKEN)
    scene.get()
    asyncio.run(scene.profile.revoke())

    assert len(heard) == 4
    assert "the listener is broken" in everything_logged.text
    for hidden in HIDDEN:
        assert hidden not in f"{heard} {everything_logged.text} {scene.profile!r} {vars(scene.profile)}"
    assert logging.getLogger("guardrail").level == 0


EVENTS: dict[str, dict[str, object]] = {
    "token_fetched": {"trigger": "missing", "lifetime": 60.0, "duration": 0.0},
    "lifetime_unknown": {},
    "refresh_token_rotated": {},
    "token_fetch_failed": {
        "trigger": "invalidated",
        "error": "http_5xx",
        "permanent": False,
        "retry_after": 200.0,
        "token_alive": False,
    },
    "token_rejected": {"host": "127.0.0.1", "retried": False, "reason": "fresh_token"},
    "circuit_opened": {},
    "circuit_closed": {},
    "token_revoked": {},
}


def test_events(party: Party) -> None:
    """
    Each event has its name and its fields, the client and the host of its tokens, and is frozen.
    """
    down = refusal(503, "x", ("Retry-After", "200"))
    scene = Scene(
        party,
        grant(expires_in=None, refresh_token="r2"),
        *[down] * 5,
        refresh_token="r1",
        revocation_url=f"{party.origin}/revoke",
    )
    party.api = lambda _request: Answer(401)
    scene.get()
    scene.profile.invalidate("token-1")
    for _ in range(5):
        with pytest.raises(TokenUnavailableError):
            scene.get()
        scene.now += 200.0
    scene.get()
    asyncio.run(scene.profile.revoke())

    first = {event.name.removeprefix("guardrail.client."): event for event in reversed(scene.events)}
    assert set(first) == set(EVENTS)
    for name, fields in EVENTS.items():
        event: Any = first[name]
        found = {one.name: getattr(event, one.name) for one in dataclasses.fields(event)}
        assert found == {"client_id": "orders-batch", "token_host": "127.0.0.1", **fields}
        with pytest.raises(AttributeError):
            event.client_id = "x"


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        pytest.param({"client_secret": "s"}, "Basic b3JkZXJzLWJhdGNoOnM=", id="basic"),
        pytest.param({"client_secret": "s", "auth_method": "client_secret_post"}, None, id="post"),
        pytest.param({"client_assertion_key": KEY}, None, id="jwt"),
        pytest.param({}, None, id="none"),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 503, 302])
def test_revocation(party: Party, arguments: dict[str, Any], header: str | None, status: int) -> None:
    """
    Both tokens are revoked, with the client's authentication, and forgotten whatever the answer.
    """
    scene = Scene(
        party,
        grant(refresh_token="r2"),
        *[refusal(status, "x", ("Location", "/other"))] * 2,
        refresh_token="r1",
        revocation_url=f"{party.origin}/revoke",
        **arguments,
    )
    scene.get()

    is_confirmed = asyncio.run(scene.profile.revoke())

    first, second = (request for request in party.token_requests if request.path == "/revoke")
    assert first.form[:2] == [("token", "r2"), ("token_type_hint", "refresh_token")]
    assert second.form[:2] == [("token", "token-1"), ("token_type_hint", "access_token")]
    assert (first.header("authorization"), second.header("authorization")) == (header, header)
    assert {name for name, _ in first.form[2:]} == {
        "basic": set[str](),
        "post": {"client_id", "client_secret"},
        "jwt": {"client_id", "client_assertion_type", "client_assertion"},
        "none": {"client_id"},
    }[
        "basic"
        if header
        else "jwt"
        if "client_assertion_key" in arguments
        else "post"
        if arguments
        else "none"
    ]
    assert is_confirmed is (status == 200)
    assert len(scene.named("token_revoked")) == (status == 200)
    with pytest.raises(TokenUnavailableError) as raised:
        scene.get()
    assert raised.value.permanent is True
    assert len(party.token_requests) == 3


def test_client_credentials_go_on_after_a_revocation(party: Party) -> None:
    """
    The access token is revoked alone, and the next request gets another.
    """
    scene = Scene(party, revocation_url=f"{party.origin}/revoke")
    scene.get()
    asyncio.run(scene.profile.revoke())
    party.answers[:] = [grant("token-2")]
    scene.get()

    revoked = [dict(one.form)["token"] for one in party.token_requests if one.path == "/revoke"]
    assert revoked == ["token-1"]
    assert [one.token for one in party.calls] == ["token-1", "token-2"]


async def test_without_a_revocation_endpoint(party: Party) -> None:
    """
    It is a policy error, and the token is kept.
    """
    scene = Scene(party)
    await scene.profile.token()
    with pytest.raises(PolicyError, match="revocation_url"):
        await scene.profile.revoke()
    await scene.profile.token()

    assert len(party.token_requests) == 1


async def test_one_profile_serves_clients_of_both_kinds(party: Party) -> None:
    """
    The same object is the auth of many clients, and of single requests.
    """
    scene = Scene(party)
    await asyncio.to_thread(scene.get)
    async with httpx.AsyncClient(base_url=party.origin) as client:
        await client.get("/api", auth=scene.profile)
        async with client.stream("GET", "/api", auth=scene.profile) as response:
            assert await response.aread() == b""

    assert [one.token for one in party.calls] == ["token-1"] * 3
    assert len(party.token_requests) == 1
