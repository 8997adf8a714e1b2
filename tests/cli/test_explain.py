"""
``guardrail explain``: the road of a token in words.
"""

import io
import json
import sys
from pathlib import Path

import pytest

from guardrail._catalogue import STEPS
from guardrail.cli import main
from guardrail.cli._servers import address, free_port
from guardrail.cli.explain import step_of
from guardrail.errors import ClaimError
from guardrail.testing import FakeIssuer


@pytest.fixture(scope="module")
def fake() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def explain(fake: FakeIssuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> "Explain":
    return Explain(fake, tmp_path, capsys)


class Explain:
    """
    Runs the command on a token in a file, offline.
    """

    def __init__(self, fake: FakeIssuer, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.jwks = directory / "jwks.json"
        self.jwks.write_text(json.dumps(fake.keys.jwks()))
        self.token = directory / "token"
        self.capsys = capsys
        self.options = [f"--issuer={fake.url}", f"--audience={fake.audience}", f"--jwks={self.jwks}"]

    def __call__(self, token: str, *options: str) -> tuple[int, str, str]:
        """
        Exit status, standard output, standard error.
        """
        self.token.write_text(token + "\n")
        status = main(["explain", str(self.token), *self.options, *options])
        captured = self.capsys.readouterr()
        return status, captured.out, captured.err


def test_an_accepted_token_passes_every_step(explain: Explain, fake: FakeIssuer) -> None:
    """
    All steps passed, exit status 0, and what the operator may do.
    """
    status, out, _ = explain(fake.token(scope="orders:read"), "--scope=orders:read")

    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[: len(STEPS)]] == ["passed"] * len(STEPS)
    assert "scopes  orders:read" in out


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

    states = {line[12:31].strip(): line[:12].strip() for line in out.splitlines()[: len(STEPS)]}
    at = list(STEPS).index(failed)
    expected = ["passed"] * at + ["FAILED"] + ["not reached"] * (len(STEPS) - at - 1)
    assert status == 1
    assert list(states.values()) == expected
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
