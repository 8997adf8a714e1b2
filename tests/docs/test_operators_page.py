"""
`docs/operators.md` says what is true.
"""

import inspect
import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from road_kit import ask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from guardrail import GuardrailMiddleware, Operator, ServicePackage, TokenFacts, current_operator, events
from guardrail._policy import Requirement
from guardrail._token_facts import MAX_ACTORS
from guardrail.cli import main
from guardrail.directory import CachedDirectory
from guardrail.directory._look_ups import MAX_CALLS
from guardrail.events._directory import DirectoryFailure
from guardrail.testing import FakeIssuer

AUDIENCE = "https://api.example.com/invoices"
PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")


def run() -> dict[str, Any]:
    """
    Run the page's Python as printed, one block after the other.
    """
    namespace: dict[str, Any] = {}
    for source in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(source, "docs/operators.md", "exec"), namespace)  # noqa: S102 - it is our own page
    return namespace


CALLERS = [
    pytest.param("alice", "orders-app", 200, ["emp-7", "Orders:Managers", ["orders:write"]], id="a user"),
    pytest.param("alice", "orders-batch", 200, ["emp-7", "Orders:Managers", []], id="under a ceiling"),
    pytest.param("bob", "orders-app", 403, None, id="disabled"),
    pytest.param("carol", "orders-app", 403, None, id="unknown"),
    pytest.param("alice", "retired-app", 403, None, id="a client that is disabled"),
    pytest.param("alice", "other-app", 403, None, id="a client that is not registered"),
    pytest.param("orders-batch", "orders-batch", 403, None, id="a machine that is not on the staff"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("subject", "client_id", "status", "expected"), CALLERS)
async def test_the_code_does_what_its_comments_say(
    subject: str, client_id: str, status: int, expected: object
) -> None:
    """
    With its issuer in process and a route of its package, callers are told apart as the page says.
    """
    namespace, fake = run(), FakeIssuer("https://login.example.com", algorithm="EdDSA")
    package: ServicePackage = namespace["orders"]

    @package.requires()
    async def show(_: Request) -> JSONResponse:
        operator = current_operator()
        return JSONResponse([operator.operator_id, operator.access_group, sorted(operator.scopes)])

    app = namespace["app"]
    app.router.routes.append(Route("/orders", show))
    app.user_middleware[0].kwargs["http_client"] = fake.http_client
    token = fake.token(sub=subject, client_id=client_id, scope="orders:write")

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://api.example.com"
    ) as client:
        answer = await client.get("/orders", headers={"authorization": f"Bearer {token}"})

    assert answer.status_code == status
    assert expected is None or answer.json() == expected


ROUTES = [
    pytest.param("approving", {"roles": ["auditor"]}, 200, None, id="one of the roles"),
    pytest.param("approving", {"roles": ["clerk"]}, 403, "role_missing", id="another role"),
    pytest.param("approving", {"roles": ["auditor"], "scope": ""}, 403, "insufficient_scope", id="no scope"),
    pytest.param("exporting", {"groups": ["Invoices:Managers", "x"]}, 200, None, id="the active group"),
    pytest.param(
        "exporting", {"groups": ["x", "Invoices:Managers"]}, 403, "access_group_missing", id="a group held"
    ),
    pytest.param("exporting", {"hasgroups": True}, 403, "groups_overage", id="groups left out"),
    pytest.param("exporting", {"act": {"sub": "a"}}, 403, "access_group_missing", id="no group at all"),
    pytest.param("exporting", {"act": {}}, 401, "claims_malformed", id="an actor without a subject"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "claims", "status", "code"), ROUTES)
async def test_what_a_route_asks_is_judged(
    name: str, claims: dict[str, Any], status: int, code: str | None
) -> None:
    """
    The page's requirements, with access groups read from the groups, refuse as its list says.
    """
    requirement: Requirement = run()[name]
    fake = FakeIssuer("https://login.example.com", algorithm="EdDSA", audience=AUDIENCE)
    issuer = replace(requirement.package.issuers[0], mapping={"access_groups": "groups"})
    package = replace(requirement.package, issuer=issuer)
    codes: list[str] = []

    def hear(event: object) -> None:
        if isinstance(event, events.TokenRefused):
            codes.append(event.code)

    guarded = GuardrailMiddleware(
        JSONResponse({}),
        prefixes={"/": replace(requirement, package=package)},
        http_client=fake.http_client,
        on_event=[hear],
    )

    answer = await ask(guarded, "/", token=fake.token(**{"scope": "invoices:read", **claims}))

    assert answer.status_code == status
    assert codes == ([] if code is None else [code])
    assert ("scope=" in answer.headers.get("www-authenticate", "")) == (code == "insufficient_scope")


@pytest.mark.anyio
async def test_who_acts_is_told_behind_the_operator() -> None:
    """
    The page's audit line has the operator, the current actor and those before.
    """
    namespace, fake = run(), FakeIssuer("https://login.example.com", algorithm="EdDSA", audience=AUDIENCE)

    async def show(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(namespace["audit_line"]())(scope, receive, send)

    guarded = GuardrailMiddleware(
        show, prefixes={"/": namespace["invoices"].requires()}, http_client=fake.http_client
    )
    token = fake.token(act={"sub": "agent", "act": {"sub": "bot"}})

    answer = await ask(guarded, "/", token=token)

    assert answer.json() == ["https://login.example.com#alice", "agent", "bot"]


def test_the_command_shows_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The page's command runs as printed, and shows whom the client acts as.
    """
    fake = FakeIssuer("https://login.example.com", algorithm="EdDSA")
    monkeypatch.chdir(tmp_path)
    Path("token.txt").write_text(fake.token(sub="orders-batch", client_id="orders-batch"))
    Path("keys.json").write_text(json.dumps(fake.keys.jwks()))
    [command] = re.findall(r"^guardrail (explain [^`]*?)\n```", PAGE, re.MULTILINE)

    status = main([*shlex.split(command.replace("\\\n", " ")), "--jwks=keys.json"])

    out = capsys.readouterr().out
    assert status == 0
    assert re.search(r"^operator_id +client registration +'svc-orders'$", out, re.MULTILINE)
    assert re.search(r"^access_groups +client registration +'Orders:Batch'$", out, re.MULTILINE)


def test_every_field_of_an_operator_is_listed() -> None:
    """
    The first table has all fields and no other; its row about the token has all facts.
    """
    rows = re.findall(r"^\| (`[\w`, ]+`) \| .+ \| (.+) \|$", PAGE.partition("### ")[0], re.MULTILINE)

    listed = [field for cell, _ in rows for field in re.findall(r"`(\w+)`", cell)]
    [facts] = [re.findall(r"`(\w+)`", text) for cell, text in rows if cell == "`token`"]
    assert sorted(listed) == sorted(one.name for one in fields(Operator) if one.repr)
    assert facts == [one.name for one in fields(TokenFacts)]
    assert f"More than {MAX_ACTORS} in a row" in PAGE


def test_the_numbers_are_the_defaults() -> None:
    """
    Each number in the table is the default of the setting it stands beside.
    """
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)(?: s)? \|", PAGE, re.MULTILINE)
    parameters = inspect.signature(CachedDirectory).parameters

    assert {name: float(number.replace(",", "")) for name, number in rows} == {
        name: parameters[name].default for name in parameters if name not in {"directory", "clock"}
    }
    assert f"At most {MAX_CALLS:,} calls" in PAGE


def test_every_event_about_the_directory_is_listed() -> None:
    """
    With every reason that there is.
    """
    listed = set(re.findall(r"^\| `(guardrail\.directory_\w+)` \|", PAGE, re.MULTILINE))

    names = {getattr(events, one).name for one in events.__all__ if one.startswith("Directory")}
    assert listed == names
    assert all(f"`{reason}`" in PAGE for reason in get_args(DirectoryFailure))
