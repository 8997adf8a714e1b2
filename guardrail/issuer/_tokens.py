"""
Access tokens of the embedded issuer (RFC 9068), and its answer to a token request.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ._access_tokens import AccessTokens, IssuedToken
from ._clients import Client
from ._keys import SigningKeys


def access_token_claims(
    client: Client,
    *,
    subject: str,
    scope: frozenset[str],
    audience: Sequence[str],
    auth_time: int | None = None,
) -> dict[str, object]:
    """
    Build what an access token says of client and subject (RFC 9068 §2.2), without issuer and times.

    Does not look whether the client may have any of it: that is the grants' work.

    Args:
        scope: Left out of the token when empty: RFC 6749 §3.3 has no empty scope.
        audience: One becomes a string, several an array (RFC 7519 §4.1.3).
        auth_time: When the user decided, in seconds since the epoch; ``None`` when there was no user.
    """
    optional: dict[str, object] = {
        "scope": " ".join(sorted(scope)) or None,
        "access_group": client.access_group,
        "auth_time": auth_time,
    }
    present = {name: value for name, value in optional.items() if value is not None}
    named = audience[0] if len(audience) == 1 else list(audience)
    return {"sub": subject, "aud": named, "client_id": client.client_id} | present


@dataclass(frozen=True, slots=True)
class Issuance:
    """
    What a client gets: decided, not minted yet.

    Attributes:
        claims: As `access_token_claims` builds them.
        lifetime: In seconds; below zero makes a token that has expired already.
        family: Names the user's grant it comes of, so that it ends with it; ``None`` without one.
        further: Further members of the answer, such as a refresh token.
        is_opaque: Whether the token is a random string, and nothing is said of its lifetime.
    """

    claims: Mapping[str, object]
    lifetime: float
    family: str | None = field(default=None, repr=False)
    further: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    is_opaque: bool = False


@dataclass(frozen=True, slots=True)
class Minter:
    """
    Mints access tokens: adds issuer, times and identifier to the claims, signs, and knows them from then on.
    """

    issuer: str
    keys: SigningKeys
    access_tokens: AccessTokens
    clock: Callable[[], float]

    def mint(self, issuance: Issuance) -> str:
        """
        Mint an access token that lives from now.
        """
        now = self.clock()
        expires_at = int(now + issuance.lifetime)
        times = {"iat": int(now), "exp": expires_at, "jti": secrets.token_urlsafe(16)}
        claims = {"iss": self.issuer, **issuance.claims, **times}
        kid = None if issuance.is_opaque else self.keys.current.kid
        token = secrets.token_urlsafe(32) if issuance.is_opaque else self.keys.sign(claims)
        issued = IssuedToken(claims, expires_at=expires_at, family=issuance.family, kid=kid)
        self.access_tokens.keep(token, issued)
        return token

    def answer(self, issuance: Issuance) -> dict[str, object]:
        """
        Mint a token and answer with it (RFC 6749 §5.1).
        """
        answer: dict[str, object] = {"access_token": self.mint(issuance), "token_type": "Bearer"}
        if not issuance.is_opaque:
            answer["expires_in"] = int(issuance.lifetime)
        if "scope" in issuance.claims:
            answer["scope"] = issuance.claims["scope"]
        return answer | dict(issuance.further)

    def find(self, token: str) -> IssuedToken:
        """
        Return what is known of a token that is good now.

        Raises:
            KeyError: Unknown, expired, revoked, or signed with a key that is not published any more.
        """
        issued = self.access_tokens.find(token)
        if issued.kid is not None and issued.kid not in self.keys.key_ids:
            raise KeyError("its key is gone")
        return issued
