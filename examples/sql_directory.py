"""
An operator directory in SQL: who may call is a row in a table, and what a row says counts within a minute.

    STAFF_DATABASE=postgresql+asyncpg://staff@127.0.0.1/staff uvicorn examples.sql_directory:app

Needs SQLAlchemy and an asynchronous driver: asyncpg for PostgreSQL, aiosqlite for SQLite.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from guardrail import ClientRegistration, GuardrailMiddleware, Issuer, ServicePackage, current_operator
from guardrail.directory import CachedDirectory, OperatorKey, OperatorRecord


class Base(DeclarativeBase):
    """
    The tables of this example.
    """


class StaffMember(Base):
    """
    Somebody who may call, or a machine: found by issuer and subject, the pair that identifies.
    """

    __tablename__ = "staff"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    operator_id: Mapped[str] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    enabled: Mapped[bool] = mapped_column(default=True)
    default_access_group: Mapped[str | None] = mapped_column(default=None)
    memberships: Mapped[list["Membership"]] = relationship(
        order_by="Membership.rank", cascade="all, delete-orphan", lazy="selectin"
    )


class Membership(Base):
    """
    An access group that an operator holds; the one of the lowest rank goes first.
    """

    __tablename__ = "membership"

    operator_id: Mapped[str] = mapped_column(ForeignKey("staff.operator_id"), primary_key=True)
    access_group: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(default=0)


class SqlDirectory:
    """
    Looks operators up in those tables. Without a row there is no operator; no row is ever made here.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._sessions = async_sessionmaker(engine)

    async def resolve(self, key: OperatorKey) -> OperatorRecord | None:
        """
        The operator's record. What it holds is read out here: rows are of no use without their session.
        """
        query = select(StaffMember).where(
            StaffMember.issuer == key.issuer, StaffMember.subject == key.subject
        )
        async with self._sessions() as session:
            member = (await session.scalars(query)).one_or_none()
            if member is None:
                return None
            return OperatorRecord(
                member.operator_id,
                enabled=member.enabled,
                access_groups=[one.access_group for one in member.memberships],
                default_access_group=member.default_access_group,
            )


ISSUER = os.environ.get("ORDERS_ISSUER", "http://127.0.0.1:9000")
engine = create_async_engine(
    os.environ.get("STAFF_DATABASE", "sqlite+aiosqlite:///staff.db"),
    pool_pre_ping=True,  # a connection that the server closed meanwhile is no failed look-up
)
directory = CachedDirectory(SqlDirectory(engine), max_stale=300.0)  # bridges five minutes of an outage

orders = ServicePackage(
    "orders",
    issuer=Issuer(
        ISSUER,
        clients=[ClientRegistration("orders-batch", scopes=["orders:read"])],  # it never writes
    ),
    audience="https://api.example.com/orders",
    scopes={"orders:read": "Read orders", "orders:write": "Change orders"},
)


@orders.requires("orders:read")
async def list_orders(_: Request) -> JSONResponse:
    """
    Whoever is on the staff.
    """
    operator = current_operator()
    return JSONResponse({"orders_of": operator.operator_id, "acting_in": operator.access_group})


@orders.requires("orders:write", access_groups=["Orders:Managers"])
async def dismiss(request: Request) -> JSONResponse:
    """
    Managers disable a member of the staff, who is refused with the next request to this process.

    A key has the client in it, and other processes have caches of their own: everywhere else it takes the
    minute that records are kept.
    """
    async with async_sessionmaker(engine)() as session, session.begin():
        member = await session.get(StaffMember, request.path_params["operator_id"])
        if member is None:
            return JSONResponse({"error": "no such operator"}, status_code=404)
        member.enabled = False
        issuer, subject = member.issuer, member.subject
    for client_id in ("orders-app", "orders-batch"):
        directory.invalidate(
            OperatorKey(f"{issuer}#{subject}", issuer, None, subject, client_id, kind="user")
        )
    return JSONResponse({"dismissed": request.path_params["operator_id"]})


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """
    Make the tables that are not there, and close the connections in the end.
    """
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = Starlette(
    routes=[
        Route("/orders", list_orders),
        Route("/staff/{operator_id}", dismiss, methods=["DELETE"]),
    ],
    lifespan=lifespan,
)
app.add_middleware(GuardrailMiddleware, directory=directory)
