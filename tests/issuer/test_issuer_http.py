"""
Bodies and queries of the embedded issuer: media types and bounds. Nothing ends in a 5xx.
"""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from .builders import SECRET, SERVICE, URL, WEB, an_issuer, authorization_parameters, connect

FORM = "application/x-www-form-urlencoded"
GOOD = f"grant_type=client_credentials&client_id=orders-service&client_secret={SECRET}".replace(" ", "+")

anyio = pytest.mark.anyio


async def post(content: bytes, *, media_type: str | None = FORM) -> httpx.Response:
    """
    Post a body to the token endpoint of a fresh issuer.
    """
    headers = {"Content-Type": media_type} if media_type else {}
    async with connect(an_issuer(SERVICE)) as http:
        return await http.post("/token", content=content, headers=headers)


def a_query(*, length: int) -> str:
    """
    Build the query of a good authorization request with a state that fills it up to a length.
    """
    query = str(httpx.QueryParams(authorization_parameters(state=None))) + "&state="
    return query + "x" * (length - len(query))


@anyio
@pytest.mark.parametrize(
    "media_type",
    [
        pytest.param(FORM, id="plain"),
        pytest.param(f"{FORM}; charset=UTF-8", id="with a parameter"),
        pytest.param(FORM.upper(), id="upper case"),
    ],
)
async def test_form_is_read(media_type: str) -> None:
    """The form media type is recognized however it is written."""
    response = await post(GOOD.encode(), media_type=media_type)

    assert response.status_code == 200


@anyio
@pytest.mark.parametrize(
    "media_type",
    [
        pytest.param("application/json", id="JSON"),
        pytest.param("multipart/form-data; boundary=x", id="multipart"),
        pytest.param("text/plain", id="text"),
        pytest.param(None, id="none"),
    ],
)
async def test_other_media_type_is_refused(media_type: str | None) -> None:
    """A body that is no form is refused, whatever is in it."""
    response = await post(GOOD.encode(), media_type=media_type)

    assert (response.status_code, response.json()["error"]) == (415, "invalid_request")


@anyio
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD.encode() + b"&scope=orders:read&scope=orders:read", id="one parameter twice"),
        pytest.param(GOOD.encode() + b"&scope=&scope=orders:read", id="twice, once empty"),
        pytest.param(GOOD.encode() + b"&scope=%ff", id="not UTF-8 within"),
        pytest.param(GOOD.encode() + b"&scope=\xff", id="not UTF-8"),
        pytest.param(GOOD.encode() + b"&x=1" * 100, id="too many parameters"),
    ],
)
async def test_form_that_cannot_be_parsed_is_refused(content: bytes) -> None:
    """A form with a repeated parameter, other bytes than UTF-8 or too many parameters is refused."""
    response = await post(content)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@anyio
async def test_empty_parameter_counts_as_omitted() -> None:
    """A parameter without a value is as good as none."""
    response = await post(GOOD.encode() + b"&scope=&audience")

    assert response.json()["scope"] == "orders:read orders:write"


@anyio
async def test_empty_body_has_no_parameters() -> None:
    """A token request without a body names no client."""
    response = await post(b"", media_type=None)

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


@anyio
async def test_largest_body_is_read() -> None:
    """A body of just 64 KiB is read."""
    padding = b"&x=" + b"x" * (64 * 1024 - len(GOOD) - 3)

    response = await post(GOOD.encode() + padding)

    assert response.status_code == 200


@anyio
async def test_larger_body_is_refused() -> None:
    """A body of one byte more is refused."""
    padding = b"&x=" + b"x" * (64 * 1024 - len(GOOD) - 2)

    response = await post(GOOD.encode() + padding)

    assert (response.status_code, response.json()["error"]) == (413, "invalid_request")


@anyio
async def test_endless_body_is_not_read_to_its_end() -> None:
    """A body without a length is counted as it comes, and left when it is too large."""
    chunks = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal chunks
        while chunks < 1000:
            chunks += 1
            yield b"x" * 1024

    async with connect(an_issuer(SERVICE)) as http:
        response = await http.post("/token", content=body(), headers={"Content-Type": FORM})

    assert response.status_code == 413
    assert chunks < 100


@anyio
async def test_body_that_ends_early_is_refused() -> None:
    """A client that goes away within its body causes no error."""
    sent: list[Message] = []
    scope: Scope = {"type": "http", "method": "POST", "path": "/token", "headers": [], "client": None}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await an_issuer(SERVICE)(scope, receive, send)

    assert sent[0]["status"] == 400


@anyio
async def test_longest_query_is_read() -> None:
    """A query of just 8 KiB is read."""
    async with connect(an_issuer(WEB)) as http:
        response = await http.get(f"/authorize?{a_query(length=8 * 1024)}")

    assert response.status_code == 200


@anyio
async def test_longer_query_is_refused() -> None:
    """A query of one byte more is refused on a page."""
    async with connect(an_issuer(WEB)) as http:
        response = await http.get(f"/authorize?{a_query(length=8 * 1024 + 1)}")

    assert response.status_code == 414


@anyio
async def test_lifespan_is_served() -> None:
    """A server that sends lifespan events gets its answers."""
    sent: list[Message] = []
    events: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return events.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await an_issuer()({"type": "lifespan"}, receive, send)

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


NAMES = [
    *("grant_type", "client_id", "client_secret", "scope", "code", "code_verifier", "refresh_token"),
    *("audience", "redirect_uri", "response_type", "code_challenge", "state", "request_id", "decision"),
]
VALUES = ["client_credentials", "authorization_code", "refresh_token", "orders-service", "web", SECRET]


def status_of(request: httpx.Request) -> int:
    """
    Send one request to an issuer, and return the status; an error of the application is raised.
    """

    async def send() -> int:
        async with connect(an_issuer(SERVICE, WEB)) as http:
            return (await http.send(request)).status_code

    return asyncio.run(send())


@settings(max_examples=50, deadline=None)
@given(
    path=st.sampled_from(["/token", "/authorize", "/rotate"]),
    parameters=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(max_size=20)), max_size=8
    ),
    authorization=st.binary(max_size=30),
)
def test_no_form_causes_a_server_error(
    path: str, parameters: list[tuple[str, str]], authorization: bytes
) -> None:
    """No form and no Authorization header ends in a 5xx."""
    content = urlencode(parameters).encode()
    headers = [(b"content-type", FORM.encode()), (b"authorization", b"Basic " + authorization)]

    status = status_of(
        httpx.Request("POST", f"http://127.0.0.1:9000{path}", content=content, headers=headers)
    )

    assert status < 500


@settings(max_examples=50, deadline=None)
@given(body=st.binary(max_size=200), query=st.text(alphabet="&=%+;abc019 ", max_size=100))
def test_no_bytes_cause_a_server_error(body: bytes, query: str) -> None:
    """No bytes in body or query end in a 5xx."""
    posted = httpx.Request("POST", f"{URL}/token", content=body, headers={"Content-Type": FORM})
    asked = httpx.Request("GET", f"{URL}/authorize?{query}")

    assert status_of(posted) < 500
    assert status_of(asked) < 500
