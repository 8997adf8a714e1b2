"""
Access tokens of the embedded issuer (RFC 9068), and its answer to a token request.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ._clients import Client
from ._keys import SigningKeys


def access_token_claims(
    client: Client,
    *,
    subject: str,
    scope: frozenset[str],
    audience: str,
    auth_time: int | None = None,
) -> dict[str, object]:
    """
    Build what an access token says of client and subject (RFC 9068 §2.2), without issuer and times.

    Does not look whether the client may have any of it: that is the grants' work.

    Args:
        scope: Left out of the token when empty: RFC 6749 §3.3 has no empty scope.
        auth_time: When the user decided, in seconds since the epoch; ``None`` when there was no user.
    """
    optional: dict[str, object] = {
        "scope": " ".join(sorted(scope)) or None,
        "access_group": client.access_group,
        "auth_time": auth_time,
    }
    present = {name: value for name, value in optional.items() if value is not None}
    return {"sub": subject, "aud": audience, "client_id": client.client_id} | present


@dataclass(frozen=True, slots=True)
class Minter:
    """
    Mints access tokens: adds issuer, times and identifier to the claims, and signs.
    """

    issuer: str
    keys: SigningKeys
    clock: Callable[[], float]

    def mint(self, claims: dict[str, object], *, lifetime: float) -> str:
        """
        Sign a claims set as an access token that lives from now.

        Args:
            lifetime: In seconds; below zero makes a token that has expired already.
        """
        now = self.clock()
        times = {"iat": int(now), "exp": int(now + lifetime)}
        return self.keys.sign({"iss": self.issuer, **claims, **times, "jti": secrets.token_urlsafe(16)})

    def token_response(self, client: Client, *, claims: dict[str, object]) -> dict[str, object]:
        """
        Mint a token and answer with it (RFC 6749 §5.1).
        """
        token = self.mint(claims, lifetime=client.token_lifetime)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": int(client.token_lifetime)}
        return answer | {name: claims[name] for name in ("scope",) if name in claims}
