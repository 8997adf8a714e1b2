"""
Issuer metadata, the pure half: the URLs to ask, and what is believed of an answer.
"""

from typing import Any

import pytest

from guardrail._discovery import Endpoints, metadata_urls, read_endpoints, read_metadata

ISSUER = "https://login.example.com/tenant"
JWKS_URI = "https://keys.example.net/jwks.json?v=1"


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        pytest.param(
            "https://login.example.com",
            (
                "https://login.example.com/.well-known/oauth-authorization-server",
                "https://login.example.com/.well-known/openid-configuration",
            ),
            id="no path: RFC 8414's two forms of OpenID's name are one",
        ),
        pytest.param(
            "https://login.example.com/",
            (
                "https://login.example.com/.well-known/oauth-authorization-server",
                "https://login.example.com/.well-known/openid-configuration",
            ),
            id="slash after the host",
        ),
        pytest.param(
            "https://login.example.com/tenant",
            (
                "https://login.example.com/.well-known/oauth-authorization-server/tenant",
                "https://login.example.com/tenant/.well-known/openid-configuration",
                "https://login.example.com/.well-known/openid-configuration/tenant",
            ),
            id="path",
        ),
        pytest.param(
            "https://login.example.com/a/b/",
            (
                "https://login.example.com/.well-known/oauth-authorization-server/a/b",
                "https://login.example.com/a/b/.well-known/openid-configuration",
                "https://login.example.com/.well-known/openid-configuration/a/b",
            ),
            id="longer path, slash at the end",
        ),
        pytest.param(
            "http://127.0.0.1:8080/x",
            (
                "http://127.0.0.1:8080/.well-known/oauth-authorization-server/x",
                "http://127.0.0.1:8080/x/.well-known/openid-configuration",
                "http://127.0.0.1:8080/.well-known/openid-configuration/x",
            ),
            id="loopback with a port",
        ),
        pytest.param(
            "https://[::1]:8443",
            (
                "https://[::1]:8443/.well-known/oauth-authorization-server",
                "https://[::1]:8443/.well-known/openid-configuration",
            ),
            id="IPv6",
        ),
    ],
)
def test_metadata_is_asked_for_in_order(issuer: str, urls: tuple[str, ...]) -> None:
    """
    RFC 8414 goes before OpenID Connect, and that before RFC 8414's other form; none twice (R92, R93).
    """
    candidates = metadata_urls(issuer)

    assert candidates == urls


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"issuer": ISSUER, "jwks_uri": JWKS_URI}, id="only what is needed"),
        pytest.param(
            {"issuer": ISSUER, "jwks_uri": JWKS_URI, "token_endpoint": "file:///x", "x": [1]}, id="more"
        ),
    ],
)
def test_jwks_uri_of_the_issuer_is_taken(document: dict[str, Any]) -> None:
    """
    The issuer vouches for the location of its keys, which may be another host; the rest is not looked at.
    """
    jwks_uri = read_metadata(document, issuer=ISSUER, insecure_allow_http=False)

    assert jwks_uri == JWKS_URI


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param(ISSUER + "/", id="a slash more"),
        pytest.param("https://login.example.com", id="a prefix"),
        pytest.param(ISSUER + "2", id="a suffix"),
        pytest.param("https://LOGIN.example.com/tenant", id="another case"),
        pytest.param("https://login.example.com:443/tenant", id="the default port"),
        pytest.param("https://login.example.com/%74enant", id="percent-encoding"),
        pytest.param("http://login.example.com/tenant", id="another scheme"),
        pytest.param("https://evil.example", id="another issuer"),
        pytest.param([ISSUER], id="an array"),
        pytest.param("", id="empty"),
        pytest.param(None, id="null"),
    ],
)
def test_metadata_of_another_issuer_is_refused(issuer: object) -> None:
    """
    An issuer that is not identical to the configured one makes the document worthless (R91, D7).
    """
    with pytest.raises(ValueError, match="names another issuer"):
        read_metadata({"issuer": issuer, "jwks_uri": JWKS_URI}, issuer=ISSUER, insecure_allow_http=False)


def test_metadata_without_an_issuer_is_refused() -> None:
    """
    A document that does not say whose it is, is nobody's.
    """
    with pytest.raises(ValueError, match="names another issuer"):
        read_metadata({"jwks_uri": JWKS_URI}, issuer=ISSUER, insecure_allow_http=False)


@pytest.mark.parametrize("document", [None, [], "x", 1, [{"issuer": ISSUER}]], ids=repr)
def test_metadata_that_is_no_object_is_refused(document: object) -> None:
    """
    Metadata is a JSON object.
    """
    with pytest.raises(ValueError, match="not a JSON object"):
        read_metadata(document, issuer=ISSUER, insecure_allow_http=False)


@pytest.mark.parametrize(
    "jwks_uri",
    [
        pytest.param("http://keys.example.net/jwks", id="plain http"),
        pytest.param("file:///etc/keys.json", id="file"),
        pytest.param("data:application/json,{}", id="data"),
        pytest.param("ftp://keys.example.net/jwks", id="ftp"),
        pytest.param("//keys.example.net/jwks", id="no scheme"),
        pytest.param("/jwks", id="relative"),
        pytest.param("https://", id="no host"),
        pytest.param("https://user:pass@keys.example.net/", id="user information"),
        pytest.param("https://keys.example.net:port/", id="impossible port"),
        pytest.param("https://keys.example.net/\r\nHost: evil", id="line break"),
        pytest.param("", id="empty"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param([JWKS_URI], id="array"),
        pytest.param({"url": JWKS_URI}, id="object"),
    ],
)
def test_metadata_without_an_acceptable_jwks_uri_is_refused(jwks_uri: object) -> None:
    """
    Keys are fetched over https from an absolute URL, or not at all (R94, R95, A14).
    """
    with pytest.raises(ValueError, match="no acceptable jwks_uri"):
        read_metadata({"issuer": ISSUER, "jwks_uri": jwks_uri}, issuer=ISSUER, insecure_allow_http=False)


def test_metadata_without_a_jwks_uri_is_refused() -> None:
    """
    Metadata that says nothing of keys is of no use here.
    """
    with pytest.raises(ValueError, match="no acceptable jwks_uri"):
        read_metadata({"issuer": ISSUER}, issuer=ISSUER, insecure_allow_http=False)


@pytest.mark.parametrize(
    ("issuer", "jwks_uri", "insecure_allow_http"),
    [
        pytest.param(
            "http://127.0.0.1:9000", "http://127.0.0.1:9000/jwks", False, id="an issuer on this machine"
        ),
        pytest.param("http://localhost", "http://[::1]/jwks", False, id="another name of this machine"),
        pytest.param("http://127.0.0.1:9000", JWKS_URI, False, id="keys elsewhere over https"),
        pytest.param("http://login.internal", "http://keys.internal", True, id="by choice"),
        pytest.param(ISSUER, "http://keys.internal", True, id="by choice, issuer over https"),
        pytest.param(ISSUER, "HTTPS://keys.example.net", False, id="https in capitals"),
    ],
)
def test_plain_http_is_taken_from_loopback_or_by_choice(
    issuer: str, jwks_uri: str, insecure_allow_http: bool
) -> None:
    """
    Plain http is for an issuer on this machine, and for those who say so.
    """
    document = {"issuer": issuer, "jwks_uri": jwks_uri}

    taken = read_metadata(document, issuer=issuer, insecure_allow_http=insecure_allow_http)

    assert taken == jwks_uri


@pytest.mark.parametrize(
    "issuer", [pytest.param(ISSUER, id="https"), pytest.param("HTTPS://login.example.com", id="HTTPS")]
)
@pytest.mark.parametrize("jwks_uri", ["http://127.0.0.1:9000/jwks", "http://localhost/jwks", "HTTP://[::1]"])
def test_issuer_elsewhere_cannot_point_at_this_machine(issuer: str, jwks_uri: str) -> None:
    """
    What an https issuer publishes never sends us to a plain port of our own host (R94, R95).
    """
    document = {"issuer": issuer, "jwks_uri": jwks_uri}

    with pytest.raises(ValueError, match="jwks_uri"):
        read_metadata(document, issuer=issuer, insecure_allow_http=False)


# Endpoints, for documentation

AUTHORIZE = f"{ISSUER}/authorize"
TOKEN = "https://tokens.example.net/token?v=2"
CODE = frozenset({"authorization_code"})
ENDPOINTS = [
    pytest.param(
        {"authorization_endpoint": AUTHORIZE, "token_endpoint": TOKEN, "grant_types_supported": [*CODE]},
        Endpoints(AUTHORIZE, TOKEN, CODE),
        id="all",
    ),
    pytest.param({}, Endpoints(None, None, CODE | {"implicit"}), id="nothing: the default grant types"),
    pytest.param(
        {"grant_types_supported": "all"}, Endpoints(None, None, frozenset()), id="grant types: text"
    ),
    pytest.param(
        {"grant_types_supported": [1, *CODE, None]},
        Endpoints(None, None, CODE),
        id="grant types: not all text",
    ),
    *(
        pytest.param(
            {"authorization_endpoint": url, "token_endpoint": url},
            Endpoints(None, None, CODE | {"implicit"}),
            id=f"unacceptable: {url!r}",
        )
        for url in (
            "javascript:alert(1)",
            "/token",
            "http://login.example.com/",
            "http://127.0.0.1/",
            1,
            None,
        )
    ),
]


@pytest.mark.parametrize(("document", "expected"), ENDPOINTS)
def test_endpoints_are_read_and_the_unacceptable_left_out(document: object, expected: Endpoints) -> None:
    """
    What a browser could run, and what is not https, is not taken; nothing of it is an error.
    """
    found = read_endpoints(document, issuer=ISSUER, insecure_allow_http=False)

    assert found == expected


@pytest.mark.parametrize(
    ("issuer", "insecure_allow_http"),
    [
        pytest.param("http://127.0.0.1:9000", False, id="an issuer on this machine"),
        pytest.param("http://login.internal", True, id="by choice"),
    ],
)
def test_endpoints_are_plain_http_where_the_issuer_is(issuer: str, insecure_allow_http: bool) -> None:
    """
    The rule for them is the one for keys.
    """
    document = {"token_endpoint": f"{issuer}/token"}

    found = read_endpoints(document, issuer=issuer, insecure_allow_http=insecure_allow_http)

    assert found.token == f"{issuer}/token"


def test_endpoints_of_what_is_no_object_are_none() -> None:
    """
    Whatever the document is, there is an answer.
    """
    found = read_endpoints([], issuer=ISSUER, insecure_allow_http=False)

    assert (found.authorization, found.token) == (None, None)
