"""
Client registrations in a TOML file.
"""

from pathlib import Path

import pytest

from guardrail.issuer import Client, load_clients

from .builders import CALLBACK, ORDERS

REQUIRED = f'client_id = "web"\nscopes = ["orders:read"]\naudiences = ["{ORDERS}"]\n'


def a_file(directory: Path, content: str) -> Path:
    """
    Write a registration file.
    """
    path = directory / "clients.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    """The keys of a table are the fields of the client."""
    path = a_file(
        tmp_path,
        "[[client]]\n" + REQUIRED + 'client_secret = "hunter2"\n'
        'grant_types = ["authorization_code", "refresh_token"]\n'
        f'redirect_uris = ["{CALLBACK}"]\n'
        'operator = "alice"\naccess_group = "berlin"\ntoken_lifetime = 60\nrefresh_token_lifetime = 120.5\n',
    )

    clients = load_clients(path)

    expected = Client(
        "web",
        client_secret="hunter2",
        scopes=["orders:read"],
        audiences=[ORDERS],
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=[CALLBACK],
        operator="alice",
        access_group="berlin",
        token_lifetime=60,
        refresh_token_lifetime=120.5,
    )
    assert clients == (expected,)


def test_clients_keep_their_order(tmp_path: Path) -> None:
    """All tables are read, in the order of the file."""
    path = a_file(tmp_path, f"[[client]]\n{REQUIRED}[[client]]\n{REQUIRED.replace('web', 'app')}")

    assert [client.client_id for client in load_clients(str(path))] == ["web", "app"]


def test_empty_file_has_no_clients(tmp_path: Path) -> None:
    """A file without tables registers nobody."""
    assert load_clients(a_file(tmp_path, "")) == ()


def test_missing_secret_is_generated(tmp_path: Path) -> None:
    """A client without a secret gets a fresh one at each load."""
    path = a_file(tmp_path, f"[[client]]\n{REQUIRED}")

    first, second = load_clients(path)[0], load_clients(path)[0]

    assert first.client_secret is not None
    assert len(first.client_secret) == 43
    assert first.client_secret != second.client_secret


def test_public_client_has_no_secret(tmp_path: Path) -> None:
    """A client marked public has no secret."""
    grants = f'public = true\ngrant_types = ["authorization_code"]\nredirect_uris = ["{CALLBACK}"]\n'

    clients = load_clients(a_file(tmp_path, f"[[client]]\n{REQUIRED}{grants}"))

    assert clients[0].is_public


KEY_SET = """
[[client.jwks.keys]]
kty = "OKP"
crv = "Ed25519"
kid = "2026-01"
x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
"""


def test_client_with_keys_gets_no_secret(tmp_path: Path) -> None:
    """A client whose keys are in the file authenticates with them alone."""
    client = load_clients(a_file(tmp_path, f"[[client]]\n{REQUIRED}{KEY_SET}"))[0]

    assert client.client_secret is None
    assert client.auth_methods == {"private_key_jwt"}
    assert client.keys is not None
    assert client.keys.key_ids == {"2026-01"}


def test_client_of_method_none_is_public(tmp_path: Path) -> None:
    """The registered method says as much as public does."""
    method = f'auth_method = "none"\ngrant_types = ["authorization_code"]\nredirect_uris = ["{CALLBACK}"]\n'

    client = load_clients(a_file(tmp_path, f"[[client]]\n{REQUIRED}{method}"))[0]

    assert client.is_public


def test_method_with_a_secret_leaves_the_secret_generated(tmp_path: Path) -> None:
    """A registered method that needs a secret gets one."""
    path = a_file(tmp_path, f'[[client]]\n{REQUIRED}auth_method = "client_secret_post"\n')

    client = load_clients(path)[0]

    assert client.client_secret
    assert client.auth_methods == {"client_secret_post"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("client = [", "not a TOML file", id="not TOML"),
        pytest.param("[[clients]]\n" + REQUIRED, 'unknown key "clients"; known: client$', id="unknown table"),
        pytest.param("[client]\n" + REQUIRED, r"write each client as a \[\[client\]\] table", id="one table"),
        pytest.param("client = [1]\n", r"write each client as a \[\[client\]\] table", id="list of numbers"),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'scope = "x"\n',
            'client 1: unknown key "scope"; known: .*scopes',
            id="unknown key",
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED.replace("scopes", "operator").replace('["orders:read"]', '"alice"'),
            'client 1: missing required key "scopes"',
            id="missing key",
        ),
        pytest.param("[[client]]\n" + REQUIRED + "public = 1\n", "public must be true", id="public is 1"),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'public = true\nclient_secret = "hunter2"\n',
            "a public client has no client_secret",
            id="public with secret",
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + "public = true\n" + KEY_SET,
            "a public client has no jwks",
            id="public with keys",
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'auth_method = "private_key_jwt"\n',
            "auth_method must be none here: .* private_key_jwt needs jwks",
            id="method without keys",
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'client_secret = "hunter2"\n' + KEY_SET,
            "client_secret or jwks, not both",
            id="secret and keys",
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + "keys = 1\n", 'client 1: unknown key "keys"', id="what is derived"
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'client_secret = ""\n', "client_secret must be", id="empty secret"
        ),
        pytest.param(
            "[[client]]\n" + REQUIRED + 'client_secret = "hunter2"\ntoken_lifetime = "x"\n',
            "client 1: token_lifetime must be",
            id="wrong type",
        ),
    ],
)
def test_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """A file that registers nothing sensible is refused, naming file and client and never the secret."""
    path = a_file(tmp_path, content)

    with pytest.raises(ValueError, match=message) as caught:
        load_clients(path)

    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused as no TOML file."""
    path = tmp_path / "clients.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match="not a TOML file"):
        load_clients(path)


def test_missing_file_is_an_operating_system_error(tmp_path: Path) -> None:
    """A file that is not there stays the error it is."""
    with pytest.raises(FileNotFoundError):
        load_clients(tmp_path / "none.toml")
