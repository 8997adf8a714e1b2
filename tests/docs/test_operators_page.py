"""
`docs/operators.md` says what is true.
"""

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from guardrail import ServicePackage, current_operator, events
from guardrail.directory import CachedDirectory
from guardrail.directory._look_ups import MAX_CALLS
from guardrail.events._directory import DirectoryFailure
from guardrail.testing import FakeIssuer

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
