"""
``guardrail token``, against a running issuer.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.cli._servers import address, free_port

from .commands import AUDIENCE, CHECKOUT, SECRET, claims_of
from .conftest import Run


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """
    A file that holds the secret, with the line end an editor leaves.
    """
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n", "utf-8")
    return file


def test_the_token_alone_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str) -> None:
    """
    With the secret in the environment, standard output is the token and nothing else.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)

    ran = run("token", "--issuer", issuer_url)

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("\n") == 1
    claims = claims_of(ran.out.strip())
    assert claims["iss"] == issuer_url
    assert claims["aud"] == AUDIENCE
    assert claims["client_id"] == "dev-client"
    assert set(claims["scope"].split()) == {"orders:read", "orders:write"}


def test_the_secret_may_be_in_a_file(run: Run, issuer_url: str, secret_file: Path) -> None:
    """
    ``--client-secret-file`` reads it, the line end left off.
    """
    ran = run("token", "--issuer", issuer_url, "--client-secret-file", str(secret_file))

    assert (ran.status, ran.err) == (0, "")
    assert claims_of(ran.out.strip())["iss"] == issuer_url


def test_the_secret_may_come_through_a_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str
) -> None:
    """
    ``--client-secret-file -`` reads standard input.
    """
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\n"))

    ran = run("token", "--issuer", issuer_url, "--client-secret-file", "-")

    assert (ran.status, ran.err) == (0, "")


def test_a_file_goes_before_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str, secret_file: Path
) -> None:
    """
    What was said on the command line counts, not what was left in the environment.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", "yesterday's")

    ran = run("token", "--issuer", issuer_url, "--client-secret-file", str(secret_file))

    assert ran.status == 0


def test_it_works_in_a_pipeline(issuer_url: str) -> None:
    """
    As a process, with its input and output piped, it is silent but for the token.
    """
    command = [sys.executable, "-m", "guardrail.cli", "token", "--issuer", issuer_url]

    done = subprocess.run(
        [*command, "--client-secret-file", "-", "--scope", "orders:read"],
        input=SECRET,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert claims_of(done.stdout.strip())["scope"] == "orders:read"


def test_scope_and_audience_may_be_chosen(run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str) -> None:
    """
    ``--scope`` narrows the token, ``--audience`` points it elsewhere.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)
    billing = "https://api.example.com/billing"

    ran = run("token", "--issuer", issuer_url, "--scope", "orders:read", "--audience", billing)

    claims = claims_of(ran.out.strip())
    assert (claims["scope"], claims["aud"]) == ("orders:read", billing)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--scope", "orders:delete"], "invalid_scope: the client may not", id="scope"),
        pytest.param(["--audience", "https://other.example.com"], "invalid_target", id="audience"),
        pytest.param(["--client-id", "nobody"], "invalid_client: the client ID or", id="client"),
    ],
)
def test_a_refusal_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str, arguments: list[str], says: str
) -> None:
    """
    What the issuer refuses is told in one line, without the secret, and nothing is on standard output.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)

    ran = run("token", "--issuer", issuer_url, *arguments)

    assert ran.status == 2
    assert ran.only_line.startswith("guardrail token: the issuer gave no token: ")
    assert says in ran.only_line
    assert SECRET not in ran.only_line


def test_a_wrong_secret_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str) -> None:
    """
    A wrong secret is refused, and is not repeated.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", "wrong-secret")

    ran = run("token", "--issuer", issuer_url)

    assert ran.status == 2
    assert "invalid_client: the client ID or the client secret is wrong" in ran.only_line
    assert "wrong-secret" not in ran.only_line


def test_an_issuer_that_is_down_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nobody listening is told as such.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)
    with free_port() as unused:
        url = address(unused)
        ran = run("token", "--issuer", url)

    assert ran.status == 2
    assert f"cannot reach {url}/" in ran.only_line
    assert "Is the issuer running?" in ran.only_line


@pytest.mark.parametrize(
    "issuer",
    ["", "nonsense", "http://", "ftp://127.0.0.1", "http://[::1", "http://a b", "http://example.com"],
)
def test_what_is_no_issuer_url_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    """
    No secret is sent where no issuer can be, nor over plain http to another machine.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)

    ran = run("token", "--issuer", issuer)

    assert ran.status == 2
    assert 'must be an https URL such as "https://login.example.com"' in ran.only_line


def test_an_almost_right_issuer_is_told_how_it_is_spelt(
    run: Run, monkeypatch: pytest.MonkeyPatch, issuer_url: str
) -> None:
    """
    ``localhost`` for ``127.0.0.1`` is another issuer, and the message says which one is there.
    """
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", SECRET)

    ran = run("token", "--issuer", issuer_url.replace("127.0.0.1", "localhost"))

    assert ran.status == 2
    assert f"calls itself '{issuer_url}'" in ran.only_line


@pytest.mark.parametrize("secret", [None, "", "  \n"])
def test_without_a_secret_the_message_says_where_it_goes(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    """
    No secret, or an empty one, is wrong usage.
    """
    if secret is not None:
        monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", secret)

    ran = run("token")

    assert ran.status == 2
    assert "set GUARDRAIL_CLIENT_SECRET" in ran.only_line
    assert "--client-secret-file FILE" in ran.only_line


@pytest.mark.parametrize(
    "argument",
    [("--client-secret", "s3cr3t-word"), ("--client-secret=s3cr3t-word",), ("--client-secret",)],
)
def test_a_secret_is_never_an_argument(run: Run, argument: tuple[str, ...]) -> None:
    """
    A secret on the command line is refused, with where it goes instead, and is not repeated.
    """
    ran = run("token", *argument)

    assert ran.status == 2
    assert "a secret is no argument" in ran.only_line
    assert "GUARDRAIL_CLIENT_SECRET" in ran.only_line
    assert "s3cr3t-word" not in ran.only_line


def test_a_secret_given_for_its_file_is_not_repeated(run: Run) -> None:
    """
    A file that is not there may be the secret itself, given by mistake.
    """
    ran = run("token", "--client-secret-file", "s3cr3t-word")

    assert ran.status == 2
    assert "cannot read the file of --client-secret-file: No such file or directory" in ran.only_line
    assert "s3cr3t-word" not in ran.only_line


def test_a_secret_must_be_text(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Bytes that are no UTF-8 are refused, in a file and in the environment.
    """
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe")

    from_file = run("token", "--client-secret-file", str(file))
    monkeypatch.setenv("GUARDRAIL_CLIENT_SECRET", os.fsdecode(b"\xff"))
    from_environment = run("token")

    for ran in (from_file, from_environment):
        assert ran.status == 2
        assert ran.only_line == "guardrail token: the client secret is not UTF-8 text"
