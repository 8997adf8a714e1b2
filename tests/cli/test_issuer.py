"""
``guardrail issuer``, as a process and in this one.
"""

import io
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from guardrail.cli import main
from guardrail.cli._oauth import request_token
from guardrail.cli._servers import listen
from guardrail.issuer import SigningKeys

from .commands import AUDIENCE, PATIENCE, Ran, claims_of, part_of, started
from .conftest import Run

LAST_LINE = "Ctrl-C ends it."
NEEDED = ("scopes=orders:read", f"audiences={AUDIENCE}")


def _secrets(text: str) -> dict[str, str]:
    """
    The secrets that an announcement shows, by client.
    """
    return dict(re.findall(r"^client   (\S+)   secret (\S+)   \(shown once\)$", text, re.MULTILINE))


def _url(text: str) -> str:
    found = re.search(r"^issuer   (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


def _serve_here(arguments: list[str], check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> int:
    """
    Run the command in this thread, *check* what it serves from another one, and then press Ctrl-C.
    """
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    ends: Future[int] = Future()

    def check_and_interrupt() -> None:
        deadline = time.monotonic() + PATIENCE
        try:
            while LAST_LINE not in out.getvalue() and not ends.done():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            check(out.getvalue())
        finally:
            if not ends.done():
                os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_and_interrupt)
        try:
            ends.set_result(main(["issuer", "--port", "0", *arguments]))
        finally:
            ends.cancel()
        checked.result(PATIENCE)
    return ends.result()


def test_it_serves_what_it_announces() -> None:
    """
    As a process: banner and secrets reach a pipe at once, the issuer answers, and Ctrl-C ends it well.
    """
    with started("issuer", "--port", "0") as process:
        process.read_until(LAST_LINE)
        url, secrets = _url(process.text), _secrets(process.text)
        with httpx.Client(timeout=PATIENCE, trust_env=False) as http:
            metadata = http.get(f"{url}/.well-known/oauth-authorization-server").json()
            keys = http.get(metadata["jwks_uri"]).json()["keys"]
            token = request_token(http, url, client_id="dev-client", client_secret=secrets["dev-client"])
        ran = process.interrupt()

    assert (ran.status, ran.err) == (0, "")
    assert "FOR DEVELOPMENT ONLY" in ran.out
    assert metadata["issuer"] == url
    assert part_of(token, 0)["kid"] in {key["kid"] for key in keys}
    assert claims_of(token)["aud"] == AUDIENCE
    assert list(secrets) == ["dev-client"]
    assert ran.out.count(secrets["dev-client"]) == 1


def test_it_ends_when_interrupted_at_once() -> None:
    """
    Ctrl-C just after the first line is no traceback either.
    """
    with started("issuer", "--port", "0") as process:
        process.read_until("*")
        ran = process.interrupt()

    assert (ran.status, ran.err) == (0, "")


def test_the_announcement_says_how_to_get_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The line to paste has the issuer and the client, not the secret.
    """

    def check(text: str) -> None:
        url = _url(text)
        assert f"guardrail token --issuer {url} --client-id dev-client" in text
        assert "scopes orders:read orders:write   audiences https://api.example.com/orders" in text
        assert "OTHER MACHINES" not in text
        assert httpx.get(f"{url}/jwks", trust_env=False).status_code == 200

    assert _serve_here([], check, monkeypatch) == 0


def test_clients_in_words_replace_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each ``--client`` is registered, with its secret shown, and its operator and lifetime in its tokens.
    """
    batch = ["batch", *NEEDED, "operator=svc-batch", "access_group=Orders:Api", "token_lifetime=60"]

    def check(text: str) -> None:
        secrets = _secrets(text)
        assert list(secrets) == ["batch", "report"]
        with httpx.Client(trust_env=False) as http:
            token = request_token(http, _url(text), client_id="batch", client_secret=secrets["batch"])
        claims = claims_of(token)
        assert (claims["sub"], claims["access_group"]) == ("svc-batch", "Orders:Api")
        assert claims["exp"] - claims["iat"] == 60

    status = _serve_here(["--client", *batch, "--client", "report", *NEEDED], check, monkeypatch)

    assert status == 0


def test_clients_in_a_file_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    ``--clients`` registers the file's clients and ``--client`` one more; there is no default one then.
    """
    file = tmp_path / "clients.toml"
    file.write_text(
        """
        [[client]]
        client_id = "from-file"
        client_secret = "secret-of-the-file"
        scopes = ["orders:read"]
        audiences = ["https://api.example.com/orders"]

        [[client]]
        client_id = "app"
        public = true
        scopes = []
        audiences = ["https://api.example.com/orders"]
        grant_types = ["authorization_code"]
        redirect_uris = ["http://127.0.0.1:8000/callback"]
        """
    )

    def check(text: str) -> None:
        assert re.findall(r"^client   (\S+)", text, re.MULTILINE) == ["from-file", "app", "one-more"]
        assert _secrets(text)["from-file"] == "secret-of-the-file"
        assert "client   app   (public client)" in text.replace("secret ", "")

    status = _serve_here(["--clients", str(file), "--client", "one-more", *NEEDED], check, monkeypatch)

    assert status == 0


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["public=true"], id="public"),
        pytest.param(["auth_method=none"], id="auth method none"),
        pytest.param(["public=true", "auth_method=none"], id="both"),
    ],
)
def test_a_public_client_in_words_has_no_secret(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """
    A public client is announced as one, and there is no secret to get a token with.
    """
    browser = ["grant_types=authorization_code refresh_token", "redirect_uris=http://127.0.0.1:8000/callback"]

    def check(text: str) -> None:
        assert "client   app   (public client)" in text.replace("secret ", "")
        assert "guardrail token" not in text
        with httpx.Client(trust_env=False) as http:
            page = http.get(f"{_url(text)}/authorize", params={"client_id": "app"})
            refused = http.post(f"{_url(text)}/token", data={"client_id": "app", "grant_type": "password"})
        assert "missing required parameter redirect_uri" in page.text
        assert refused.json()["error"] == "unsupported_grant_type"  # it needed no secret to be told

    assert _serve_here(["--client", "app", *NEEDED, *browser, *words], check, monkeypatch) == 0


def test_a_client_with_a_key_in_words_has_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    ``jwks=FILE`` registers public keys, and an assertion signed with one gets a token.
    """
    keys = SigningKeys("ES256")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(keys.jwks()))

    def check(text: str) -> None:
        assert "client   signer   (has a key)" in text.replace("secret ", "")
        claims = {
            "iss": "signer",
            "sub": "signer",
            "aud": _url(text),
            "jti": "1",
            "exp": int(time.time()) + 60,
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": keys.sign(claims, typ="client-authentication+jwt"),
        }
        response = httpx.post(f"{_url(text)}/token", data=form, trust_env=False)
        assert claims_of(response.json()["access_token"])["sub"] == "signer"

    assert _serve_here(["--client", "signer", *NEEDED, f"jwks={file}"], check, monkeypatch) == 0


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        pytest.param("[]", [], "is not a JWK Set in JSON", id="no object"),
        pytest.param('{"keys": []}', [], "jwks must be a JWK Set of public keys", id="no key"),
        pytest.param('{"keys": []}', ["public=true"], "is public and has no jwks", id="public"),
    ],
)
def test_a_file_of_no_public_keys_is_refused(
    run: Run, tmp_path: Path, content: str, words: list[str], says: str
) -> None:
    """
    Nothing is served with keys that nobody could sign for.
    """
    file = tmp_path / "keys.json"
    file.write_text(content)

    ran = run("issuer", "--port", "0", "--client", "signer", *NEEDED, f"jwks={file}", *words)

    assert ran.status == 2
    assert says in ran.only_line


def test_the_announcement_says_how_to_inject_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The line to paste makes the next two token requests fail, and no more.
    """

    def check(text: str) -> None:
        found = re.search(r"^curl (.*) (http\S+/faults)$", text, re.MULTILINE)
        assert found is not None
        form = dict(pair.split("=") for pair in found[1].split() if pair != "-d")
        with httpx.Client(trust_env=False) as http:
            http.post(found[2], data=form).raise_for_status()
            responses = [http.post(f"{_url(text)}/token") for _ in range(3)]
        assert [response.status_code for response in responses] == [429, 429, 401]
        assert responses[0].headers["Retry-After"] == "30"

    assert _serve_here([], check, monkeypatch) == 0


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
def test_the_algorithm_may_be_chosen(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    """
    ``--algorithm`` is what it signs with.
    """

    def check(text: str) -> None:
        keys = httpx.get(f"{_url(text)}/jwks", trust_env=False).json()["keys"]
        assert [key["alg"] for key in keys] == [algorithm]

    assert _serve_here(["--algorithm", algorithm], check, monkeypatch) == 0


def test_an_address_that_others_reach_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Off loopback it says so loudly, and that it needs a name there.
    """

    def check(text: str) -> None:
        assert "It listens on 0.0.0.0: OTHER MACHINES CAN REACH IT." in text
        assert "Give it --url" in text

    assert _serve_here(["--host", "0.0.0.0"], check, monkeypatch) == 0


def test_a_name_of_its_own_is_announced_and_in_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``--url`` is the issuer identifier, wherever it listens.
    """

    def check(text: str) -> None:
        assert _url(text) == "https://login.dev.example.com/tenant"
        assert "OTHER MACHINES CAN REACH IT" in text
        assert "Give it --url" not in text
        assert "/faults" not in text  # what comes by a proxy is refused

    arguments = ["--url", "https://login.dev.example.com/tenant", "--host", "0.0.0.0"]
    assert _serve_here(arguments, check, monkeypatch) == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_is_a_url_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``--host ::1`` works, and its URL can be used.
    """
    try:
        listen("::1", 0).close()
    except Exception as exc:  # noqa: BLE001 - a machine without IPv6 loopback
        pytest.skip(f"no IPv6 loopback here: {exc}")

    def check(text: str) -> None:
        url = _url(text)
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/jwks", trust_env=False).status_code == 200

    assert _serve_here(["--host", "::1"], check, monkeypatch) == 0


def test_a_port_in_use_is_one_line() -> None:
    """
    As a process: no banner, no secret of a server that does not run, no traceback.
    """
    with listen("127.0.0.1", 0) as other:
        port = str(other.getsockname()[1])
        with started("issuer", "--port", port) as process:
            ran = process.ended()

    assert ran.status == 2
    assert ran.only_line.startswith(f"guardrail issuer: port {port} of 127.0.0.1 is taken: choose another")


@pytest.mark.parametrize("port", ["-1", "65536", "x", "٣", ""])
def test_what_is_no_port_is_refused(run: Run, port: str) -> None:
    """
    The message says what a port is.
    """
    ran = run("issuer", f"--port={port}")

    assert (ran.status, ran.out) == (2, "")
    assert "a port is a number from 0 to 65535" in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--client", "batch"], "client batch needs scopes=", id="needs"),
        pytest.param(["--client", "batch", *NEEDED, "x=1"], "write KEY=VALUE", id="unknown key"),
        pytest.param(["--client", "batch", *NEEDED, "token_lifetime=0"], "positive number", id="lifetime"),
        pytest.param(["--client", "a", *NEEDED, "public=yes"], "public=true or public=false", id="public"),
        pytest.param(["--client", "a", *NEEDED, "public=true"], "a public client cannot", id="public alone"),
        pytest.param(
            ["--client", "a", *NEEDED, "public=true", "jwks=x.json"],
            "cannot read x.json: No such",
            id="no keys",
        ),
        pytest.param(["--client", "a", *NEEDED, "jwks=."], "cannot read .: Is a directory", id="directory"),
        pytest.param(["--client", "a", *NEEDED, "auth_method=x"], "auth_method must be", id="auth method"),
        pytest.param(["--client", "é", *NEEDED], "client_id must be printable ASCII", id="client ID"),
        pytest.param(["--client", "a", *NEEDED, "--client", "a", *NEEDED], "two clients", id="one ID twice"),
        pytest.param(["--clients", "nowhere.toml"], "cannot read nowhere.toml: No such file", id="no file"),
        pytest.param(["--url", "ftp://x"], "'ftp://x' is no issuer URL: use", id="no URL"),
    ],
)
def test_wrong_usage_is_one_line_with_the_right_form(run: Run, arguments: list[str], says: str) -> None:
    """
    Nothing is served, nothing announced, and the message says what to write.
    """
    ran = run("issuer", "--port", "0", *arguments)

    assert ran.status == 2
    assert ran.only_line.startswith("guardrail issuer: ")
    assert says in ran.only_line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", "registers no client: write each as a [[client]] table", id="empty"),
        pytest.param("x =", "not a TOML file", id="no TOML"),
        pytest.param('[[client]]\nclient_id = "a"', 'client 1: missing required key "scopes"', id="missing"),
        pytest.param('[[clients]]\nclient_id = "a"', 'unknown key "clients"', id="misspelt"),
    ],
)
def test_a_wrong_file_of_clients_is_refused(run: Run, tmp_path: Path, content: str, says: str) -> None:
    """
    The message names the file and what is wrong with it.
    """
    file = tmp_path / "clients.toml"
    file.write_text(content)

    ran = run("issuer", "--port", "0", "--clients", str(file))

    assert ran.status == 2
    assert str(file) in ran.only_line
    assert says in ran.only_line


def test_without_uvicorn_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The extra is named, before any banner.
    """
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    ran: Ran = run("issuer", "--port", "0")

    assert ran.status == 2
    assert ran.only_line.endswith("pip install 'asgi-guardrail[demo]'")
