"""
The header: the algorithm and the key ID are taken from it, and everything dangerous in it is refused.
"""

from typing import Any

import pytest

from guardrail._header import MAX_KEY_ID_LENGTH, KeyReference, validate_header
from guardrail._issuer import DEFAULT_ALGORITHMS, SUPPORTED_ALGORITHMS
from guardrail.errors import AlgorithmNotAllowedError, ClaimError, MalformedTokenError

TYPES = frozenset({"at+jwt", "jwt", ""})


def validate(header: dict[str, Any], algorithms: tuple[str, ...] = ("RS256", "ES256")) -> KeyReference:
    return validate_header(header, algorithms=frozenset(algorithms), token_types=TYPES)


@pytest.mark.parametrize(
    ("header", "reference"),
    [
        pytest.param({"alg": "RS256"}, KeyReference("RS256", None), id="algorithm alone"),
        pytest.param({"alg": "RS256", "cty": None}, KeyReference("RS256", None), id="content type null"),
        pytest.param({"alg": "ES256", "kid": "a"}, KeyReference("ES256", "a"), id="with a key ID"),
        pytest.param(
            {"alg": "RS256", "typ": "at+jwt", "kid": "a"}, KeyReference("RS256", "a"), id="with a type"
        ),
        pytest.param(
            {"alg": "RS256", "cty": "json", "x": 1}, KeyReference("RS256", None), id="unknown parameters"
        ),
    ],
)
def test_algorithm_and_key_id_are_taken(header: dict[str, Any], reference: KeyReference) -> None:
    """
    A good header yields which algorithm and which key the sender says to use.
    """
    taken = validate(header)

    assert taken == reference


def test_key_reference_is_frozen() -> None:
    """
    The algorithm that was allowed is the one that runs: it cannot be exchanged in between (R66).
    """
    taken = validate({"alg": "RS256"})

    with pytest.raises(AttributeError):
        taken.unverified_algorithm = "none"  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
def test_only_configured_algorithms_are_accepted(algorithm: str) -> None:
    """
    An algorithm that is supported and not configured for the issuer is refused (R64).
    """
    others = tuple(name for name in SUPPORTED_ALGORITHMS if name != algorithm)

    taken = validate({"alg": algorithm}, (algorithm,))

    assert taken.unverified_algorithm == algorithm
    with pytest.raises(AlgorithmNotAllowedError):
        validate({"alg": algorithm}, others)


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param("none", id="none"),
        pytest.param("None", id="None"),
        pytest.param("NONE", id="NONE"),
        pytest.param("nOnE", id="nOnE"),
        pytest.param("none ", id="none and a space"),
        pytest.param("none\x00", id="none and a NUL"),
        pytest.param("", id="empty"),
        pytest.param("HS256", id="HS256"),
        pytest.param("HS384", id="HS384"),
        pytest.param("HS512", id="HS512"),
        pytest.param("HS999", id="HS999"),
        pytest.param("foo", id="unknown"),
        pytest.param("rs256", id="another case"),
        pytest.param("RS256 ", id="trailing space"),
        pytest.param(" RS256", id="leading space"),
        pytest.param("RS256\n", id="trailing line feed"),
        pytest.param("RS2", id="a prefix"),
        pytest.param("RS256,ES256", id="two in one"),
        pytest.param("RS1", id="RS1"),
        pytest.param("ES256K", id="ES256K"),
        pytest.param("Ed448", id="Ed448"),
        pytest.param("RSA-OAEP", id="an encryption algorithm"),
        pytest.param("dir", id="dir"),
        pytest.param("PBES2-HS256+A128KW", id="a password-based one"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param([], id="empty array"),
        pytest.param(["RS256"], id="array"),
        pytest.param({}, id="empty object"),
        pytest.param({"RS256": 1}, id="object"),
    ],
)
def test_other_algorithms_are_refused(algorithm: object) -> None:
    """
    *alg* is a string compared exactly with the allow-list (R48, R65, R69, A1 to A5).
    """
    with pytest.raises(AlgorithmNotAllowedError) as caught:
        validate({"alg": algorithm, "kid": "a"}, DEFAULT_ALGORITHMS)

    assert (caught.value.code, caught.value.algorithm) == ("algorithm_not_allowed", algorithm)


def test_missing_algorithm_is_refused() -> None:
    """
    A header without *alg* never gets a default.
    """
    with pytest.raises(AlgorithmNotAllowedError) as caught:
        validate({"kid": "a"})

    assert caught.value.algorithm is None


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"crit": ["x"], "x": 1}, id="an unknown extension"),
        pytest.param({"crit": []}, id="empty crit"),
        pytest.param({"crit": "exp"}, id="crit of the wrong type"),
        pytest.param({"crit": ["alg"]}, id="crit with a registered parameter"),
        pytest.param({"crit": ["missing"]}, id="crit with an absent parameter"),
        pytest.param({"crit": [1]}, id="crit with a number"),
        pytest.param({"crit": None}, id="crit null"),
        pytest.param({"crit": ["exp", "exp"], "exp": 1}, id="crit with a repetition"),
        pytest.param({"b64": False, "crit": ["b64"]}, id="b64 with crit"),
        pytest.param({"b64": False}, id="b64 without crit"),
        pytest.param({"b64": True}, id="b64 true"),
        pytest.param({"b64": None}, id="b64 null"),
        pytest.param({"enc": "A256GCM"}, id="enc"),
        pytest.param({"enc": ""}, id="empty enc"),
        pytest.param({"enc": None}, id="enc null"),
        pytest.param({"cty": "JWT"}, id="a nested token"),
        pytest.param({"cty": "jwt"}, id="a nested token in another case"),
        pytest.param({"cty": "application/jwt"}, id="a nested token with application/"),
    ],
)
def test_extensions_and_encryption_are_refused(extra: dict[str, Any]) -> None:
    """
    *crit*, *b64*, *enc* and nested tokens are refused: we process none (R49 to R51, R56, R57, A22, A23).
    """
    with pytest.raises(MalformedTokenError) as caught:
        validate({"alg": "RS256", **extra})

    assert caught.value.code == "unsupported_header"


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, id="jwk"),
        pytest.param({"jku": "https://evil.example/keys"}, id="jku"),
        pytest.param({"x5u": "file:///etc/passwd"}, id="x5u"),
        pytest.param({"x5c": ["MIIB"]}, id="x5c"),
        pytest.param({"x5t": "a", "x5t#S256": "b"}, id="thumbprints"),
    ],
)
def test_key_material_in_the_header_is_not_looked_at(extra: dict[str, Any]) -> None:
    """
    Keys and key locations of the sender do not change which key is looked up (R52, A12 to A14).
    """
    taken = validate({"alg": "RS256", "kid": "a", **extra})

    assert taken == KeyReference("RS256", "a")


@pytest.mark.parametrize(
    "kid",
    [
        pytest.param("a", id="one character"),
        pytest.param("x" * MAX_KEY_ID_LENGTH, id="512 characters, just within the bound"),
        pytest.param("../../../../dev/null", id="a path is inert"),
        pytest.param("' OR 1=1 --", id="SQL is inert"),
        pytest.param("\r\nX-Evil: 1", id="a header line is inert"),
        pytest.param("\x1b[31m", id="an ANSI escape is inert"),
        pytest.param("é", id="non-ASCII"),
        pytest.param(" ", id="a space"),
    ],
)
def test_key_id_is_any_string_of_reasonable_length(kid: str) -> None:
    """
    A key ID is an opaque string, taken as it is and only ever compared (R53, R54, C24).
    """
    taken = validate({"alg": "RS256", "kid": kid})

    assert MAX_KEY_ID_LENGTH == 512
    assert taken.unverified_kid == kid


@pytest.mark.parametrize(
    "kid",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * (MAX_KEY_ID_LENGTH + 1), id="513 characters, just beyond the bound"),
        pytest.param("x" * 1_000_000, id="a megabyte"),
        pytest.param(None, id="null"),
        pytest.param(1, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param(["a"], id="array"),
        pytest.param({"a": 1}, id="object"),
    ],
)
def test_key_id_of_the_wrong_type_is_refused(kid: object) -> None:
    """
    A key ID that is there and no reasonable string is refused, never taken for absent (R53, C24).
    """
    with pytest.raises(MalformedTokenError):
        validate({"alg": "RS256", "kid": kid})


@pytest.mark.parametrize("token_type", ["dpop+jwt", "application/", "", None, 1])
def test_other_types_are_refused(token_type: object) -> None:
    """
    The type is judged with the header, before any key is looked up.
    """
    with pytest.raises(ClaimError) as caught:
        validate({"alg": "RS256", "typ": token_type})

    assert caught.value.claim == "typ"


@pytest.mark.parametrize("content_type", ["json", "kwt", "text/plain", "jwt+json", "jw", "jwu"])
def test_content_type_that_is_no_token_is_no_concern(content_type: str) -> None:
    """
    Only a nested token is refused for its content type (R57).
    """
    assert validate({"alg": "RS256", "cty": content_type}) == KeyReference("RS256", None)
