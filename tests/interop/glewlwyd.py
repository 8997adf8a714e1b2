"""
A second authorization server that has nothing in common with the first: *glewlwyd*, a Debian package, in C.

Knows how to start it with a throw-away database, on a free loopback port, and what it is configured with: two
issuers side by side, a machine, an application of persons, and these persons. Knows nothing of guardrail.
"""

import secrets
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from .glewlwyd_issuer import GlewlwydIssuer, Settings
from .visitor import REDIRECT_URI, visit

START_TIMEOUT = 15.0  # seconds; it takes a fraction of one
STOP_TIMEOUT = 5.0  # seconds
POLL_EVERY = 0.02  # seconds
ATTEMPTS = 3  # a port that was free may be taken a moment later
LOG_TAIL = 4000  # characters
MODULES = Path("/usr/lib/glewlwyd")
SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")

ORDERS = "https://api.example.com/orders"
ELSEWHERE = "https://api.example.com/elsewhere"
SCOPES = ("orders:read", "orders:write")
MACHINE = "nightly-export"
APPLICATION = "storefront"
PERSONS: dict[str, dict[str, Any]] = {
    "maria": {
        "email": "maria@acme.example",
        "job": ["planner", "buyer"],
        "team": ["orders-emea"],
        "access_group": ["Orders:Agent"],
        "company": ["acme"],
    },
    "paul": {"email": "paul@acme.example", "access_group": ["Orders:Viewer"]},
}
# What a token says of a person -> the property of the person it is taken from.
CLAIMS = {
    "https://acme.example/access_group": "access_group",
    "company": "company",
    "job": "job",
    "login": "username",
    "mail": "email",
    "team": "team",
}

CONFIGURATION = """
port = {port}
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:{port}"
api_prefix = "api"
log_mode = "console"
log_level = "WARNING"
cookie_secure = 0
session_key = "GLEWLWYD2_SESSION_ID"
hash_algorithm = "SHA512"
user_module_path = "{modules}/user"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
database = {{ type = "sqlite3" path = "{database}" }};
"""


class Glewlwyd:
    """
    A running server and its two issuers, which share users and clients but no key.
    """

    def __init__(self, url: str, admin: httpx.Client) -> None:
        api = f"{url}/api"
        settings = Settings(
            client_secrets={client_id: secrets.token_urlsafe(32) for client_id in (MACHINE, APPLICATION)},
            passwords={name: secrets.token_urlsafe(32) for name in PERSONS},
            claims=CLAIMS,
        )
        self._admin = admin
        self._set_up(settings)
        self.issuer = GlewlwydIssuer("acme", api=api, admin=admin, settings=settings)
        self.sibling = GlewlwydIssuer("globex", api=api, admin=admin, settings=settings)

    def _set_up(self, settings: Settings) -> None:
        for scope in SCOPES:
            self._admin.post(
                "/scope/", json={"name": scope, "display_name": scope, "password_required": False}
            )
        # Properties of users that its database module does not know are single strings, unless it is told.
        module = self._admin.get("/mod/user/database").json()
        for name in ("access_group", "company", "job", "team"):
            module["parameters"]["data-format"][name] = {"multiple": True, "read": True, "write": True}
        self._admin.put("/mod/user/database", json=module)
        self._admin.put("/mod/user/database/reset")
        for client_id, grant in ((MACHINE, "client_credentials"), (APPLICATION, "code")):
            self._add_client(client_id, grant, secret=settings.client_secrets[client_id])
        for name, properties in PERSONS.items():
            self._add_person(name, properties, password=settings.passwords[name])

    def _add_client(self, client_id: str, grant: str, *, secret: str) -> None:
        client = {
            "client_id": client_id,
            "name": client_id,
            "client_secret": secret,
            "confidential": True,
            "enabled": True,
            "authorization_type": [grant],
            "token_endpoint_auth_method": ["client_secret_basic"],
            "redirect_uri": [REDIRECT_URI],
            "resource": [ORDERS, ELSEWHERE],
            "scope": SCOPES if grant == "client_credentials" else [],
        }
        self._admin.post("/client/", json=client)

    def _add_person(self, name: str, properties: Mapping[str, Any], *, password: str) -> None:
        person = {"username": name, "name": name, "password": password, "enabled": True, **properties}
        self._admin.post("/user/", json={**person, "scope": ["g_profile", "openid", *SCOPES]})


def find_glewlwyd() -> str | None:
    """
    Find the executable, or nothing if any part of Debian's package is missing.
    """
    there = SCHEMA.is_file() and MODULES.is_dir() and shutil.which("setpriv")
    return shutil.which("glewlwyd") if there else None


@contextmanager
def run_glewlwyd(executable: str, *, directory: Path) -> Iterator[Glewlwyd]:
    """
    Start a server on a free loopback port, set it up, and stop it afterwards.

    Args:
        executable: What `find_glewlwyd` found.
        directory: Where its configuration, database and log go.

    Raises:
        RuntimeError: It ended or kept silent, or refused to be set up. The message quotes the log.
    """
    log = directory / "glewlwyd.log"
    _create_database(directory / "glewlwyd.db")
    with log.open("a") as output:
        process, url = _start(executable, directory, output.fileno())
        try:
            with visit(f"{url}/api") as admin:
                admin.event_hooks["response"].append(lambda response: _require_success(response, log))
                # The account that its schema comes with; who reaches it gets at nothing but this test run.
                admin.post("/auth/", json={"username": "admin", "password": "password"})
                yield Glewlwyd(url, admin)
        finally:
            _stop(process)


def _create_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA.read_text("utf-8"))


def _start(executable: str, directory: Path, output: int) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(ATTEMPTS):
        port = _free_port()
        configuration = directory / "glewlwyd.conf"
        database = directory / "glewlwyd.db"
        configuration.write_text(CONFIGURATION.format(port=port, modules=MODULES, database=database))
        # The kernel ends it when we are gone, however we went: it leaves no orphan.
        command = ["setpriv", "--pdeathsig", "TERM", executable, f"--config-file={configuration}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if _answers(process, port):
            return process, f"http://127.0.0.1:{port}"
        _stop(process)
    raise RuntimeError(f"glewlwyd did not start; it said:\n{_tail(directory / 'glewlwyd.log')}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """
    Tell whether it answers within `START_TIMEOUT`, before it ends.
    """
    ends_at = time.monotonic() + START_TIMEOUT
    with visit(f"http://127.0.0.1:{port}") as client:
        while process.poll() is None and time.monotonic() < ends_at:
            try:
                return client.get("/config").is_success and process.poll() is None
            except httpx.TransportError:
                time.sleep(POLL_EVERY)
    return False


def _require_success(response: httpx.Response, log: Path) -> None:
    if not response.is_success:
        request = response.request
        answer = f"{request.method} {request.url.path} is answered with {response.status_code}"
        raise RuntimeError(f"glewlwyd: {answer}; it said:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-LOG_TAIL:]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
