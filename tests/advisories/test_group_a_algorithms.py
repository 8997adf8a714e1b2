"""
Group A: algorithms, from A1 to A11.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from guardrail import Issuer
from guardrail.errors import PolicyError
from guardrail.issuer import SigningKeys

from .kit import (
    SCOPE,
    URL,
    Sign,
    api,
    claims_of,
    compact,
    encode,
    header_of,
    jwk_set,
    new_issuer,
    octets_of,
    rsa_issuer,
    rsa_keys,
    unsigned,
)
from .signing import ec_jwk, es, hmac_tokens, rs, rsa_jwk, rsa_public, secrets_of_public_key

pytestmark = pytest.mark.anyio


def unsigned_tokens(keys: SigningKeys, *algorithms: object) -> dict[str, str]:
    """
    Tokens that name these algorithms and have no signature.
    """
    return {
        f"alg {name!r}": compact(header_of(keys) | {"alg": name}, claims_of(), unsigned)
        for name in algorithms
    }


async def test_a01_alg_none() -> None:
    """
    A token that says it is not signed is refused, whatever stands in its third part.
    """
    fake = new_issuer()
    header = header_of(fake.keys, alg="none")

    await api(fake).refuses(compact({"alg": "none"}, claims_of(), unsigned), code="malformed_token")
    await api(fake).refuses_all(
        {
            "the issuer's signature": fake.token(scope=SCOPE, headers={"alg": "none"}),
            "any signature": compact(header, claims_of(), lambda _: b"x"),
        },
        code="algorithm_not_allowed",
    )


async def test_a02_cve_2026_28802_none_with_a_blank_signature() -> None:
    """
    ``none`` with a blank signature is refused with and without *typ* and a real key's *kid*.
    """
    fake = new_issuer()
    headers: dict[str, dict[str, Any]] = {
        "typ and kid": {},
        "no typ": {"typ": None},
        "no kid": {"kid": None},
        "neither": {"typ": None, "kid": None},
    }
    tokens = {
        name: compact(header_of(fake.keys, alg="none", **changes), claims_of(), unsigned)
        for name, changes in headers.items()
    }

    await api(fake).refuses_all(tokens)


async def test_a03_none_in_other_spellings() -> None:
    """
    Algorithm names are an allow-list compared exactly, so no spelling of ``none`` gets by.
    """
    fake = new_issuer()
    spellings = ("None", "NONE", "nOnE", "none ", " none", "none\x00", "ｎｏｎｅ", "eddsa", "EDDSA", "EdDSA ")

    await api(fake).refuses_all(unsigned_tokens(fake.keys, *spellings))
    await api(fake).refuses_all(
        {alg: fake.token(scope=SCOPE, headers={"alg": alg}) for alg in spellings},
        code="algorithm_not_allowed",
    )


async def test_a04_cve_2026_23993_unknown_algorithm_with_an_empty_signature() -> None:
    """
    An unknown, mistyped or missing *alg* is refused, with an empty signature and with a good one.
    """
    fake = new_issuer()
    odd: tuple[object, ...] = ("foo", "", "HS999", None, 1, True, [], ["EdDSA"], {}, {"EdDSA": 1})
    signed = {
        repr(alg): compact(header_of(fake.keys) | {"alg": alg}, claims_of(), fake.keys.current.sign)
        for alg in odd
    }
    missing = compact(header_of(fake.keys, alg=None), claims_of(), fake.keys.current.sign)

    await api(fake).refuses_all(unsigned_tokens(fake.keys, *odd))
    await api(fake).refuses_all(signed | {"missing": missing}, code="algorithm_not_allowed")


async def test_a05_cve_2022_29217_public_key_as_hmac_secret() -> None:
    """
    No spelling of the issuer's public key is an HMAC secret (also CVE-2017-11424, CVE-2024-37568).
    """
    await api(rsa_issuer()).refuses_all(hmac_tokens(secrets_of_public_key()), code="algorithm_not_allowed")


async def test_a06_cve_2026_48526_jwk_document_as_hmac_secret() -> None:
    """
    The exact bytes of the JWK Set are no secret, and families of algorithms cannot be mixed at all.
    """
    served = rsa_issuer()
    exact = {"response": json.dumps(served.keys.jwks()).encode(), "compact": octets_of(served.keys.jwks())}

    await api(served).refuses_all(hmac_tokens(exact), code="algorithm_not_allowed")
    await api(served).refuses_all(hmac_tokens(exact, kid=None), code="algorithm_not_allowed")
    for algorithms in (["RS256", "HS256"], ["HS256"], ["none"]):
        with pytest.raises(PolicyError, match="only asymmetric"):
            Issuer(URL, algorithms=algorithms)


@pytest.mark.parametrize(
    "prefix", [pytest.param("", id="bare"), " ", "\n", "\ufeff", "# our key\n", "-----COMMENT-----\n"]
)
async def test_a07_cve_2026_34950_pem_behind_a_prefix(prefix: str) -> None:
    """
    Keys are JWK Sets: a PEM text, whatever stands before it, is not a key and not a secret (CVE-2023-48223).
    """
    pem = prefix + secrets_of_public_key()["SPKI"].decode()
    secret = {"kty": "oct", "k": encode(pem.encode()), "kid": "pem"}
    keys = jwk_set(secret, rsa_keys().current.jwk())
    guarded = api(rsa_issuer(), issuers=[Issuer(URL, keys=keys)])

    await guarded.refuses_all(hmac_tokens({"PEM": pem.encode()}, kid="pem"), code="algorithm_not_allowed")
    for wrong in (pem, {"keys": pem}, {"keys": [pem]}, jwk_set(secret)):
        with pytest.raises(PolicyError, match="keys"):
            Issuer(URL, keys=cast("Mapping[str, Any]", wrong))


async def test_a08_cve_2026_22817_jwk_without_alg_leaves_it_to_the_token() -> None:
    """
    A key without *alg* is used with the configured algorithms alone, never with the token's (CVE-2026-22818).
    """
    fake, private = rsa_issuer(), cast("rsa.RSAPrivateKey", rsa_keys().current.private_key)
    kid = rsa_keys().current.kid
    issuer = Issuer(URL, keys=jwk_set(rsa_jwk(rsa_public(), kid=kid)), algorithms=["RS256"])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    signers: dict[str, Sign] = {
        "RS512": rs(private, hashes.SHA512()),
        "PS256": lambda octets: private.sign(octets, pss, hashes.SHA256()),
    }
    tokens = {
        name: compact(header_of(rsa_keys(), alg=name), claims_of(), sign) for name, sign in signers.items()
    }

    await api(fake, issuers=[issuer]).refuses_all(tokens, code="algorithm_not_allowed")
    await api(fake, issuers=[issuer]).refuses_all(hmac_tokens(secrets_of_public_key()))
    wider = Issuer(URL, keys=jwk_set(rsa_jwk(rsa_public(), kid=kid)), algorithms=[*signers, "RS256"])
    for token in tokens.values():
        await api(fake, issuers=[wider]).accepts(token)


async def test_a09_cve_2026_39999_algorithm_of_the_header_with_the_key_of_the_configuration() -> None:
    """
    What one issuer may use opens nothing at another: algorithms are an issuer's own.
    """
    fake, other = rsa_issuer(), new_issuer("https://partner.example.org", algorithm="ES256")
    issuers = [
        Issuer(URL, keys=fake.keys.jwks(), algorithms=["RS256"]),
        Issuer(other.url, keys=other.keys.jwks(), algorithms=["ES256"]),
    ]
    guarded = api(fake, issuers=issuers)

    await guarded.refuses_all(
        {
            "the other's algorithm and signature": compact(
                header_of(other.keys), claims_of(), other.keys.current.sign
            ),
            "the other's algorithm, our signature": compact(
                header_of(fake.keys, alg="ES256"), claims_of(), fake.keys.current.sign
            ),
            **hmac_tokens(secrets_of_public_key()),
        },
        code="algorithm_not_allowed",
    )
    await guarded.accepts(other.token(scope=SCOPE))


async def test_a10_cve_2026_48523_the_keys_own_algorithm_and_the_headers() -> None:
    """
    The allow-list, the header and the key must name the same algorithm.
    """
    private = rsa.generate_private_key(65537, 2048)
    declared = rsa_jwk(private.public_key(), kid="k512", alg="RS512")
    fake = rsa_issuer()
    narrow = Issuer(URL, keys=jwk_set(declared, fake.keys.current.jwk()), algorithms=["RS256"])
    wide = Issuer(URL, keys=jwk_set(declared, fake.keys.current.jwk()), algorithms=["RS256", "RS512"])
    lying = compact(
        {"alg": "RS256", "kid": "k512", "typ": "at+jwt"}, claims_of(), rs(private, hashes.SHA512())
    )
    honest = compact(
        {"alg": "RS512", "kid": "k512", "typ": "at+jwt"}, claims_of(), rs(private, hashes.SHA512())
    )

    for issuer in (narrow, wide):
        await api(fake, issuers=[issuer]).refuses(lying, code="unknown_key")
    await api(fake, issuers=[narrow]).refuses(honest, code="algorithm_not_allowed")
    await api(fake, issuers=[wide]).accepts(honest)


async def test_a11_key_found_by_kid_is_of_another_algorithm() -> None:
    """
    A key ID does not lend its key to an algorithm of another type (jwx, python-jose #274, php-jwt).
    """
    fake = rsa_issuer()
    elliptic = ec.generate_private_key(ec.SECP256R1())
    keys = jwk_set(ec_jwk(elliptic, kid="ec"), fake.keys.current.jwk())
    private = cast("rsa.RSAPrivateKey", fake.keys.current.private_key)
    signers: dict[str, Sign] = {"RSA": rs(private, hashes.SHA256()), "EC": es(elliptic, hashes.SHA256())}
    crossed = {
        f"{alg} with key {kid} signed by {name}": compact(
            {"alg": alg, "kid": kid, "typ": "at+jwt"}, claims_of(), sign
        )
        for alg, kid in (("RS256", "ec"), ("PS256", "ec"), ("ES256", fake.keys.current.kid), ("EdDSA", "ec"))
        for name, sign in signers.items()
    }
    guarded = api(fake, issuers=[Issuer(URL, keys=keys)])

    await guarded.refuses_all(crossed, code="unknown_key")
    await guarded.accepts(
        compact({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, claims_of(), es(elliptic, hashes.SHA256()))
    )
