"""
Signing keys: algorithms, publication and rotation.
"""

import base64

import jwt
import pytest

from guardrail.issuer import SigningKeys

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k"}


def published(keys: SigningKeys) -> list[jwt.PyJWK]:
    """
    Read the published key set as anyone would.
    """
    return list(jwt.PyJWKSet.from_dict(dict(keys.jwks())).keys)


def members(keys: SigningKeys) -> list[dict[str, object]]:
    """
    Return the published JWKs.
    """
    listed = keys.jwks()["keys"]
    assert isinstance(listed, list)
    return listed


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_signature_verifies_with_the_published_key(algorithm: str) -> None:
    """What a key signs, its published half verifies."""
    keys = SigningKeys(algorithm)

    token = keys.sign({"sub": "alice"})

    assert jwt.decode(token, published(keys)[0], algorithms=[algorithm]) == {"sub": "alice"}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_signature_does_not_verify_with_a_stranger_key(algorithm: str) -> None:
    """What a key signs, another key of the same algorithm does not verify."""
    token = SigningKeys(algorithm).sign({"sub": "alice"})

    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, published(SigningKeys(algorithm))[0], algorithms=[algorithm])


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_published_key_is_public_and_complete(algorithm: str) -> None:
    """A published key has its identifier, use and algorithm, no operations and no private member."""
    keys = SigningKeys(algorithm)

    jwk = members(keys)[0]

    assert (jwk["kid"], jwk["use"], jwk["alg"]) == (keys.current.kid, "sig", algorithm)
    assert not (PRIVATE_MEMBERS | {"key_ops"}) & set(jwk)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "rs256", ""])
def test_other_algorithm_is_refused(algorithm: str) -> None:
    """An algorithm that is symmetric, unknown or none is refused, naming the right ones."""
    with pytest.raises(ValueError, match="algorithm must be one of RS256, PS256, ES256, EdDSA"):
        SigningKeys(algorithm)


def test_rsa_key_has_2048_bits() -> None:
    """An RSA key is as long as RFC 7518 asks for."""
    modulus = str(members(SigningKeys("RS256"))[0]["n"])

    assert len(base64.urlsafe_b64decode(modulus + "==")) * 8 == 2048


def test_rotation_keeps_one_previous_key_published() -> None:
    """After two rotations the current and the previous key are published, the current one first."""
    keys = SigningKeys("ES256")
    keys.rotate()
    previous = keys.current.kid

    current = keys.rotate()

    assert keys.current.kid == current
    assert [jwk["kid"] for jwk in members(keys)] == [current, previous]


def test_rotation_without_previous_publishes_the_new_key_alone() -> None:
    """After a rotation that keeps nothing only the new key is published."""
    keys = SigningKeys("ES256")

    current = keys.rotate(keep_previous=False)

    assert [jwk["kid"] for jwk in members(keys)] == [current]


def test_previous_key_still_verifies_what_it_signed() -> None:
    """A token from before a rotation verifies with the previous key."""
    keys = SigningKeys("ES256")
    token = keys.sign({"sub": "alice"})

    keys.rotate()

    assert jwt.decode(token, published(keys)[1], algorithms=["ES256"]) == {"sub": "alice"}


def test_header_has_type_algorithm_and_key_id() -> None:
    """The header of a token is that of an access token unless told otherwise."""
    keys = SigningKeys("ES256")

    header = jwt.get_unverified_header(keys.sign({}))

    assert header == {"typ": "at+jwt", "alg": "ES256", "kid": keys.current.kid}


def test_header_parameters_can_be_replaced_added_and_left_out() -> None:
    """A test can make a header that lies; the signature stays the current key's."""
    keys = SigningKeys("ES256")

    token = keys.sign({}, typ="JWT", headers={"alg": "none", "x": 1, "kid": None})

    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "none", "x": 1}


def test_representation_shows_key_ids_only() -> None:
    """The representations show key IDs and algorithm, and no key."""
    keys = SigningKeys("ES256")
    kid = keys.current.kid

    assert repr(keys) == f"SigningKeys('ES256', kids=['{kid}'])"
    assert repr(keys.current) == f"SigningKey(kid='{kid}', algorithm='ES256')"


def test_key_ids_differ() -> None:
    """Two keys never share a key ID."""
    assert SigningKeys("ES256").current.kid != SigningKeys("ES256").current.kid
