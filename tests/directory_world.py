"""
What tests of the operator directory share: a directory of which a test chooses every answer, and keys.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from jwks_world import Clock

from guardrail.directory import CachedDirectory, OperatorKey, OperatorRecord
from guardrail.errors import UnavailableError
from guardrail.events import DirectoryFailed, Event

ISSUER = "https://login.example.com"
ALICE = OperatorKey(f"{ISSUER}#alice", ISSUER, None, "alice", "web", "user")
BOB = replace(ALICE, operator_id=f"{ISSUER}#bob", subject="bob")
RECORD = OperatorRecord("emp-7", access_groups=["Orders:Clerks"], roles=["clerk"])
CHANGED = OperatorRecord("emp-7", access_groups=["Orders:Managers"])
DISABLED = OperatorRecord("emp-7", enabled=False)
SECRET = "postgresql://guardrail:hunter2@db.internal/staff"  # what an exception's text likes to name

MAX_AGE = 60.0  # seconds; the defaults, each of which a test spells out
NEGATIVE_MAX_AGE = 10.0
TIMEOUT = 2.0


class Staff:
    """
    A directory of which a test chooses every answer.
    """

    def __init__(self, answer: object = RECORD) -> None:
        self.answer = answer
        self.asked: list[OperatorKey] = []
        self.hold: Callable[[], Awaitable[object]] | None = None

    async def resolve(self, key: OperatorKey) -> Any:
        """
        The answer; or raise it, if it can be raised.
        """
        self.asked.append(key)
        answer = self.answer
        if self.hold is not None:
            await self.hold()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class World:
    """
    A directory, what keeps its answers, a clock, and what was told.
    """

    def __init__(self, answer: object = RECORD, **settings: Any) -> None:
        self.staff = Staff(answer)
        self.clock = Clock()
        self.events: list[Event] = []
        self.cached = CachedDirectory(self.staff, clock=self.clock, **settings)

    async def ask(self, key: OperatorKey = ALICE) -> OperatorRecord | UnavailableError | None:
        """
        What comes of a look-up by the middleware, whatever it is.
        """
        try:
            return await self.cached._cache.look_up(key, self.events.append)
        except UnavailableError as error:
            return error

    @property
    def look_ups(self) -> int:
        """
        How often the directory was asked.
        """
        return len(self.staff.asked)

    @property
    def reasons(self) -> list[str]:
        """
        Why look-ups failed.
        """
        return [event.reason for event in self.events if isinstance(event, DirectoryFailed)]


def is_unavailable(outcome: object) -> bool:
    """
    Whether it is the failure that becomes 503 with its own code.
    """
    return isinstance(outcome, UnavailableError) and outcome.code == "directory_unavailable"
