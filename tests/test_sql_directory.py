"""
The SQL directory of the examples, on SQLite and on a PostgreSQL server: rows that decide who may call.
"""

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jwks_world import Clock
from postgres import Cluster, find_binaries, run_cluster
from road_kit import ask, new_issuer
from sqlalchemy.ext.asyncio import AsyncSession

from guardrail.directory import CachedDirectory, OperatorKey, OperatorRecord
from guardrail.events import DirectoryFailed, Event, TokenRefused
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[1] / "examples" / "sql_directory.py"
ISSUER = "https://login.example.com"
MISSING = "PostgreSQL is not installed: apt-get install postgresql"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """
    A PostgreSQL server; CI has one.
    """
    binaries = find_binaries()
    if binaries is None and os.environ.get("CI"):
        pytest.fail(MISSING)
    if binaries is None:
        pytest.skip(MISSING)
    with run_cluster(binaries) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """
    The URL of a database.
    """
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'staff.db'}"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.url


class Example:
    """
    The example, with an issuer in this process and a clock.
    """

    def __init__(self, module: Any, fake: FakeIssuer) -> None:
        self.module = module
        self.fake = fake
        self.clock = Clock()
        self.events: list[Event] = []
        self.app = module.app
        self.directory = CachedDirectory(
            module.SqlDirectory(module.engine), max_stale=300.0, clock=self.clock
        )
        module.directory = self.directory
        self.app.user_middleware[0].kwargs.update(
            http_client=fake.http_client, directory=self.directory, on_event=[self.events.append]
        )

    async def add(self, subject: str, *groups: str, **fields: Any) -> None:
        """
        Put somebody on the staff, with access groups in this order.
        """
        ranked = reversed(list(enumerate(groups)))  # written in another order than they count
        held = [self.module.Membership(access_group=group, rank=rank) for rank, group in ranked]
        row = {"operator_id": f"emp-{subject}", "issuer": ISSUER, "subject": subject, "memberships": held}
        async with AsyncSession(self.module.engine) as session, session.begin():
            session.add(self.module.StaffMember(**{**row, **fields}))

    def token(self, subject: str = "alice", scope: str = "orders:read", client_id: str = "orders-app") -> str:
        """
        Somebody's token.
        """
        return self.fake.token(sub=subject, scope=scope, client_id=client_id)

    @property
    def codes(self) -> list[str]:
        """
        Why callers were refused.
        """
        return [event.code for event in self.events if isinstance(event, TokenRefused)]


@pytest.fixture
async def example(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Example]:
    """
    The example on a database that is empty before and after.
    """
    fake = new_issuer(ISSUER)
    monkeypatch.setenv("ORDERS_ISSUER", fake.url)
    monkeypatch.setenv("STAFF_DATABASE", database)
    async with imported() as module, module.lifespan(module.app):
        try:
            yield Example(module, fake)
        finally:
            async with module.engine.begin() as connection:
                await connection.run_sync(module.Base.metadata.drop_all)


@asynccontextmanager
async def imported() -> AsyncIterator[Any]:
    """
    The example's module, imported afresh.
    """
    spec = importlib.util.spec_from_file_location("example_sql_directory", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[spec.name]


async def test_a_row_becomes_the_operator(example: Example) -> None:
    """
    Its key and its access groups in the order of their ranks; the default is active, else the first.
    """
    await example.add("alice", "Orders:Clerks", "Orders:Managers")
    await example.add("bob", "Orders:Clerks", "Orders:Managers", default_access_group="Orders:Managers")

    answers = [await ask(example.app, token=example.token(subject)) for subject in ("alice", "bob")]

    assert [answer.json() for answer in answers] == [
        {"orders_of": "emp-alice", "acting_in": "Orders:Clerks"},
        {"orders_of": "emp-bob", "acting_in": "Orders:Managers"},
    ]


async def test_a_record_has_left_its_session(example: Example) -> None:
    """
    It can be kept: it is plain values, without roles, which that database does not have.
    """
    await example.add("alice", "Orders:Clerks")
    key = OperatorKey(f"{ISSUER}#alice", ISSUER, None, "alice", "orders-app", "user")

    record = await example.module.SqlDirectory(example.module.engine).resolve(key)

    assert record == OperatorRecord("emp-alice", access_groups=["Orders:Clerks"])
    assert type(record) is OperatorRecord


async def test_who_has_no_row_is_refused(example: Example) -> None:
    """
    So is who has the same subject at another issuer; no row is made of either.
    """
    await example.add("alice", issuer="https://other.example.org")

    answer = await ask(example.app, token=example.token())

    assert (answer.status_code, example.codes) == (403, ["operator_unknown"])


async def test_who_is_disabled_is_refused(example: Example) -> None:
    """
    With the row there, and enabled, the same caller is served after the record's age.
    """
    await example.add("alice", enabled=False)
    refused = await ask(example.app, token=example.token())
    async with AsyncSession(example.module.engine) as session, session.begin():
        (await session.get_one(example.module.StaffMember, "emp-alice")).enabled = True

    example.clock.now += 60.0
    served = await ask(example.app, token=example.token())

    assert (refused.status_code, served.status_code) == (403, 200)
    assert example.codes == ["operator_disabled"]


async def test_a_manager_dismisses_somebody_with_immediate_effect(example: Example) -> None:
    """
    Only a manager may, whatever the scopes; the dismissed one's next request is refused, with a good token.
    """
    await example.add("alice", "Orders:Clerks")
    await example.add("bob", "Orders:Managers")
    alice, bob = (example.token(subject, scope="orders:read orders:write") for subject in ("alice", "bob"))
    before = await ask(example.app, token=alice)

    not_hers = await ask(example.app, "/staff/emp-bob", token=alice, method="DELETE")
    dismissed = await ask(example.app, "/staff/emp-alice", token=bob, method="DELETE")
    nobody = await ask(example.app, "/staff/emp-carol", token=bob, method="DELETE")
    after = await ask(example.app, token=alice)

    assert [one.status_code for one in (before, not_hers, dismissed, nobody, after)] == [
        200,
        403,
        200,
        404,
        403,
    ]
    assert example.codes == ["access_group_missing", "operator_disabled"]


async def test_a_batch_client_cannot_write_whatever_its_user_may(example: Example) -> None:
    """
    Its registration has a ceiling.
    """
    await example.add("bob", "Orders:Managers")
    token = example.token("bob", scope="orders:read orders:write", client_id="orders-batch")

    reading = await ask(example.app, token=token)
    writing = await ask(example.app, "/staff/emp-bob", token=token, method="DELETE")

    assert (reading.status_code, writing.status_code) == (200, 403)
    assert example.codes == ["insufficient_scope"]


async def test_a_database_without_the_table_is_503(example: Example) -> None:
    """
    Nothing of what the driver says is told, but for the name of its class.
    """
    async with example.module.engine.begin() as connection:
        await connection.run_sync(example.module.Base.metadata.drop_all)

    answer = await ask(example.app, token=example.token())

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    (failed,) = (event for event in example.events if isinstance(event, DirectoryFailed))
    assert failed.reason == "raised"
    assert str(failed.error).startswith("sqlalchemy.exc.")
    assert "staff" not in repr(failed)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_an_outage_of_the_server_is_bridged(example: Example, cluster: Cluster) -> None:
    """
    While it is down, known callers are served with their last record and others get 503; after it, everybody.
    """
    await example.add("alice")
    await example.add("bob")
    alice, bob = example.token("alice"), example.token("bob")
    known = await ask(example.app, token=alice)

    await asyncio.to_thread(cluster.stop)
    try:
        example.clock.now += 60.0
        during = [await ask(example.app, token=token) for token in (alice, bob)]
        example.clock.now += 300.5
        too_long = await ask(example.app, token=alice)
    finally:
        await asyncio.to_thread(cluster.start)
    after = [await ask(example.app, token=token) for token in (alice, bob)]

    assert known.status_code == 200
    assert [answer.status_code for answer in during] == [200, 503]
    assert too_long.status_code == 503
    assert [answer.status_code for answer in after] == [200, 200]
