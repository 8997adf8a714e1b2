"""
What an authorization server of another make issues to machines and persons, and which operators they become.

Its access tokens follow RFC 9068. What it says of persons is in claims of names that no profile knows.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import Issuer, Operator, TokenFacts, events
from guardrail._frozen import freeze

from .conftest import ServeMirror
from .expect import assert_challenged
from .glewlwyd import APPLICATION, ELSEWHERE, MACHINE, ORDERS, Glewlwyd
from .glewlwyd_issuer import LIFETIME
from .mirror import Mirror, tamper, unverified_claims

pytestmark = pytest.mark.interop

MAPPING: dict[str, Any] = {
    "access_groups": "https://acme.example/access_group",
    "email": "mail",
    "groups": ["team"],
    "roles": [["no such claim"], ["job"]],
    "tenant": "company",
    "username": "login",
}
PROFILES = [pytest.param(name, id=name) for name in ("default", "rfc9068")]
MINUTE = 60.0  # seconds; twice the leeway


def machine_token(glewlwyd: Glewlwyd) -> str:
    """
    Obtain a good token of a machine.
    """
    return glewlwyd.issuer.machine_token(MACHINE, resource=ORDERS)


def person_token(glewlwyd: Glewlwyd, username: str) -> str:
    """
    Obtain a good token of a person.
    """
    return glewlwyd.issuer.user_tokens(username, client_id=APPLICATION, resource=ORDERS).access_token


def id_token(glewlwyd: Glewlwyd) -> str:
    """
    Obtain the ID token that comes with a person's access token.
    """
    tokens = glewlwyd.issuer.user_tokens("maria", client_id=APPLICATION, resource=ORDERS)
    assert tokens.id_token is not None
    return tokens.id_token


def token_facts(claims: dict[str, Any]) -> TokenFacts:
    """
    Expect of a token what it says; it says nothing about the authentication.
    """
    return TokenFacts(token_id=claims["jti"], issued_at=claims["iat"], expires_at=claims["exp"])


def statuses(mirror: Mirror, *tokens: str) -> list[int]:
    """
    Ask with each of *tokens*, one after the other.
    """
    return [mirror.get(token).status_code for token in tokens]


REFUSED: list[Any] = [
    pytest.param(
        lambda server: server.issuer.machine_token(MACHINE, resource=ELSEWHERE),
        "audience_mismatch",
        id="audience of another resource",
    ),
    pytest.param(
        lambda server: server.issuer.machine_token(MACHINE, resource=None),
        "audience_mismatch",
        id="audience that is the scope",
    ),
    pytest.param(
        lambda server: server.sibling.machine_token(MACHINE, resource=ORDERS),
        "unknown_issuer",
        id="another issuer of the same server",
    ),
    pytest.param(
        lambda server: tamper(server.sibling.machine_token(MACHINE, resource=ORDERS), iss=server.issuer.url),
        "unknown_key",
        id="another issuer that says it is this one",
    ),
    pytest.param(
        lambda server: tamper(machine_token(server), scope="orders:read orders:write"),
        "bad_signature",
        id="a scope added",
    ),
    pytest.param(
        lambda server: machine_token(server).rpartition(".")[0] + ".",
        "malformed_token",
        id="signature left out",
    ),
    pytest.param(id_token, "other_token_kind", id="ID token"),
]


@pytest.mark.parametrize("profile", PROFILES)
def test_machine_becomes_a_service(glewlwyd: Glewlwyd, mirror_of: ServeMirror, profile: str) -> None:
    """
    A token of the client credentials grant speaks of the client itself, and of nothing but its scopes.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url, profile=profile), audience=[ORDERS])
    token = machine_token(glewlwyd)
    claims = unverified_claims(token)

    operator = mirror.operator(token)

    assert operator == Operator(
        operator_id=f"{glewlwyd.issuer.url}#{MACHINE}",
        kind="service",
        issuer=glewlwyd.issuer.url,
        subject=MACHINE,
        client_id=MACHINE,
        scopes=frozenset({"orders:read"}),
        token=token_facts(claims),
        claims=freeze(claims),
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_person_becomes_a_user(glewlwyd: Glewlwyd, mirror_of: ServeMirror, profile: str) -> None:
    """
    Without a mapping, a token of the authorization code grant speaks of a person, and of nothing but scopes.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url, profile=profile), audience=[ORDERS])
    token = person_token(glewlwyd, "maria")
    claims = unverified_claims(token)

    operator = mirror.operator(token)

    assert claims["sub"] not in {"maria", APPLICATION}
    assert operator == Operator(
        operator_id=f"{glewlwyd.issuer.url}#{claims['sub']}",
        kind="user",
        issuer=glewlwyd.issuer.url,
        subject=claims["sub"],
        client_id=APPLICATION,
        scopes=frozenset({"openid", "orders:read"}),
        token=token_facts(claims),
        claims=freeze(claims),
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_mapping_makes_a_person_known(glewlwyd: Glewlwyd, mirror_of: ServeMirror, profile: str) -> None:
    """
    A mapping fills the fields it names from claims of any name; several roles in one string stay one role.
    """
    issuer = Issuer(glewlwyd.issuer.url, profile=profile, mapping=MAPPING)
    mirror = mirror_of(issuer, audience=[ORDERS])
    token = person_token(glewlwyd, "maria")
    claims = unverified_claims(token)

    operator = mirror.operator(token)

    assert operator == Operator(
        operator_id=f"{glewlwyd.issuer.url}#{claims['sub']}",
        kind="user",
        issuer=glewlwyd.issuer.url,
        subject=claims["sub"],
        client_id=APPLICATION,
        tenant="acme",
        username="maria",
        email="maria@acme.example",
        scopes=frozenset({"openid", "orders:read"}),
        roles=frozenset({"planner,buyer"}),
        groups=frozenset({"orders-emea"}),
        access_groups=("Orders:Agent",),
        access_group="Orders:Agent",
        token=token_facts(claims),
        claims=freeze(claims),
    )


def test_mapped_claims_that_are_missing_leave_fields_empty(
    glewlwyd: Glewlwyd, mirror_of: ServeMirror
) -> None:
    """
    A person whom the server knows less of, and a machine, have empty fields under the same mapping.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url, mapping=MAPPING), audience=[ORDERS])

    paul = mirror.operator(person_token(glewlwyd, "paul"))
    machine = mirror.operator(machine_token(glewlwyd))

    assert (paul.username, paul.tenant, paul.roles, paul.groups) == ("paul", None, frozenset(), frozenset())
    assert paul.access_groups == ("Orders:Viewer",)
    assert (machine.kind, machine.username, machine.roles) == ("service", None, frozenset())
    assert (machine.access_groups, machine.access_group) == ((), None)


def test_mapped_access_group_decides(glewlwyd: Glewlwyd, mirror_of: ServeMirror) -> None:
    """
    A route for an access group takes the person who has it; nobody else, and not that person unmapped.
    """
    mapped, unmapped = (
        mirror_of(issuer, audience=[ORDERS], access_groups=["Orders:Agent"])
        for issuer in (Issuer(glewlwyd.issuer.url, mapping=MAPPING), Issuer(glewlwyd.issuer.url))
    )
    maria = person_token(glewlwyd, "maria")

    accepted = mapped.get(maria)
    refused = [mapped.get(person_token(glewlwyd, "paul")), mapped.get(machine_token(glewlwyd))]
    not_mapped = unmapped.get(maria)

    assert accepted.status_code == 204
    assert [response.status_code for response in (*refused, not_mapped)] == [403] * 3
    assert mapped.heard.refusal_codes() == ["access_group_missing"] * 2
    assert unmapped.heard.refusal_codes() == ["access_group_missing"]


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        pytest.param({"username": "exp"}, "claims_malformed", id="number for a text"),
        pytest.param({"roles": "iat"}, "claims_malformed", id="number for a list"),
        pytest.param({"scopes": "nbf"}, "claims_malformed", id="number for scopes"),
        pytest.param({"subject": "employee"}, "claim_missing", id="no such subject"),
    ],
)
def test_mapped_claim_that_cannot_be_read_refuses_the_token(
    glewlwyd: Glewlwyd, mirror_of: ServeMirror, mapping: dict[str, Any], code: str
) -> None:
    """
    A token whose claim does not fit the field it is mapped to is refused, not half understood.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url, mapping=MAPPING | mapping), audience=[ORDERS])

    response = mirror.get(person_token(glewlwyd, "maria"))

    assert_challenged(response, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == [code]
    assert mirror.operators == []


@pytest.mark.parametrize(("make_token", "code"), REFUSED)
def test_token_that_differs_in_one_thing_is_refused(
    glewlwyd: Glewlwyd, mirror_of: ServeMirror, make_token: Callable[[Glewlwyd], str], code: str
) -> None:
    """
    What is not a good token of this issuer for this API is refused, and the good one beside it accepted.
    """
    # The application as an audience: then nothing but its kind speaks against its ID token.
    mirror = mirror_of(Issuer(glewlwyd.issuer.url), audience=[ORDERS, APPLICATION])

    refused = mirror.get(make_token(glewlwyd))
    accepted = mirror.get(machine_token(glewlwyd))

    assert_challenged(refused, status=401, error="invalid_token")
    assert mirror.heard.refusal_codes() == [code]
    assert accepted.status_code == 204


def test_token_without_the_scope_is_forbidden(glewlwyd: Glewlwyd, mirror_of: ServeMirror) -> None:
    """
    A token that was issued for another scope is good, and not good enough.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url), audience=[ORDERS])

    response = mirror.get(glewlwyd.issuer.machine_token(MACHINE, resource=ORDERS, scope="orders:write"))

    assert_challenged(response, status=403, error="insufficient_scope")
    assert mirror.heard.refusal_codes() == ["insufficient_scope"]


@pytest.mark.parametrize(
    ("later", "codes"),
    [
        pytest.param(LIFETIME - MINUTE, [], id="a minute before the end"),
        pytest.param(LIFETIME + MINUTE, ["token_expired"], id="a minute after the end"),
    ],
)
def test_token_ends_when_the_server_said(
    glewlwyd: Glewlwyd, mirror_of: ServeMirror, later: float, codes: list[str]
) -> None:
    """
    The lifetime that the server gave the token is what it lives.
    """
    issuer = Issuer(glewlwyd.issuer.url)
    mirror = mirror_of(issuer, audience=[ORDERS], clock=lambda: time.time() + later)

    response = mirror.get(machine_token(glewlwyd))

    assert response.status_code == (401 if codes else 204)
    assert mirror.heard.refusal_codes() == codes


def test_same_subject_at_two_issuers_is_two_operators(glewlwyd: Glewlwyd, mirror_of: ServeMirror) -> None:
    """
    An API that trusts two issuers of one server takes the tokens of both, and keeps their subjects apart.
    """
    realms = (glewlwyd.issuer, glewlwyd.sibling)
    mirror = mirror_of(*(Issuer(realm.url, profile="rfc9068") for realm in realms), audience=[ORDERS])

    operators = [mirror.operator(realm.machine_token(MACHINE, resource=ORDERS)) for realm in realms]

    assert [operator.subject for operator in operators] == [MACHINE, MACHINE]
    assert [operator.operator_id for operator in operators] == [f"{realm.url}#{MACHINE}" for realm in realms]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_keys_are_discovered_and_followed(glewlwyd: Glewlwyd, mirror_of: ServeMirror, algorithm: str) -> None:
    """
    The keys are found from the issuer's URL alone; a new one is fetched for its first token, and a withdrawn
    one is good until the next fetch.
    """
    mirror = mirror_of(Issuer(glewlwyd.issuer.url), audience=[ORDERS])
    seen = machine_token(glewlwyd)
    mirror.operator(seen)
    first = glewlwyd.issuer.key_ids()

    glewlwyd.issuer.rotate(algorithm)
    added = glewlwyd.issuer.key_ids()[0]
    answers = statuses(mirror, machine_token(glewlwyd), seen)
    glewlwyd.issuer.withdraw()
    until_fetch = statuses(mirror, machine_token(glewlwyd), seen)
    newcomer = mirror_of(Issuer(glewlwyd.issuer.url), audience=[ORDERS])
    from_fetch = statuses(newcomer, machine_token(glewlwyd), seen)

    assert answers == until_fetch == [204, 204]
    assert from_fetch == [204, 401]
    assert newcomer.heard.refusal_codes() == ["unknown_key"]
    discovered, rotated = mirror.heard.of(events.KeysFetched)
    assert set(discovered.added) == set(first)
    assert (rotated.added, rotated.removed) == ((added,), ())
