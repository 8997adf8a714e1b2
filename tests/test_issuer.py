"""
Issuers: which authorization servers can be trusted, how far, and what a wrong setting is told.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from guardrail import ClientRegistration, Fetching, Issuer
from guardrail._issuer import (
    DEFAULT_ALGORITHMS,
    MAX_LEEWAY,
    PROFILES,
    SUPPORTED_ALGORITHMS,
    WARM_UPS,
    issuers,
)
from guardrail._urls import is_loopback
from guardrail.errors import PolicyError

URL = "https://login.example.com"
KEYS: dict[str, Any] = {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}


def issuer(url: Any = URL, **settings: Any) -> Issuer:
    """
    An issuer of values that a type checker would refuse.
    """
    return Issuer(url, **settings)


def test_defaults_are_those_of_the_contract() -> None:
    """
    A bare URL means discovery, asymmetric algorithms, the default profile and thirty seconds of leeway.
    """
    made = Issuer(URL)

    assert (made.url, made.jwks_uri, made.keys, made.http_client) == (URL, None, None, None)
    assert made.algorithms == ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519") == DEFAULT_ALGORITHMS
    assert (made.profile, made.leeway, made.insecure_allow_http) == ("default", 30.0, False)
    assert (made.token_types, made.accepted_token_types) == (None, None)
    assert (made.fetching, made.warm_up, made.required) == (Fetching(), "background", True)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://login.example.com", id="https"),
        pytest.param("https://login.example.com/", id="slash"),
        pytest.param("https://login.example.com/tenant/v2.0", id="path"),
        pytest.param("https://login.example.com:8443", id="port"),
        pytest.param("https://192.0.2.1", id="address"),
        pytest.param("https://[2001:db8::1]:8443/x", id="IPv6 address"),
        pytest.param("https://xn--bcher-kva.example", id="internationalized"),
        pytest.param("http://localhost", id="localhost"),
        pytest.param("http://localhost:8080/x", id="localhost with a port"),
        pytest.param("http://LOCALHOST", id="localhost in capitals"),
        pytest.param("http://127.0.0.1:8080", id="loopback address"),
        pytest.param("http://127.8.9.10", id="another loopback address"),
        pytest.param("http://[::1]:8080", id="IPv6 loopback address"),
    ],
)
def test_url_we_would_fetch_from_is_accepted(url: str) -> None:
    """
    An issuer is an https URL, or a plain one of this machine, and is kept as it was written (R94).
    """
    made = Issuer(url)

    assert made.url == url


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://login.example.com", id="plain http"),
        pytest.param("http://10.0.0.1", id="plain http, private address"),
        pytest.param("http://0.0.0.0", id="plain http, any address"),
        pytest.param("http://localhost.example.com", id="a host that begins like loopback"),
        pytest.param("http://127.0.0.1.example.com", id="a host that begins like a loopback address"),
        pytest.param("http://example.com#@localhost", id="loopback in the fragment"),
        pytest.param("http://localhost@example.com", id="loopback as user information"),
        pytest.param("http://127.1", id="a short address"),
        pytest.param("http://2130706433", id="a decimal address"),
        pytest.param("http://[::2]", id="another IPv6 address"),
        pytest.param("https://user@login.example.com", id="user"),
        pytest.param("https://user:pass@login.example.com", id="user and password"),
        pytest.param("https://@login.example.com", id="empty user information"),
        pytest.param("https://login.example.com?x=1", id="query"),
        pytest.param("https://login.example.com/?", id="empty query"),
        pytest.param("https://login.example.com#x", id="fragment"),
        pytest.param("https://login.example.com/#", id="empty fragment"),
        pytest.param("ftp://login.example.com", id="ftp"),
        pytest.param("file:///etc/keys", id="file"),
        pytest.param("data:application/json,{}", id="data"),
        pytest.param("ws://localhost", id="ws"),
        pytest.param("login.example.com", id="no scheme"),
        pytest.param("//login.example.com", id="scheme-relative"),
        pytest.param("https:login.example.com", id="no slashes"),
        pytest.param("https://", id="no host"),
        pytest.param("https:///path", id="no host and a path"),
        pytest.param("https://:443", id="port and no host"),
        pytest.param("https://login.example.com:port", id="port that is no number"),
        pytest.param("https://login.example.com:99999", id="port out of range"),
        pytest.param("https://[::1", id="bracket not closed"),
        pytest.param("https://login.example.com\n", id="line feed after"),
        pytest.param(" https://login.example.com", id="space before"),
        pytest.param("https://login.example.com/a b", id="space inside"),
        pytest.param("https://login.example\t.com", id="tab inside"),
        pytest.param("https://login.example.com/\x00", id="NUL"),
        pytest.param("https://bücher.example", id="non-ASCII host"),
        pytest.param("https://login.example.com/é", id="non-ASCII path"),
        pytest.param("https://good.example\\.evil.example", id="backslash"),
        pytest.param("https://{tenant}.example.com", id="a template"),
        pytest.param("https://login.example.com/{tenant}", id="a template in the path"),
        pytest.param("https://*.example.com", id="a wildcard"),
        pytest.param("https://login.example.com/<x>", id="angle brackets"),
        pytest.param('https://login.example.com/"', id="quote"),
        pytest.param("https://login.example.com/^", id="circumflex"),
        pytest.param("https://login.example.com/|", id="bar"),
        pytest.param("https://login.example.com/`", id="backtick"),
        pytest.param("URN:example:issuer", id="urn in capitals"),
        pytest.param("", id="empty"),
        pytest.param(None, id="None"),
        pytest.param(1, id="number"),
        pytest.param(b"https://login.example.com", id="bytes"),
        pytest.param([URL], id="list"),
    ],
)
def test_url_we_would_not_fetch_from_is_refused(url: object) -> None:
    """
    Anything else is refused where it is written, and the right form is named (R94, R95, D6, D8).
    """
    with pytest.raises(PolicyError, match=r"https://login\.example\.com|no query and no fragment"):
        issuer(url)


def test_insecure_allow_http_accepts_plain_http() -> None:
    """
    Plain http elsewhere than on this machine takes a word that sounds like what it is.
    """
    made = Issuer("http://login.internal", jwks_uri="http://keys.internal", insecure_allow_http=True)

    assert made.url == "http://login.internal"
    with pytest.raises(PolicyError, match="insecure_allow_http=True"):
        Issuer("http://login.internal")


@pytest.mark.parametrize(
    "url", ["file:///etc/keys", "ftp://login.internal", "http://user@login.internal", "http://"]
)
def test_insecure_allow_http_accepts_nothing_else(url: str) -> None:
    """
    The permission is for plain http and for no other scheme or form.
    """
    with pytest.raises(PolicyError):
        Issuer(url, insecure_allow_http=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("126.255.255.255", False),
        ("::2", False),
        ("0.0.0.0", False),
        ("localhost.", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback_hosts_are_this_machine(host: str, expected: bool) -> None:
    """
    Loopback is `localhost`, 127.0.0.0/8 and ::1, without asking a resolver.
    """
    assert is_loopback(host) is expected


def test_jwks_uri_may_be_on_another_host() -> None:
    """
    Where the keys are is configuration, and may have a query.
    """
    made = Issuer(URL, jwks_uri="https://keys.example.net/jwks?v=1")

    assert made.jwks_uri == "https://keys.example.net/jwks?v=1"


@pytest.mark.parametrize(
    "jwks_uri",
    [
        "http://keys.example.net",
        "file:///keys",
        "/keys",
        "",
        "https://u:p@keys.example.net",
        1,
        b"https://keys.example.net",
    ],
)
def test_jwks_uri_we_would_not_fetch_is_refused(jwks_uri: object) -> None:
    """
    Keys come from an https URL, like the issuer's own.
    """
    with pytest.raises(PolicyError, match="jwks_uri must be an https URL"):
        issuer(jwks_uri=jwks_uri)


def test_keys_and_jwks_uri_together_are_refused() -> None:
    """
    Keys are in hand or fetched; both would leave open which count.
    """
    with pytest.raises(PolicyError, match="not both"):
        Issuer(URL, keys=KEYS, jwks_uri="https://keys.example.net")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"keys": KEYS}, id="keys"),
        pytest.param({"jwks_uri": "https://keys.example.net"}, id="jwks_uri"),
    ],
)
def test_urn_with_known_keys_is_accepted(settings: dict[str, Any]) -> None:
    """
    A URN names an issuer that cannot be discovered and need not be.
    """
    made = issuer("urn:example:issuer", **settings)

    assert made.url == "urn:example:issuer"


def test_urn_without_keys_is_refused() -> None:
    """
    There is nowhere to look for the keys of a URN.
    """
    with pytest.raises(PolicyError, match="give it jwks_uri= or keys="):
        Issuer("urn:example:issuer")


def test_urn_with_a_bad_jwks_uri_is_refused() -> None:
    """
    A URN excuses nothing about where its keys come from.
    """
    with pytest.raises(PolicyError, match="jwks_uri must be an https URL"):
        Issuer("urn:example:issuer", jwks_uri="http://keys.example.net")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("urn:example:issuer#part", id="fragment: the operator's key would be ambiguous"),
        pytest.param("urn:example:issuer?x=1", id="query"),
        pytest.param("urn:example:two words", id="space"),
        pytest.param("urn:example:issuer\n", id="line feed"),
        pytest.param("urn:example:\x1b[31m", id="control character"),
        pytest.param("urn:example:é", id="non-ASCII"),
        pytest.param("urn:", id="nothing after the scheme"),
    ],
)
def test_urn_that_is_no_name_is_refused(url: str) -> None:
    """
    A URN is held to what any issuer is: printable ASCII, no query, no fragment (RFC 8414 §2, C13).
    """
    with pytest.raises(PolicyError):
        Issuer(url, keys=KEYS)


@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
def test_each_supported_algorithm_can_be_configured(algorithm: str) -> None:
    """
    Every asymmetric algorithm we verify can be the only one (R64, R70).
    """
    made = Issuer(URL, algorithms=[algorithm])

    assert made.algorithms == (algorithm,)


@pytest.mark.parametrize(
    "algorithms",
    [
        pytest.param(["none"], id="none"),
        pytest.param(["None"], id="none in another case"),
        pytest.param(["HS256"], id="HS256"),
        pytest.param(["RS256", "HS256"], id="symmetric beside asymmetric"),
        pytest.param(["RS256", "none"], id="none beside asymmetric"),
        pytest.param(["rs256"], id="another case"),
        pytest.param(["RS256 "], id="trailing space"),
        pytest.param(["ES256K"], id="ES256K"),
        pytest.param(["Ed448"], id="Ed448"),
        pytest.param(["RSA-OAEP"], id="encryption"),
        pytest.param(["*"], id="anything"),
        pytest.param("RS256", id="a bare string"),
        pytest.param(b"RS256", id="bytes"),
        pytest.param([], id="none at all"),
        pytest.param([""], id="an empty name"),
        pytest.param([None], id="None inside"),
        pytest.param([256], id="a number inside"),
        pytest.param([["RS256"]], id="a list inside"),
        pytest.param(None, id="None"),
        pytest.param(256, id="a number"),
    ],
)
def test_other_algorithms_are_refused(algorithms: object) -> None:
    """
    `none`, symmetric and unknown algorithms cannot be configured, with or without others (R65, R69, A6).
    """
    with pytest.raises(PolicyError, match="RS256"):
        issuer(algorithms=algorithms)


def test_algorithms_may_be_any_iterable() -> None:
    """
    A generator or a set will do, and a repetition is one algorithm.
    """

    def several() -> Iterator[str]:
        yield from ("ES256", "RS256", "ES256")

    made = Issuer(URL, algorithms=several())

    assert made.algorithms == ("ES256", "RS256")


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_can_be_chosen(profile: str) -> None:
    """
    Each profile is known by name.
    """
    clients = [ClientRegistration("orders-batch")]  # which two of them cannot do without
    made = Issuer(f"{URL}/acme", profile=profile, clients=clients)

    assert made.profile == profile


@pytest.mark.parametrize("profile", ["", "Default", "../default", "azure", None, 1, ["default"]], ids=repr)
def test_other_profiles_are_refused(profile: object) -> None:
    """
    A profile is one of a list, never a path.
    """
    with pytest.raises(PolicyError, match="profile must be one of default, rfc9068"):
        issuer(profile=profile)


@pytest.mark.parametrize("warm_up", WARM_UPS)
def test_each_warm_up_can_be_chosen(warm_up: Any) -> None:
    """
    Startup may fetch in the background, wait, or leave it to the first request.
    """
    assert Issuer(URL, warm_up=warm_up).warm_up == warm_up
    assert WARM_UPS == ("background", "wait", "off")


@pytest.mark.parametrize("warm_up", ["", "Wait", "on", "background ", None, True, False, 0, ["wait"], b"off"])
def test_other_warm_ups_are_refused(warm_up: object) -> None:
    """
    The message lists what there is; "off" is a word, and False is not.
    """
    with pytest.raises(PolicyError, match="warm_up must be one of background, wait, off; got"):
        issuer(warm_up=warm_up)


@pytest.mark.parametrize("value", ["yes", 1, 0, None, "False"])
def test_required_is_a_boolean(value: object) -> None:
    """
    Whether readiness waits for an issuer is True or False, and nothing that is only like it.
    """
    assert [issuer(required=flag).required for flag in (True, False)] == [True, False]
    with pytest.raises(PolicyError, match="required must be True or False"):
        issuer(required=value)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"fetching": Fetching(lifetime=300.0)}, id="fetching"),
        pytest.param({"warm_up": "wait"}, id="warm-up"),
        pytest.param({"required": False}, id="required"),
    ],
)
def test_settings_of_fetching_make_another_issuer(settings: dict[str, Any]) -> None:
    """
    Issuers that are fetched, begun or counted differently are not equal, and share no keys.
    """
    one, same, other = Issuer(URL), Issuer(URL), issuer(**settings)

    assert one == same
    assert one != other
    assert hash(other) == hash(issuer(**settings))
    assert len({one, same, other}) == 2


@pytest.mark.parametrize("leeway", [0, 0.0, 0.5, 30, 299.9, MAX_LEEWAY], ids=repr)
def test_leeway_just_within_its_bounds_is_accepted(leeway: float) -> None:
    """
    From none to five minutes can be forgiven (R118, C10).
    """
    made = Issuer(URL, leeway=leeway)

    assert MAX_LEEWAY == 300.0
    assert made.leeway == leeway


@pytest.mark.parametrize(
    "leeway",
    [-0.001, -1, 300.001, 301, float("inf"), float("nan"), 10**400, True, False, None, "30", [30]],
    ids=repr,
)
def test_leeway_just_beyond_its_bounds_is_refused(leeway: object) -> None:
    """
    Nobody forgives more than five minutes, nor less than nothing, nor in another type.
    """
    with pytest.raises(PolicyError, match="leeway must be between 0 and 300 seconds"):
        issuer(leeway=leeway)


@pytest.mark.parametrize(
    ("token_types", "accepted"),
    [
        pytest.param(["at+jwt"], {"at+jwt"}, id="one"),
        pytest.param(["AT+JWT", "application/jwt"], {"at+jwt", "jwt"}, id="normalized"),
        pytest.param([None], {""}, id="absent alone"),
        pytest.param(("at+jwt", None), {"at+jwt", ""}, id="one and absent"),
    ],
)
def test_token_types_are_normalized(token_types: Any, accepted: set[str]) -> None:
    """
    Types are compared in one form, and None stands for an absent one (R104, C3).
    """
    made = Issuer(URL, token_types=token_types)

    assert made.accepted_token_types == frozenset(accepted)
    assert made.token_types == tuple(token_types)


@pytest.mark.parametrize(
    "token_types",
    [
        pytest.param("at+jwt", id="a bare string"),
        pytest.param(b"at+jwt", id="bytes"),
        pytest.param([], id="none at all"),
        pytest.param([""], id="an empty name"),
        pytest.param(["application/"], id="a name that is empty once normalized"),
        pytest.param(["at+jwt", 1], id="a number inside"),
        pytest.param([["at+jwt"]], id="a list inside"),
        pytest.param(1, id="a number"),
        pytest.param(True, id="a boolean"),
    ],
)
def test_other_token_types_are_refused(token_types: object) -> None:
    """
    An absent type is accepted by `None` alone, never by a name that comes to nothing.
    """
    with pytest.raises(PolicyError, match=r'such as \["at\+jwt", None\]'):
        issuer(token_types=token_types)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, id="empty"),
        pytest.param({"keys": None}, id="keys None"),
        pytest.param({"keys": "x"}, id="keys a string"),
        pytest.param({"keys": {}}, id="keys an object"),
        pytest.param({"keys": ()}, id="keys a tuple"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, id="one key and no set"),
        pytest.param([{"kty": "RSA"}], id="a list"),
        pytest.param("{}", id="JSON text"),
        pytest.param("", id="an empty string"),
        pytest.param(0, id="zero"),
    ],
)
def test_keys_that_are_no_jwk_set_are_refused(keys: object) -> None:
    """
    Keys in hand are a JWK Set, and never something falsy taken for none (A7, A19).
    """
    with pytest.raises(PolicyError, match="keys must be a JWK Set"):
        issuer(keys=keys)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="no keys"),
        pytest.param([{"kty": "oct", "k": "AAAA"}], id="a symmetric key"),
        pytest.param([{"kty": "AKP"}], id="an unknown type"),
        pytest.param([{"kty": "rsa"}], id="a type in another case"),
        pytest.param([{"kty": ["RSA"]}], id="a type in an array"),
        pytest.param([{}], id="no type"),
        pytest.param(["RSA", None, 1], id="no objects"),
    ],
)
def test_keys_without_a_public_key_are_refused(keys: list[object]) -> None:
    """
    A set in which nothing can ever verify is refused where it is written (A19, A20).
    """
    with pytest.raises(PolicyError, match="keys holds no public key"):
        issuer(keys={"keys": keys})


@pytest.mark.parametrize("key", [{"kty": "RSA"}, {"kty": "EC"}, {"kty": "OKP"}], ids=str)
def test_keys_with_a_public_key_are_kept(key: dict[str, str]) -> None:
    """
    One key that may verify is enough; the others are skipped later.
    """
    made = issuer(keys={"keys": [{"kty": "oct", "k": "AAAA"}, None, key]})

    assert made.keys is not None


@pytest.mark.parametrize("value", [1, 0, "yes", "", None, [True]], ids=repr)
def test_insecure_allow_http_is_a_boolean(value: object) -> None:
    """
    A dangerous setting is not switched on by something that is merely not empty.
    """
    with pytest.raises(PolicyError, match="insecure_allow_http must be True or False"):
        issuer(insecure_allow_http=value)


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(httpx.AsyncClient, id="the class"),
        pytest.param("httpx", id="a string"),
        pytest.param(object(), id="an object"),
        pytest.param(0, id="zero"),
    ],
)
def test_client_that_cannot_fetch_is_refused(client: object) -> None:
    """
    A client of another interface is found at construction and not at the first fetch.
    """
    with pytest.raises(PolicyError, match=r"http_client must be an httpx\.AsyncClient"):
        issuer(http_client=client)


def test_client_that_blocks_is_refused() -> None:
    """
    A synchronous client would block the event loop, and has another interface.
    """
    with httpx.Client() as client, pytest.raises(PolicyError, match=r"httpx\.AsyncClient"):
        issuer(http_client=client)


def test_keys_are_a_copy() -> None:
    """
    What the caller does with the keys later does not change whom we trust.
    """
    keys: dict[str, Any] = {"keys": [{"kty": "RSA", "kid": "a"}]}
    made = Issuer(URL, keys=keys)

    keys["keys"][0]["kid"] = "b"
    keys["keys"].append({"kty": "oct", "k": "AAAA"})

    assert made.keys == {"keys": [{"kty": "RSA", "kid": "a"}]}


def test_issuer_is_a_frozen_value() -> None:
    """
    Equal settings make equal issuers, which can be counted in a set; none can be changed.
    """
    one, same, other = (
        Issuer(URL, keys=KEYS),
        Issuer(URL, keys=KEYS),
        Issuer(URL, keys={"keys": [{"kty": "EC"}]}),
    )

    assert one == same
    assert one != other
    assert len({one, same, other}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.leeway = 0.0  # type: ignore[misc]  # what the test is about


def test_issuer_can_be_replaced_in_part() -> None:
    """
    A copy with another leeway keeps everything else.
    """
    made = Issuer(URL, algorithms=["ES256"], token_types=["at+jwt", None])

    changed = dataclasses.replace(made, leeway=5.0)

    assert dataclasses.replace(changed, leeway=30.0) == made
    assert changed.accepted_token_types == frozenset({"at+jwt", ""})


def test_http_client_of_its_own_makes_another_issuer() -> None:
    """
    Two issuers that are reached in different ways do not share a key set; the client is not shown.
    """
    client = httpx.AsyncClient()

    made = Issuer(URL, http_client=client)

    assert made == Issuer(URL, http_client=client)
    assert made != Issuer(URL)
    assert "http_client" not in repr(made)


def test_settings_after_the_url_are_keywords() -> None:
    """
    Only the URL may be written without its name.
    """
    with pytest.raises(TypeError):
        Issuer(URL, "https://keys.example.net")  # type: ignore[call-arg]  # what the test is about


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        pytest.param(URL, [URL], id="a URL"),
        pytest.param(Issuer(URL), [URL], id="an issuer"),
        pytest.param(
            [URL, Issuer("https://other.example.com")], [URL, "https://other.example.com"], id="several"
        ),
        pytest.param(iter([URL]), [URL], id="an iterator"),
    ],
)
def test_one_issuer_or_several_are_read(value: object, urls: list[str]) -> None:
    """
    A bare URL means an issuer with discovery; several keep their order.
    """
    read = issuers(value)

    assert [one.url for one in read] == urls


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([], id="none at all"),
        pytest.param("", id="an empty URL"),
        pytest.param([URL, ""], id="an empty URL among others"),
        pytest.param([URL, URL], id="one twice"),
        pytest.param([URL, Issuer(URL, leeway=0)], id="one twice, with other settings"),
        pytest.param(None, id="None"),
        pytest.param([None], id="None inside"),
        pytest.param(1, id="a number"),
        pytest.param(b"https://login.example.com", id="bytes"),
    ],
)
def test_other_issuers_are_refused(value: object) -> None:
    """
    There is no default issuer, and none counts twice (A28).
    """
    with pytest.raises(PolicyError, match="issuer"):
        issuers(value)
