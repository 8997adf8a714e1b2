"""
What tests expect of answers, and of what they cost the issuer.
"""

from collections import Counter

import httpx


def assert_challenged(response: httpx.Response, *, status: int, error: str | None) -> None:
    """
    Assert one Bearer challenge (RFC 6750 §3) with this *error*, or without any.
    """
    challenge = response.headers["WWW-Authenticate"]
    assert response.status_code == status
    assert challenge.startswith("Bearer")
    assert (f'error="{error}"' in challenge) if error else ("error=" not in challenge)


def fetches(counts: Counter[str]) -> dict[str, int]:
    """
    Keep what a resource server asks an issuer for: metadata and keys.
    """
    return {path: n for path, n in counts.items() if path == "/jwks" or path.startswith("/.well-known/")}
