"""
``guardrail explain``: the road of a token in words.
"""

import io
import sys
import time
from pathlib import Path

import pytest

from guardrail._catalogue import STEPS
from guardrail.cli import main
from guardrail.cli._servers import address, free_port
from guardrail.cli.explain import step_of
from guardrail.errors import ClaimError
from guardrail.testing import FakeIssuer

from .explaining import Explain

# Where nothing is asked of a token unless an option does.
NOT_ASKED = frozenset({"client", "directory", "authentication", "scopes", "operator's rights"})


@pytest.fixture(scope="module")
def fake() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def explain(fake: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    return Explain(fake, tmp_path, capsys)


def states(out: str) -> dict[str, str]:
    """
    The state of each step, as printed.
    """
    return {line[12:31].strip(): line[:12].strip() for line in out.splitlines()[: len(STEPS)]}


def test_an_accepted_token_passes_every_step(explain: Explain, fake: FakeIssuer) -> None:
    """
    Everything that can be asked of a token is judged; exit status 0, and what the operator may do.
    """
    asked = ["--scope=orders:read", "--client", "test-client", "--role=clerk", "--acr=2", "--max-age=60"]
    token = fake.token(scope="orders:read", roles=["clerk"], acr="2", auth_time=int(time.time()))

    status, out, _ = explain(token, *asked)

    assert status == 0
    assert states(out) == {**dict.fromkeys(STEPS, "passed"), "directory": "not judged"}
    assert "scopes  orders:read" in out


ASKED = [
    pytest.param("client", ["--client", "test-client"], id="a registration"),
    pytest.param("authentication", ["--acr=2"], id="an acr value"),
    pytest.param("authentication", ["--max-age=60"], id="an age"),
    pytest.param("scopes", ["--scope=orders:read"], id="a scope"),
    pytest.param("operator's rights", ["--role=clerk"], id="a role"),
    pytest.param("operator's rights", ["--access-group=Orders:Clerks"], id="an access group"),
]


@pytest.mark.parametrize(("step", "options"), ASKED)
def test_a_step_is_judged_when_something_is_asked(
    explain: Explain, fake: FakeIssuer, step: str, options: list[str]
) -> None:
    """
    Where nothing was asked of the token, nothing is said of it; a directory is never asked here.
    """
    token = fake.token(
        scope="orders:read",
        roles="clerk",
        groups="Orders:Clerks",
        acr="2",
        auth_time=int(time.time()),
    )

    _, without, _ = explain(token, "--mapping=access_groups=groups")
    _, out, _ = explain(token, "--mapping=access_groups=groups", *options)

    assert {one for one, state in states(without).items() if state == "not judged"} == NOT_ASKED
    assert {one for one, state in states(out).items() if state == "not judged"} == NOT_ASKED - {step}
    assert states(out)[step] == "passed"


REFUSING = [
    pytest.param(["--unregistered-clients=refuse"], "client", "client_not_allowed", id="no registration"),
    pytest.param(["--client", "test-client", "enabled=no"], "client", "client_not_allowed", id="disabled"),
    pytest.param(["--acr=2"], "authentication", "insufficient_authentication", id="acr"),
    pytest.param(["--max-age=60"], "authentication", "insufficient_authentication", id="age"),
    pytest.param(["--role=clerk"], "operator's rights", "role_missing", id="role"),
    pytest.param(["--access-group=a"], "operator's rights", "access_group_missing", id="access group"),
]


@pytest.mark.parametrize(("options", "failed", "code"), REFUSING)
def test_what_is_asked_may_refuse(
    explain: Explain, fake: FakeIssuer, options: list[str], failed: str, code: str
) -> None:
    """
    Each of the steps that can be asked for can fail, exit status 1.
    """
    status, out, _ = explain(fake.token(), *options)

    assert status == 1
    assert states(out)[failed] == "FAILED"
    assert f": {code}\n" in out


@pytest.mark.parametrize(
    ("claims", "options", "failed", "code"),
    [
        pytest.param({"aud": "https://other"}, (), "audience", "audience_mismatch", id="audience"),
        pytest.param({"aud": 7}, (), "audience", "claims_malformed", id="audience of the wrong type"),
        pytest.param({"exp": "soon"}, (), "times", "claims_malformed", id="expiry of the wrong type"),
        pytest.param({"exp": 1}, (), "times", "token_expired", id="expired"),
        pytest.param({"iss": "https://evil.example"}, (), "issuer", "unknown_issuer", id="issuer"),
        pytest.param({"nonce": "n"}, (), "kind", "other_token_kind", id="an ID token"),
        pytest.param({"sub": None}, (), "operator", "claim_missing", id="no subject"),
        pytest.param({}, ("--scope=orders:write",), "scopes", "insufficient_scope", id="scope"),
        pytest.param({"headers": {"alg": "RS512"}}, (), "header", "algorithm_not_allowed", id="algorithm"),
    ],
)
def test_the_step_that_refuses_is_named(
    explain: Explain,
    fake: FakeIssuer,
    claims: dict[str, object],
    options: tuple[str, ...],
    failed: str,
    code: str,
) -> None:
    """
    Steps before it passed, steps after it were not reached; the code, the cause and what to do are there.
    """
    status, out, _ = explain(fake.token(**{"scope": "orders:read", **claims}), *options)  # type: ignore[arg-type]

    at = list(STEPS).index(failed)
    passed = ["not judged" if step in NOT_ASKED else "passed" for step in list(STEPS)[:at]]
    assert status == 1
    assert list(states(out).values()) == passed + ["FAILED"] + ["not reached"] * (len(STEPS) - at - 1)
    assert f": {code}\n" in out
    assert "  to do  " in out


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "two tokens", ""])
def test_what_is_no_token_is_refused(explain: Explain, token: str) -> None:
    """
    Anything can be asked about.
    """
    status, out, _ = explain(token)

    assert status == 1
    assert "FAILED" in out


def test_values_that_speak_of_a_person_are_not_shown(explain: Explain, fake: FakeIssuer) -> None:
    """
    Neither the token nor a claim that names somebody is printed; an expected audience is.
    """
    token = fake.token(sub="alice@example.com", email=7)

    status, out, err = explain(token)

    assert status == 1
    assert not [part for part in token.split(".") if part in out + err]
    assert "alice" not in out + err


def test_hostile_values_are_escaped(explain: Explain, fake: FakeIssuer) -> None:
    """
    What the token says reaches a terminal escaped, and cut.
    """
    _, out, _ = explain(fake.token(aud="\x1b[2J" + "x" * 5000))

    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) < 300


def test_the_token_comes_from_standard_input(
    explain: Explain, fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without a file the token is read from standard input.
    """
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(fake.token().encode())))

    assert main(["explain", *explain.options]) == 0


def test_a_token_given_as_an_argument_is_not_repeated(explain: Explain, fake: FakeIssuer) -> None:
    """
    It is taken for a file's name, and not printed.
    """
    token = fake.token()

    status = main(["explain", token, *explain.options])

    captured = explain.capsys.readouterr()
    assert status == 2
    assert "never an argument" in captured.err
    assert token[:20] not in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--issuer=http://login.example.com"], "https", id="plain http"),
        pytest.param(["--algorithm=HS256"], "asymmetric", id="symmetric"),
        pytest.param(["--leeway=-1"], "leeway", id="leeway"),
        pytest.param(['--scope=a"b'], "scope", id="scope"),
        pytest.param(["--profile=pega"], "name yours, --client ID", id="a profile that needs clients"),
        pytest.param(["--mapping=role=roles"], "did you mean 'roles'?", id="no field"),
        pytest.param(["--client", "one", "--client", "one"], "'one' twice", id="a client twice"),
    ],
)
def test_wrong_settings_are_wrong_usage(
    explain: Explain, fake: FakeIssuer, options: list[str], message: str
) -> None:
    """
    Exit status 2, and the right form.
    """
    status, _, err = explain(fake.token(), *options)

    assert status == 2
    assert message in err


@pytest.mark.parametrize("content", ["{", '{"keys": []}', "[]"])
def test_a_file_that_is_no_key_set_is_wrong_usage(explain: Explain, fake: FakeIssuer, content: str) -> None:
    """
    Exit status 2 for keys that cannot be used.
    """
    explain.jwks.write_text(content)

    assert explain(fake.token())[0] == 2


def test_an_issuer_that_cannot_be_asked_is_wrong_usage(
    explain: Explain, fake: FakeIssuer, tmp_path: Path
) -> None:
    """
    Nothing is said of a token whose keys could not be had.
    """
    file = tmp_path / "token"
    with free_port() as nobody:
        issuer = address(nobody)
        file.write_text(fake.token(iss=issuer))

        status = main(["explain", str(file), f"--issuer={issuer}", f"--audience={fake.audience}"])

    assert status == 2
    assert "could not be had" in explain.capsys.readouterr().err


def test_a_claim_beside_the_operators_keeps_the_codes_step() -> None:
    """
    A claim without a step of its own belongs to the step of its code.
    """
    error = ClaimError("wrong", claim="roles", reason="invalid")

    assert step_of(error) == "operator"
