"""
RFC 7517: JWK Sets, and which of their keys may verify.
"""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from guardrail import Issuer
from guardrail.errors import PolicyError
from guardrail.events import KeysFetched

from .api import Api, issuer, package
from .tokens import ABSENT, ISSUER, JWK, Members, jwk, signer, token

pytestmark = pytest.mark.anyio

OTHER = jwk(name="other")


def fetching(body: bytes | dict[str, Any]) -> Api:
    """
    An API whose issuer publishes *body* as its key set.
    """

    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=body) if isinstance(body, dict) else httpx.Response(200, content=body)

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    return Api(Issuer(ISSUER, jwks_uri="https://keys.example/orders", http_client=client))


async def refuses_key(key: JWK, **header: object) -> None:
    """
    A set whose ``key-1`` is *key* has no key for the good token; with the plain one it has.
    """
    await Api(issuer(jwk(), OTHER)).accepts(token(header))
    await Api(issuer(key, OTHER)).refuses(token(header), code="unknown_key")


@pytest.mark.parametrize("use", ["enc", "SIG", "", None, ["sig"], 1], ids=repr)
async def test_r81_a_key_for_another_use_does_not_verify(use: object) -> None:
    """
    R81 (RFC 7517 §4.2): *use* is ``sig``, or not there.
    """
    await Api(issuer(jwk(use=ABSENT), OTHER)).accepts(token())
    await refuses_key(jwk(use=use))


@pytest.mark.parametrize(
    "members",
    [
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": ["encrypt", "wrapKey"]},
        {"key_ops": ["VERIFY"]},
        {"key_ops": "verify"},
        {"key_ops": None},
        {"use": "sig", "key_ops": ["verify", "encrypt"]},
        {"use": "enc", "key_ops": ["verify"]},
    ],
    ids=repr,
)
async def test_r82_a_key_for_other_operations_does_not_verify(members: Members) -> None:
    """
    R82 (RFC 7517 §4.3): *key_ops* holds ``verify``, and says nothing that *use* denies.
    """
    for operations in (["verify"], ["sign", "verify"]):
        await Api(issuer(jwk(key_ops=operations), OTHER)).accepts(token())
    no_use: Members = {"use": ABSENT}
    await refuses_key(jwk(**(no_use | members)))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(jwk(d="AQAB"), id="EC with d"),
        pytest.param(jwk("EdDSA", d="AQAB"), id="OKP with d"),
        *(pytest.param(jwk("RS256", **{name: "AQAB"}), id=f"RSA with {name}") for name in ("d", "p", "dq")),
        pytest.param({"kty": "oct", "kid": "key-1", "k": "c2VjcmV0", "alg": "HS256", "use": "sig"}, id="oct"),
        pytest.param({"kty": "oct", "kid": "key-1", "k": "c2VjcmV0"}, id="oct without alg"),
        pytest.param({"kty": "oct", "kid": "key-1", "k": "", "alg": "ES256"}, id="oct that names ES256"),
    ],
)
async def test_r83_private_and_symmetric_keys_are_left_out(key: JWK) -> None:
    """
    R83 (RFC 7517 §9.2): A published private key is nobody's secret, and is not used; listeners hear of it.
    """
    algorithm = str(key.get("alg", "ES256"))
    asymmetric = "ES256" if algorithm == "HS256" else algorithm
    public = {name: value for name, value in key.items() if name not in ("d", "p", "dq", "k")}
    good = jwk(asymmetric) if key["kty"] == "oct" else public
    made = token({"alg": asymmetric}, sign=signer(asymmetric))

    api, with_private = fetching({"keys": [good, OTHER]}), fetching({"keys": [key, OTHER]})

    await api.accepts(made)
    await with_private.refuses(made, code="unknown_key")
    skipped = [event.skipped for event in with_private.events if isinstance(event, KeysFetched)]
    assert skipped[0] == 1


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"kty": "FUTURE", "kid": "x"}, id="an unknown type"),
        pytest.param({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}, id="an unknown curve"),
        pytest.param({"kty": "EC", "crv": "P-256"}, id="members missing"),
        pytest.param({"kty": "RSA", "n": "!", "e": "AQAB"}, id="members malformed"),
        pytest.param({"kty": "RSA", "n": 1, "e": None}, id="members of other types"),
        pytest.param({"kty": ["EC"]}, id="a type of another type"),
        pytest.param({}, id="an empty key"),
        pytest.param(None, id="null"),
        pytest.param("key", id="a string"),
        pytest.param([jwk()], id="an array"),
        pytest.param(jwk(kid=1), id="a key ID of another type"),
        pytest.param(jwk(alg=["ES256"]), id="an algorithm of another type"),
    ],
)
async def test_r84_one_bad_key_does_not_break_the_set(bad: Any) -> None:
    """
    R84 (RFC 7517 §5): A key that cannot be used is skipped, and the rest serves.
    """
    await Api(issuer(bad, jwk())).accepts(token())
    await Api(issuer(bad, OTHER)).refuses(token(), code="unknown_key")
    with pytest.raises(PolicyError):
        await Api(issuer(bad)).send()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: text.replace(b'"kid"', b'"kid":"other","kid"'), id="a member"),
        pytest.param(lambda text: text.replace(b'"kid"', b'"\\u006bid":"other","kid"'), id="escaped"),
        pytest.param(lambda text: text.replace(b'"kty"', b'"kty":"EC","kty"'), id="a member, with one value"),
        pytest.param(lambda text: b'{"keys":[],' + text[1:], id="the keys"),
        pytest.param(lambda text: text[:-1] + b',"keys":[]}', id="the keys, behind"),
        pytest.param(lambda text: b'{"unknown":1,' + text[1:], id="an unknown member of the set"),
    ],
)
async def test_r85_members_stand_once_and_unknown_ones_are_ignored(spoil: Callable[[bytes], bytes]) -> None:
    """
    R85 (RFC 7517 §4, §5): A set with a repeated member is not used, nor is a key, beside which the others
    serve; an unknown member means nothing, whatever is in it.
    """
    ours_broken, other_broken = [
        httpx.Response(200, json={"keys": keys}).content.replace(b'"kty"', b'"kty":"EC","kty"', 1)
        for keys in ([jwk(), OTHER], [OTHER, jwk()])
    ]
    text = httpx.Response(200, json={"keys": [jwk(unknown={"x": 1})], "unknown": [1]}).content

    await fetching(text).accepts(token())
    await fetching(b'{"x":{"y":1,"y":2},' + text[1:]).accepts(token())
    await fetching(other_broken).accepts(token())
    await fetching(ours_broken).refuses(token(), code="unknown_key")
    answer = await fetching(spoil(text)).send([(b"authorization", b"Bearer " + token())])

    assert (answer.status, answer.operator) == (503, None)


async def test_r86_of_keys_with_one_kid_those_that_fit_are_tried() -> None:
    """
    R86 (FAPI 2.0 §5.4.3): The type, use, algorithm and curve narrow them down; of what is left, two are
    tried and no more.
    """
    others = [jwk("RS256"), jwk("ES384"), jwk("EdDSA"), jwk(use="enc")]
    twins = [jwk(name=name, kid="key-1") for name in ("twin-1", "twin-2")]

    await Api(issuer(*others, jwk())).accepts(token())
    await Api(issuer(*others, OTHER)).refuses(token(), code="unknown_key")
    await Api(issuer(twins[0], jwk())).accepts(token())
    await Api(issuer(*twins)).refuses(token(), code="bad_signature")
    await Api(issuer(*twins, jwk())).refuses(token(), code="unknown_key")


async def test_r87_keys_are_their_issuers_own() -> None:
    """
    R87 (RFC 7517 §4.5, RFC 8725 §3.8): One key ID at two issuers never crosses over.
    """
    other = "https://partner.example.org"
    theirs = issuer(jwk(name="theirs", kid="key-1"), url=other)
    api = Api(package(issuer(), theirs).requires("orders:read"))

    await api.accepts(token())
    await api.accepts(token(iss=other, sign=signer(name="theirs")))
    await api.refuses(token(iss=other), code="bad_signature")
    await api.refuses(token(sign=signer(name="theirs")), code="bad_signature")


async def test_r88_a_token_without_kid_needs_the_one_key_that_fits() -> None:
    """
    R88 (RFC 7515 §4.1.4): Exactly one key of the algorithm: one that names it goes before those that name
    none; of two, none is guessed.
    """
    made, unnamed = token({"kid": ABSENT}), [jwk(alg=ABSENT), jwk(name="other", alg=ABSENT)]

    await Api(issuer(jwk(), jwk("RS256"))).accepts(made)
    await Api(issuer(jwk(kid=ABSENT))).accepts(made)
    await Api(issuer(jwk(), unnamed[1])).accepts(made)
    await Api(issuer(jwk(), OTHER)).refuses(made, code="unknown_key")
    await Api(issuer(*unnamed)).refuses(made, code="unknown_key")
    await Api(issuer(jwk("RS256"))).refuses(made, code="unknown_key")
