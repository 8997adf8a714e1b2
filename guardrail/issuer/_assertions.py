"""
Client authentication with a signed assertion: ``private_key_jwt`` (RFC 7523 §2.2, §3).

Everything up to the signature is guardrail's own verification; the keys are those of the registration.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from cachetools import TLRUCache

from .._claims import NumericDates, read_numeric_dates, validate_issuer
from .._compact import CompactToken, parse_compact
from .._header import validate_header
from .._json import JSONObject
from .._keys import verify_signature
from ..errors import ClaimError, UnknownKeyError
from ._client_rules import ASSERTION_ALGORITHMS
from ._clients import Client
from ._errors import OAuthError

MAX_LIFETIME: Final = 300.0  # seconds from now to *exp*; what lives longer must be remembered longer
LEEWAY: Final = 30.0  # seconds of clock skew to forgive, as everywhere in guardrail
CAPACITY: Final = 10_000  # remembered assertions of each client
MAX_JTI_LENGTH: Final = 256  # characters; a UUID has 36

# draft-ietf-oauth-rfc7523bis: an explicit type, so that no other JWT of the client's passes for an assertion.
_TOKEN_TYPES: Final = frozenset({"", "jwt", "client-authentication+jwt"})


def _remembered_until(_jti: str, until: float, _now: float) -> float:
    return until


class ClientAssertions:
    """
    Verifies assertions of the registered clients, each of which is good once.

    Does not look which methods a client may use.

    Args:
        clients: By client identifier.
        audiences: What *aud* may be: the issuer or its token endpoint.
        clock: Current time in seconds since the epoch.
    """

    def __init__(
        self, clients: Mapping[str, Client], *, audiences: tuple[str, ...], clock: Callable[[], float]
    ) -> None:
        self._clients = clients
        self._audiences = audiences
        self._clock = clock
        self._used: dict[str, TLRUCache[str, float]] = {
            client_id: TLRUCache(CAPACITY, _remembered_until, timer=clock) for client_id in clients
        }

    def verify(self, assertion: str) -> Client:
        """
        Return the client that signed an assertion, and let it not be used again.

        Raises:
            InvalidTokenError: It is not acceptable.
            OAuthError: ``temporarily_unavailable``: the client has too many that are remembered.
        """
        token = parse_compact(assertion.encode())
        client = self._verify_signature(token)
        claims = token.unverified_claims  # verified from here on
        dates = self._validate(claims, client_id=client.client_id)
        self._use(claims["jti"], client_id=client.client_id, until=dates.expires_at + LEEWAY)
        return client

    def _verify_signature(self, token: CompactToken) -> Client:
        reference = validate_header(
            token.unverified_header, algorithms=ASSERTION_ALGORITHMS, token_types=_TOKEN_TYPES
        )
        # The unverified subject only selects among the registered clients, by exact match.
        unverified_client_id = token.unverified_claims.get("sub")
        client = self._clients.get(unverified_client_id) if isinstance(unverified_client_id, str) else None
        if client is None or client.keys is None:
            raise UnknownKeyError("no such client has a key", kid=reference.unverified_kid)
        algorithm = reference.unverified_algorithm
        verify_signature(
            client.keys.select(reference.unverified_kid, algorithm),
            signing_input=token.signing_input,
            signature=token.signature,
            algorithm=algorithm,
        )
        return client

    def _validate(self, claims: JSONObject, *, client_id: str) -> NumericDates:
        """
        Validate what RFC 7523 §3 asks of a claims set whose *sub* selected the client.
        """
        validate_issuer(claims, issuer=client_id)
        # One string: an assertion for several servers could be passed on by each to the others.
        if claims.get("aud") not in self._audiences:
            raise ClaimError('"aud" is not this server', claim="aud", reason="mismatch")
        now = self._clock()
        dates = read_numeric_dates(claims)
        dates.validate(now=now, leeway=LEEWAY)
        if dates.expires_at > now + MAX_LIFETIME + LEEWAY:
            raise ClaimError("the assertion lives too long", claim="exp", reason="invalid")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
            raise ClaimError('"jti" is not a short string', claim="jti", reason="invalid")
        return dates

    def _use(self, jti: str, *, client_id: str, until: float) -> None:
        """
        Remember an assertion for as long as it would be good (RFC 7523 §3).
        """
        used = self._used[client_id]
        digest = hashlib.sha256(jti.encode()).hexdigest()
        if digest in used:
            raise ClaimError("the assertion was used before", claim="jti", reason="invalid")
        # Full, it would forget the oldest, which could then be used again.
        if len(used) >= CAPACITY:
            raise OAuthError("temporarily_unavailable", "too many assertions at once", status=503)
        used[digest] = until
