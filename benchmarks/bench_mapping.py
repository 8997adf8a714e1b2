"""
What it costs to make the operator of a verified token, as a share of one RS256 verification.

The verification is that of the cryptography library alone, with a 2048-bit key and a token of usual size: no
parsing, no checks, no key look-up. Both take turns in one run; each figure is the best of many rounds, which
a busy machine changes least. Exit status 1 when the largest profile takes more than its limit.

    python benchmarks/bench_mapping.py [ROUNDS]
"""

import sys
import timeit
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from guardrail._mapping import OperatorMapping
from guardrail._profiles import load_profile

ROUNDS = 40
CALLS = 1_000  # per round
LIMIT = 0.15  # of one verification, for the largest profile
SIGNED = b"x" * 1_200  # header and claims of a usual token, in base64url

TIMES: dict[str, Any] = {"iat": 1_768_467_600, "exp": 1_768_471_200}
CLAIMS: dict[str, dict[str, Any]] = {
    "default": {
        "iss": "https://as.example.com", "sub": "u-48213", "aud": "https://orders.example.com",
        "client_id": "orders-portal", "scope": "orders:read orders:write", "jti": "at-7c1e5b90", **TIMES,
    },
    "entra": {
        "aud": "3c8e51d7", "iss": "https://login.microsoftonline.com/7d1c2f60/v2.0", "nbf": 1_768_467_600,
        "azp": "11f6a3d2", "azpacr": "1", "name": "Robin Example", "oid": "9b2d6c1e",
        "preferred_username": "robin@acme.example", "rh": "1.opaque", "scp": "Orders.Read Orders.Write",
        "roles": ["Order.Approve"], "groups": ["2f3c1d90-7a61-4a3f-9a0c-5f0c6be1a001"], "sub": "mD2sVq8",
        "tid": "7d1c2f60", "uti": "Tq3ExampleUti9aB", "ver": "2.0", **TIMES,
    },
    "okta": {
        "ver": 1, "jti": "AT.example-user-0001", "iss": "https://acme.okta.example/oauth2/aus1abc",
        "aud": "api://orders", "cid": "0oa1hkqpt5xYzAbCd357", "uid": "00u1qwertYUIOPasdf357",
        "scp": ["openid", "orders:read"], "auth_time": 1_768_467_500, "sub": "robin@acme.example",
        "groups": ["Orders-Approvers"], **TIMES,
    },
    "keycloak": {
        "iss": "https://sso.acme.example/realms/acme", "auth_time": 1_768_467_590, "jti": "onrtac:5d92c1a8",
        "aud": ["orders.api", "account"], "sub": "84d0e2b6-3f19-4c57-a1e8-7b60c95d2f13", "typ": "Bearer",
        "azp": "orders-web", "sid": "b71f4e02", "acr": "1", "scope": "profile orders:read",
        "realm_access": {"roles": ["default-roles-acme", "employee"]},
        "resource_access": {"orders.api": {"roles": ["approver"]}, "account": {"roles": ["view-profile"]}},
        "email_verified": True, "preferred_username": "robin", "email": "robin@acme.example", **TIMES,
    },
}  # fmt: skip


def calls() -> dict[str, Callable[[], object]]:
    """
    The verification, and the mapping of each profile.
    """
    private = rsa.generate_private_key(65_537, 2_048)
    public, signature = private.public_key(), private.sign(SIGNED, padding.PKCS1v15(), SHA256())
    found: dict[str, Callable[[], object]] = {
        "RS256 verification": lambda: public.verify(signature, SIGNED, padding.PKCS1v15(), SHA256())
    }
    for profile, claims in CLAIMS.items():
        mapping = OperatorMapping(load_profile(profile), audiences=frozenset({"orders.api"}))
        found[profile] = lambda mapping=mapping, claims=claims: mapping.operator(claims)  # type: ignore[misc]
    return found


def main() -> None:
    """
    Print the table; exit status 1 when the limit is passed.
    """
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    best: dict[str, float] = {}
    measured = calls()
    for _ in range(rounds):
        for name, call in measured.items():
            seconds = timeit.timeit(call, number=CALLS) / CALLS
            best[name] = min(seconds, best.get(name, seconds))
    verification = best["RS256 verification"]
    print(f"{'':20}{'µs':>8}{'ratio':>8}   best of {rounds} rounds")
    for name, seconds in best.items():
        print(f"{name:20}{1e6 * seconds:8.2f}{seconds / verification:8.3f}")
    largest = max(best[profile] for profile in CLAIMS) / verification
    print(f"the largest takes {largest:.3f} of one verification; at most {LIMIT} is what it may")
    sys.exit(largest > LIMIT)


if __name__ == "__main__":
    main()
