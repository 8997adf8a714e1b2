"""
RFC 7515: the compact form of a JWS, its header, and what is signed. With RFC 4648 and RFC 8259, which it
stands on.
"""

import datetime as dt
import json
from collections.abc import Callable

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from guardrail import Issuer

from .api import Api, issuer
from .tokens import (
    ABSENT,
    ISSUER,
    Members,
    claims_json,
    encode,
    header_json,
    join,
    jwk,
    private_key,
    raw_token,
    signer,
    token,
)

pytestmark = pytest.mark.anyio

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# Of two octets the last character has unused bits, of one octet too; of three it has none.
HEADER, CLAIMS = (encode(octets + b" " * (2 - len(octets) % 3)) for octets in (header_json(), claims_json()))


def loosened(part: str) -> str:
    """
    Another spelling of the same octets: one unused bit of the last character is set.
    """
    assert len(part) % 4
    return part[:-1] + ALPHABET[ALPHABET.index(part[-1]) + 1]


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda part: part + "=", id="padding"),
        pytest.param(lambda part: part + "==", id="more padding"),
        pytest.param(lambda part: part[:8] + "+" + part[9:], id="plus"),
        pytest.param(lambda part: part[:8] + "/" + part[9:], id="slash"),
        pytest.param(lambda part: part[:8] + "~" + part[9:], id="tilde"),
        pytest.param(lambda part: part[:8] + "=" + part[8:], id="padding inside"),
        pytest.param(lambda part: part[:8] + " " + part[8:], id="space"),
        pytest.param(lambda part: part[:8] + "\n" + part[8:], id="line break"),
        pytest.param(lambda part: part[:8] + "?" + part[8:], id="question mark"),
        pytest.param(lambda _: "", id="empty"),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2], ids=["header", "claims", "signature"])
async def test_r41_parts_are_unpadded_base64url(index: int, spell: Callable[[str], str]) -> None:
    """
    R41 (RFC 7515 §2, §5.2): No part may have padding, white space or a character of another alphabet.
    """
    api = Api()
    signed = join(HEADER, CLAIMS).decode().split(".")
    if index < 2:
        header, claims = (spell(part) if at == index else part for at, part in enumerate(signed[:2]))
        changed = join(header, claims)
    else:
        changed = ".".join((*signed[:2], spell(signed[2]))).encode()

    await api.accepts(".".join(signed).encode())
    # Octets that no token68 has are refused one step earlier.
    is_token68 = not set(changed) & set(b" \n?") and b"=." not in changed and b"=" not in changed[:-2]
    status, error = (401, "invalid_token") if is_token68 else (400, "invalid_request")
    await api.refuses(changed, status=status, error=error)


@pytest.mark.parametrize("index", [0, 1, 2], ids=["header", "claims", "signature"])
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(loosened, id="unused bits"),
        pytest.param(lambda part: part + "A" * ((1 - len(part)) % 4), id="impossible length"),
    ],
)
async def test_r42_one_token_has_one_spelling(index: int, spell: Callable[[str], str]) -> None:
    """
    R42 (RFC 4648 §3.5): Base64url that is not canonical is refused, even where the signature covers it.
    """
    api = Api()
    good = join(HEADER, CLAIMS).decode().split(".")
    if index < 2:
        header, claims = (spell(part) if at == index else part for at, part in enumerate(good[:2]))
        changed = join(header, claims)
    else:
        changed = ".".join((*good[:2], spell(good[2]))).encode()

    await api.accepts(".".join(good).encode())
    await api.refuses(changed, code="malformed_token")


OTHER_TEXTS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("UTF-16", lambda text: text.decode().encode("utf-16")),
    ("UTF-16 without a mark", lambda text: text.decode().encode("utf-16-le")),
    ("UTF-32", lambda text: text.decode().encode("utf-32")),
    ("byte order mark", lambda text: b"\xef\xbb\xbf" + text),
    ("Latin-1", lambda text: text[:-1] + b', "x": "\xe9"}'),
    ("overlong UTF-8", lambda text: text[:-1] + b', "x": "\xc0\xaf"}'),
    ("a surrogate in UTF-8", lambda text: text[:-1] + b', "x": "\xed\xa0\x80"}'),
    ("array", lambda text: b"[" + text + b"]"),
    ("string", lambda text: json.dumps(text.decode()).encode()),
    ("number", lambda _: b"1"),
    ("null", lambda _: b"null"),
    ("no JSON", lambda text: text.replace(b'"', b"'")),
    ("a comment", lambda text: text[:-1] + b"/**/}"),
    ("a trailing comma", lambda text: text[:-1] + b",}"),
]


@pytest.mark.parametrize("write", [pytest.param(write, id=name) for name, write in OTHER_TEXTS])
async def test_r43_header_and_claims_are_utf8_json_objects(write: Callable[[bytes], bytes]) -> None:
    """
    R43 (RFC 7515 §5.2, RFC 8725 §3.7): Another encoding or another JSON value is refused, though signed.
    """
    api = Api()

    await api.accepts(raw_token(header_json(), claims_json(name="Zoë")))
    await api.refuses(raw_token(write(header_json()), claims_json()), code="malformed_token")
    await api.refuses(raw_token(header_json(), write(claims_json())), code="malformed_token")


@pytest.mark.parametrize("extra", [b"{}", b"x", b"\0", b"}", b",", b"null", b"\x0b"])
async def test_r44_nothing_follows_the_json_text(extra: bytes) -> None:
    """
    R44 (RFC 7515 §10.12): Characters after the JSON text make the whole token invalid.
    """
    api = Api()

    await api.accepts(raw_token(header_json() + b"\n", claims_json() + b" "))
    await api.refuses(raw_token(header_json() + extra, claims_json()), code="malformed_token")
    await api.refuses(raw_token(header_json(), claims_json() + extra), code="malformed_token")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(b'"alg":"ES256",', id="the same value"),
        pytest.param(b'"alg":"none",', id="another value"),
        pytest.param(b'"\\u0061lg":"none",', id="an escaped name"),
        pytest.param(b'"kid":"other",', id="another parameter"),
        pytest.param(b'"x":1,"x":2,', id="a parameter nobody knows"),
        pytest.param(b'"x":{"y":1,"y":2},', id="inside a parameter"),
    ],
)
async def test_r45_header_parameters_stand_once(members: bytes) -> None:
    """
    R45 (RFC 7515 §4): A repeated name is refused, whichever of the two would win.
    """
    api, good = Api(), header_json()

    await api.accepts(raw_token(b'{"x":1,' + good[1:], claims_json()))
    await api.refuses(raw_token(b"{" + members + good[1:], claims_json()), code="malformed_token")


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"01", b"+1"])
async def test_r47_only_json_is_json(literal: bytes) -> None:
    """
    R47 (RFC 8259 §6): What Python's decoder takes beyond JSON is refused, at any depth.
    """
    api = Api()

    for value in (literal, b'{"deep": [' + literal + b"]}"):
        for good, bad in ((b"1e300", literal), (b'{"deep": [1]}', value)):
            await api.accepts(raw_token(header_json(), claims_json()[:-1] + b', "x": ' + good + b"}"))
            await api.refuses(
                raw_token(header_json(), claims_json()[:-1] + b', "x": ' + bad + b"}"),
                code="malformed_token",
            )


@pytest.mark.parametrize(
    "algorithm",
    [ABSENT, None, "", 256, True, ["ES256"], {"alg": "ES256"}, "es256", "ES256 ", " ES256", "ES256\0"],
)
async def test_r48_alg_is_one_exact_string(algorithm: object) -> None:
    """
    R48 (RFC 7515 §4.1.1): The algorithm is there, a string, and spelled as configured.
    """
    api = Api()

    await api.accepts(token())
    await api.refuses(token({"alg": algorithm}), code="algorithm_not_allowed")


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"crit": ["exp"], "exp": 1_900_000_000}, id="RFC 7515's own example"),
        pytest.param({"crit": ["http://example.com/x"], "http://example.com/x": True}, id="a URI"),
        pytest.param({"crit": ["b64"], "b64": True}, id="b64"),
        pytest.param({"crit": []}, id="empty"),
        pytest.param({"crit": None}, id="null"),
        pytest.param({"crit": "exp", "exp": 1}, id="string"),
        pytest.param({"crit": {"exp": 1}, "exp": 1}, id="object"),
        pytest.param({"crit": ["exp", "exp"], "exp": 1}, id="repeated"),
        pytest.param({"crit": [1]}, id="number inside"),
        pytest.param({"crit": ["alg"]}, id="a registered parameter"),
        pytest.param({"crit": ["absent"]}, id="one that is not there"),
        pytest.param({"crit": ["crit"]}, id="itself"),
    ],
)
async def test_r49_r50_critical_extensions_are_refused(parameters: Members) -> None:
    """
    R49, R50 (RFC 7515 §4.1.11, §5.2): No extension is implemented, so that any *crit* refuses the token,
    well-formed or not; without it the same parameter is ignored.
    """
    api = Api()
    alone = {name: value for name, value in parameters.items() if name not in {"crit", "b64"}}

    await api.accepts(token(alone))
    await api.refuses(token(parameters), code="unsupported_header")


def self_signed_certificate() -> str:
    """
    A certificate of the attacker's key, as ``x5c`` has it.
    """
    key, name = private_key("P-256", "attacker"), x509.Name([])
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2036, 1, 1, tzinfo=dt.UTC))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return "".join(pem.splitlines()[1:-1])


@pytest.mark.parametrize("kid", ["key-1", "attacker", ABSENT], ids=["known kid", "own kid", "no kid"])
@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"jwk": jwk(name="attacker")}, id="jwk"),
        pytest.param({"jku": "https://evil.example/keys"}, id="jku"),
        pytest.param({"x5u": "https://evil.example/certificate"}, id="x5u"),
        pytest.param({"x5c": [self_signed_certificate()]}, id="x5c"),
        pytest.param({"x5t": "x" * 27, "x5t#S256": "x" * 43}, id="x5t"),
    ],
)
async def test_r52_a_token_brings_no_keys(parameters: Members, kid: object) -> None:
    """
    R52 (RFC 7515 §4.1.2 to §4.1.8, RFC 9068 §4): Key material and key locations in a header select, supply
    and fetch nothing.
    """
    jwks_uri, asked = "https://keys.example/orders", list[str]()

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"keys": [jwk()]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    api = Api(Issuer(ISSUER, jwks_uri=jwks_uri), http_client=client)

    await api.accepts(token(parameters | {"kid": ABSENT}))
    await api.accepts(token(parameters))
    await api.refuses(token(parameters | {"kid": kid}, sign=signer(name="attacker")))
    assert set(asked) == {jwks_uri}


@pytest.mark.parametrize("kid", [1, True, None, {}, ["key-1"], "", "x" * 513, "x" * 8_000])
async def test_r53_kid_is_a_reasonable_string(kid: object) -> None:
    """
    R53 (RFC 7515 §4.1.4): A key ID of another type, empty or huge is refused before any key is looked up.
    """
    api = Api()

    await api.accepts(token({"kid": "key-1"}))
    answer = await api.refuses(token({"kid": kid}))

    assert answer.code in {"unsupported_header", "token_too_large"}


@pytest.mark.parametrize("kid", ["KEY-1", "key-1 ", "key-", "key-10", "key\u20101"])
async def test_r53_kid_is_compared_exactly(kid: str) -> None:
    """
    R53 (RFC 7515 §4.1.4): Key IDs are case-sensitive, and no part of one is one.
    """
    api = Api()

    await api.accepts(token())
    await api.refuses(token({"kid": kid}), code="unknown_key")


async def test_r58_the_octets_received_are_what_is_verified() -> None:
    """
    R58 (RFC 7515 §5.2): An odd spelling of the JSON is as good as any, if it is what was signed.
    """
    api = Api()
    odd = b'\t{ "typ":"at\\u002bjwt" ,\r\n"kid" : "key-1","alg":"\\u0045S256"} '
    claims = claims_json().replace(b"/", b"\\/").replace(b", ", b" ,\n\t")

    await api.accepts(raw_token(odd, claims))
    signature = token().rpartition(b".")[2]
    await api.refuses(
        f"{encode(odd)}.{encode(claims)}.".encode() + signature,
        code="bad_signature",
    )


@pytest.mark.parametrize(
    "name", ["AT+JWT", "at+JWT", "Application/at+jwt", "application/AT+JWT", "application/at+jwt"]
)
async def test_r105_token_types_are_media_types(name: str) -> None:
    """
    R105 (RFC 7515 §4.1.9, RFC 8725bis §3.11): Case does not count, nor ``application/`` at its front.
    """
    strict = Api(issuer(profile="rfc9068"))

    for api in (Api(), strict):
        await api.accepts(token({"typ": name}))
        for other in (f"{name};x=1", f"x/{name.rpartition('/')[2]}", f"application/application/{name}"):
            await api.refuses(token({"typ": other}), code="token_type_mismatch")
