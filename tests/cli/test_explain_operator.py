"""
``guardrail explain --operator``: the operator that a token becomes, and where each field comes from.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardrail.testing import FakeIssuer

from .explaining import Explain

TENANT = "7d1c2f60-0f3a-4f6e-9c55-3b1d2a9e4c10"
AUDIENCE = "https://api.example.com/orders"


@pytest.fixture(scope="module")
def fake() -> FakeIssuer:
    return FakeIssuer(f"https://l.example/{TENANT}", algorithm="EdDSA")


@pytest.fixture
def explain(fake: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    return Explain(fake, tmp_path, capsys)


def table(out: str) -> dict[str, tuple[str, str]]:
    """
    Field → where it comes from and its value, as printed; a value that goes on in the next line is joined.
    """
    head, *lines = out.partition("\nfield ")[2].splitlines()
    source, value = head.index("from") + len("field "), head.index("value") + len("field ")
    found: dict[str, tuple[str, str]] = {}
    for line in lines[1:]:
        field = line[:source].strip() or list(found)[-1]
        before = found.get(field, ("", ""))
        found[field] = (before[0] + line[source:value].strip(), f"{before[1]} {line[value:]}".strip())
    return found


def test_each_field_of_the_operator(explain: Explain, fake: FakeIssuer) -> None:
    """
    Every field there is, its value, and the claim that it was read from or that was not there.
    """
    token = fake.token(
        sub="u-1", scope="b a", roles=["x"], auth_time=1, act={"sub": "agent"}, iat=1768467600, jti="t-1"
    )

    status, out, _ = explain(token, "--operator")

    shown = table(out)
    expiry = shown.pop("token.expires_at")
    assert status == 0
    assert expiry[0] == "claim exp"
    assert re.fullmatch(r"\d+\.\d+ \(20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", expiry[1])
    assert shown == {
        "operator_id": ("issuer and subject", f"'{fake.url}#u-1'"),
        "kind": ("no mark of a service", "'user'"),
        "issuer": ("claim iss", f"'{fake.url}'"),
        "subject": ("claim sub", "'u-1'"),
        "client_id": ("claim client_id", "'test-client'"),
        "tenant": ("not in profile default", "none"),
        "username": ("no claim preferred_username", "none"),
        "email": ("no claim email", "none"),
        "scopes": ("claim scope", "'a', 'b'"),
        "roles": ("claim roles", "'x'"),
        "groups": ("no claim groups", "none"),
        "permissions": ("no claim entitlements", "none"),
        "groups_overage": ("default", "False"),
        "access_groups": ("not in profile default", "none"),
        "access_group": ("no access groups", "none"),
        "actors": ("claim act", "Actor(subject='agent', issuer=None, client_id=None)"),
        "token.token_id": ("claim jti", "'t-1'"),
        "token.issued_at": ("claim iat", "1768467600 (2026-01-15 09:00:00 UTC)"),
        "token.auth_time": ("claim auth_time", "1 (1970-01-01 00:00:01 UTC)"),
        "token.acr": ("no claim acr", "none"),
        "token.amr": ("no claim amr", "none"),
        "claims": (
            "the verified token",
            "'act', 'aud', 'auth_time', 'client_id', 'exp', 'iat', 'iss', 'jti', 'roles', 'scope', 'sub'",
        ),
    }


ENTRA = {"tid": TENANT, "oid": "o-1", "azp": "app-1"}
KEYCLOAK = {"azp": "app-1", "resource_access": {AUDIENCE: {"roles": ["x"]}, "other": {"roles": ["y"]}}}
PEGA = {"aud": "urn:app-1"}

SOURCES = [
    pytest.param([], {"client_id": "c", "sub": "c"}, "kind", "subject is client_id", "'service'", id="same"),
    pytest.param(["--profile=entra"], ENTRA, "subject", "claim oid", "'o-1'", id="another claim"),
    pytest.param(
        ["--profile=entra"], ENTRA, "kind", "no claim idtyp or scp", "'service'", id="absent claims"
    ),
    pytest.param(
        ["--profile=entra"],
        {**ENTRA, "idtyp": "app"},
        "kind",
        'claim idtyp equals "app"',
        "'service'",
        id="a claim that equals",
    ),
    pytest.param(
        ["--profile=auth0"],
        {"azp": "app-1", "sub": "app-1@clients"},
        "kind",
        'claim sub ends with "@clients"',
        "'service'",
        id="a claim that ends with",
    ),
    pytest.param(
        ["--profile=keycloak"],
        KEYCLOAK,
        "roles",
        f'claim ["resource_access", "{AUDIENCE}", "roles"]',
        "'x'",
        id="a path with the audience in it",
    ),
    pytest.param(
        ["--profile=keycloak"],
        {"azp": "app-1", "aud": [AUDIENCE, "account"]},
        "roles",
        f'no claim ["resource_access", "{AUDIENCE}", "roles"]',
        "none",
        id="nothing at a path with the audience in it",
    ),
    pytest.param(
        ["--profile=keycloak", "--audience=second"],
        {
            "aud": ["second", AUDIENCE],
            "azp": "app-1",
            "resource_access": {AUDIENCE: {"roles": ["x"]}, "second": {"roles": ["y"]}},
        },
        "roles",
        f'claim ["resource_access", "{AUDIENCE}", "roles"] and ["resource_access", "second", "roles"]',
        "'x', 'y'",
        id="several audiences",
    ),
    pytest.param(
        ["--mapping=tenant=org"], {"org": "acme"}, "tenant", "claim org, by mapping", "'acme'", id="mapping"
    ),
    pytest.param(
        ['--mapping=roles=[["a", "b"], ["c"]]'],
        {"c": "x", "a": {}},
        "roles",
        "claim c, by mapping",
        "'x'",
        id="the second of two paths",
    ),
    pytest.param(
        ['--mapping=roles=[["a", "b"], ["c"]]'],
        {},
        "roles",
        'no claim ["a", "b"] or c, by mapping',
        "none",
        id="none of two paths",
    ),
    pytest.param(
        ["--mapping=access_groups=groups"],
        {"_claim_names": {"groups": "g"}},
        "access_groups",
        "no claim groups, by mapping; left out",
        "none",
        id="left out",
    ),
    pytest.param(
        [], {"hasgroups": True}, "groups_overage", "claim _claim_names or hasgroups", "True", id="overage"
    ),
    pytest.param(
        ["--mapping=access_groups=groups"],
        {"groups": ["b", "a"]},
        "access_group",
        "first of access_groups",
        "'b'",
        id="the active access group",
    ),
    pytest.param(
        ["--profile=pega", "--client", "app-1"],
        PEGA,
        "client_id",
        'claim aud, less "urn:"',
        "'app-1'",
        id="the audience is the client",
    ),
    pytest.param(
        ["--profile=pega", "--client", "urn:app-1", "--mapping=client_id=aud"],
        PEGA,
        "client_id",
        "claim aud, by mapping",
        "'urn:app-1'",
        id="the audience as it is",
    ),
    pytest.param(
        ["--profile=pega", "--client", "app-1"], PEGA, "kind", "no mark of a service", "'user'", id="a user"
    ),
    pytest.param(
        ["--profile=pega", "--client", "app-1", "operator_id=svc"],
        PEGA,
        "kind",
        "client registration",
        "'service'",
        id="a registered service",
    ),
]


@pytest.mark.parametrize(("options", "claims", "field", "source", "value"), SOURCES)
def test_where_a_field_comes_from(
    explain: Explain,
    fake: FakeIssuer,
    options: list[str],
    claims: Mapping[str, Any],
    field: str,
    source: str,
    value: str,
) -> None:
    """
    Profile, mapping and registration are named as they were written.
    """
    status, out, _ = explain(fake.token(**claims), "--operator", *options)

    assert status == 0
    assert table(out)[field] == (source, value)


REGISTERED = ["operator_id=svc", "roles=importer", "access_groups=b a", "scopes=orders:read"]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param(
            "batch",
            {
                "operator_id": ("client registration", "'svc'"),
                "roles": ("client registration", "'importer'"),
                "access_groups": ("client registration", "'b', 'a'"),
                "access_group": ("first of access_groups", "'b'"),
            },
            id="a machine",
        ),
        pytest.param(
            "alice",
            {
                "operator_id": ("issuer and subject", f"'https://l.example/{TENANT}#alice'"),
                "roles": ("claim roles", "'clerk'"),
                "access_groups": ("not in profile default", "none"),
                "access_group": ("no access groups", "none"),
            },
            id="a user",
        ),
    ],
)
def test_what_a_registration_gives(
    explain: Explain, fake: FakeIssuer, subject: str, expected: dict[str, tuple[str, str]]
) -> None:
    """
    A machine has what its registration gives it; a user of the same client its ceiling of scopes alone.
    """
    token = fake.token(sub=subject, client_id="batch", roles="clerk", scope="orders:read orders:write")

    _, out, _ = explain(token, "--operator", "--client", "batch", *REGISTERED)

    shown = table(out)
    assert {field: shown[field] for field in expected} == expected
    assert shown["scopes"] == ("claim scope, at most those of the client registration", "'orders:read'")


def test_a_registration_without_settings_gives_nothing(explain: Explain, fake: FakeIssuer) -> None:
    """
    A machine that may merely call is what its token says.
    """
    token = fake.token(sub="batch", client_id="batch", scope="orders:read")

    _, out, _ = explain(token, "--operator", "--client", "batch")

    shown = table(out)
    assert shown["operator_id"][0] == "issuer and subject"
    assert shown["roles"][0] == "no claim roles"
    assert shown["scopes"] == ("claim scope", "'orders:read'")


def test_the_operator_of_a_refused_token_is_shown(explain: Explain, fake: FakeIssuer) -> None:
    """
    Who lacks a role is shown with the roles there are, exit status 1.
    """
    status, out, _ = explain(fake.token(roles="clerk"), "--operator", "--role=approver")

    assert status == 1
    assert "refused with 403: role_missing" in out
    assert table(out)["roles"] == ("claim roles", "'clerk'")


@pytest.mark.parametrize("claims", [{"exp": 1}, {"roles": 7}], ids=["expired", "malformed"])
def test_a_token_that_becomes_nobody(explain: Explain, fake: FakeIssuer, claims: dict[str, Any]) -> None:
    """
    There is no operator of a token that is not acceptable, and nothing of it is shown.
    """
    status, out, _ = explain(fake.token(sub="alice@example.com", **claims), "--operator")

    assert status == 1
    assert "no operator: the token was refused before it became one" in out
    assert "alice" not in out


def test_neither_the_token_nor_unread_claims_are_shown(explain: Explain, fake: FakeIssuer) -> None:
    """
    Claims that no field is read from are shown by their names alone; without the option no value is.
    """
    token = fake.token(sub="u-1", password="correct horse")

    _, out, err = explain(token, "--operator")
    _, without, _ = explain(token)

    assert "'password'" in out
    assert "correct horse" not in out + err
    assert not [part for part in token.split(".") if part in out + err]
    assert "u-1" not in without


def test_hostile_values_reach_the_terminal_escaped_and_cut(explain: Explain, fake: FakeIssuer) -> None:
    """
    A token's strings and the names of its claims are printable ASCII, in lines of bounded length.
    """
    hostile = "\x1b[2J\u202e" + "x" * 5_000
    claims: dict[str, Any] = {hostile: 1, "roles": [hostile]}

    _, out, _ = explain(fake.token(**claims), "--operator")

    values = out.partition("\nfield ")[2]
    assert values.isascii()
    assert "\x1b" not in values
    assert "characters)" in table(out)["roles"][1]
    assert max(map(len, out.splitlines())) < 200
    assert out.count("x") < 2_500
