"""
The client's side of OAuth: where it sends a secret, what it believes, what it says of a refusal.
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from guardrail.cli._errors import UsageError
from guardrail.cli._oauth import http_client, request_token, token_endpoint

ISSUER = "https://login.example.com/tenant"
TOKEN = f"{ISSUER}/token"
SECRET = "a-secret-that-nobody-prints"

Answer = Callable[[httpx.Request], httpx.Response]


class Network:
    """
    An authorization server as far as a client sees it: its metadata, and one answer to every token request.
    """

    def __init__(self, *, metadata: object = None, answer: httpx.Response | Exception | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._metadata = metadata or {"issuer": ISSUER, "token_endpoint": TOKEN}
        self._answer = answer or httpx.Response(200, json={"access_token": "a.b.c", "token_type": "Bearer"})
        self.http = httpx.Client(transport=httpx.MockTransport(self._respond))

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method == "GET":
            return httpx.Response(200, json=self._metadata)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def token(self, **more: Any) -> str:
        """
        Ask for a token.
        """
        return request_token(self.http, ISSUER, client_id="batch", client_secret=SECRET, **more)

    def refusal(self, **more: Any) -> str:
        """
        Ask for a token, and get none; the message, which never holds the secret.
        """
        with pytest.raises(UsageError) as refused:
            self.token(**more)
        message = str(refused.value)
        assert SECRET not in message
        assert "\n" not in message
        return message


def _issuer_that_answers(answer: Answer) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def test_the_token_is_what_the_endpoint_answered() -> None:
    """
    The endpoint is discovered, and asked once, on the client credentials grant.
    """
    network = Network()

    token = network.token()

    assert token == "a.b.c"
    assert [str(request.url) for request in network.requests] == [
        "https://login.example.com/.well-known/oauth-authorization-server/tenant",
        TOKEN,
    ]
    assert network.requests[1].content == b"grant_type=client_credentials"


def test_scope_and_audience_are_sent_when_given() -> None:
    """
    What was asked for goes into the form, and nothing else.
    """
    network = Network()

    network.token(scope="orders:read orders:write", audience="https://api.example.com/orders")

    assert network.requests[1].content == (
        b"grant_type=client_credentials&scope=orders%3Aread+orders%3Awrite"
        b"&audience=https%3A%2F%2Fapi.example.com%2Forders"
    )


def test_credentials_are_encoded_before_they_are_joined() -> None:
    """
    A colon, a space or an umlaut in the secret does not break Basic authentication (RFC 6749 §2.3.1).
    """
    network = Network()

    request_token(network.http, ISSUER, client_id="a:b", client_secret="c d:ü")

    expected = httpx.BasicAuth("a%3Ab", "c+d%3A%C3%BC").auth_flow(httpx.Request("GET", ISSUER))
    assert network.requests[1].headers["authorization"] == next(expected).headers["authorization"]


def test_discovery_goes_on_to_openids_document() -> None:
    """
    An issuer that only has OpenID Connect's document is found.
    """
    document = {"issuer": ISSUER, "token_endpoint": TOKEN}

    def answer(request: httpx.Request) -> httpx.Response:
        is_there = request.url.path == "/tenant/.well-known/openid-configuration"
        return httpx.Response(200, json=document) if is_there else httpx.Response(404, text="nothing here")

    assert token_endpoint(_issuer_that_answers(answer), ISSUER) == TOKEN


def test_an_issuer_of_another_name_is_not_given_the_secret() -> None:
    """
    The issuer is compared exactly (RFC 8414 §3.3), and the message says how it spells itself.
    """
    network = Network(metadata={"issuer": f"{ISSUER}/", "token_endpoint": TOKEN})

    message = network.refusal()

    assert f"calls itself '{ISSUER}/'" in message
    assert {request.method for request in network.requests} == {"GET"}


def test_what_an_issuer_calls_itself_cannot_write_to_the_terminal() -> None:
    """
    Control characters of a foreign document are shown escaped, and a long name is cut.
    """
    message = Network(metadata={"issuer": "\x1b[2J" + "x" * 1000}).refusal()

    assert "\x1b" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(["a list"], id="no object"),
        pytest.param({"other": 1}, id="no issuer"),
        pytest.param({"issuer": ISSUER}, id="no endpoint"),
        pytest.param({"issuer": ISSUER, "token_endpoint": 7}, id="endpoint no string"),
    ],
)
def test_without_a_token_endpoint_there_is_nobody_to_ask(metadata: object) -> None:
    """
    Metadata without a token endpoint is no metadata.
    """
    assert "publishes no metadata" in Network(metadata=metadata).refusal()


@pytest.mark.parametrize(
    "endpoint", ["http://login.example.com/token", "ftp://login.example.com/token", "/token"]
)
def test_a_secret_goes_to_no_unprotected_endpoint(endpoint: str) -> None:
    """
    An endpoint off this machine must be https (RFC 6749 §3.2), whatever the metadata says.
    """
    network = Network(metadata={"issuer": ISSUER, "token_endpoint": endpoint})

    message = network.refusal()

    assert "its token endpoint must be an https URL" in message
    assert {request.method for request in network.requests} == {"GET"}


def test_plain_http_takes_an_option_that_says_so() -> None:
    """
    ``--insecure-allow-http`` is named where it is missing, and allows what was refused without it.
    """
    plain = {"issuer": ISSUER, "token_endpoint": "http://login.example.com/token"}

    assert "--insecure-allow-http" in Network(metadata=plain).refusal()
    assert Network(metadata=plain).token(insecure_allow_http=True) == "a.b.c"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        pytest.param("invalid_client", "the client ID or the client secret is wrong", id="invalid_client"),
        pytest.param("invalid_scope", "the client may not have this scope", id="invalid_scope"),
        pytest.param("invalid_target", "for this audience", id="invalid_target"),
        pytest.param("unauthorized_client", "client credentials grant", id="unauthorized_client"),
        pytest.param("invalid_request", "invalid_request", id="invalid_request"),
    ],
)
def test_a_refusal_names_its_code_and_what_it_means(error: str, hint: str) -> None:
    """
    The error code of RFC 6749 §5.2 is repeated, with what it means here.
    """
    message = Network(answer=httpx.Response(400, json={"error": error})).refusal()

    assert message.startswith(f"the issuer gave no token: {error}")
    assert message.endswith(hint)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(403, json={"error": SECRET}), id="a secret for an error"),
        pytest.param(httpx.Response(403, json={"error": "\x1b[2J"}), id="a control character"),
        pytest.param(httpx.Response(403, json={"error": 7}), id="a number for an error"),
        pytest.param(httpx.Response(403, json=[SECRET]), id="no object"),
        pytest.param(httpx.Response(403, text="<html>"), id="no JSON"),
        pytest.param(httpx.Response(403, json={"access_token": 7}), id="a number for a token"),
        pytest.param(httpx.Response(403, json={"access_token": "a\x1b[2J"}), id="a token that writes"),
        pytest.param(httpx.Response(403, json={"access_token": "a\nb"}), id="a token of two lines"),
    ],
)
def test_an_answer_that_is_none_is_told_by_its_status(answer: httpx.Response) -> None:
    """
    Nothing of an answer that is no OAuth answer is repeated.
    """
    message = Network(answer=answer).refusal()

    assert message == "the issuer gave no token: it answered with status 403"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(httpx.ConnectError("[Errno 111] Connection refused"), "refused", id="with a message"),
        pytest.param(httpx.ReadTimeout(""), "ReadTimeout", id="without one"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_named(failure: Exception, reason: str) -> None:
    """
    The message says what could not be reached, and why.
    """
    message = Network(answer=failure).refusal()

    assert TOKEN in message
    assert reason in message


def test_a_redirect_is_not_followed_with_a_secret() -> None:
    """
    The token endpoint cannot send the secret on to another host.
    """
    elsewhere = httpx.Response(307, headers={"location": "https://evil.example.com/"})
    with http_client() as http:
        assert not http.follow_redirects

    assert "status 307" in Network(answer=elsewhere).refusal()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """
    Behind a company's proxy the local issuer is still reached directly; others through the proxy.
    """
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with http_client() as http:
        direct = http._transport_for_url(httpx.URL(f"http://{host}:9000/token"))
        proxied = http._transport_for_url(httpx.URL("https://login.example.com/token"))

    assert direct is http._transport
    assert proxied is not http._transport
