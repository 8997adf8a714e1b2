"""
The answers of a directory that are kept, and for how long.
"""

from dataclasses import dataclass

from cachetools import LRUCache

from ._ages import Instant, Stopwatch
from ._records import OperatorKey, OperatorRecord

__all__ = ["Answer", "KeptAnswers"]


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a directory said.

    Attributes:
        record: The operator's record, or None: there is no such operator.
        asked_at: When the look-up began: what it says may be that old.
        number: Which look-up it was; a later one says more.
    """

    record: OperatorRecord | None
    asked_at: Instant
    number: int


class KeptAnswers:
    """
    At most so many answers; the least recently used go first. Whoever uses it sees to the locking.
    """

    def __init__(
        self,
        *,
        max_age: float,
        negative_max_age: float,
        max_stale: float,
        max_entries: int,
        stopwatch: Stopwatch,
    ) -> None:
        """
        Args: as of `CachedDirectory`; *stopwatch* tells ages.
        """
        self._max_age = max_age
        self._negative_max_age = negative_max_age
        self._max_stale = max_stale
        self._stopwatch = stopwatch
        self._answers: LRUCache[OperatorKey, Answer] = LRUCache(maxsize=max_entries)

    def fresh(self, key: OperatorKey) -> Answer | None:
        """
        The answer that makes a look-up needless, if there is one.
        """
        answer = self._answers.get(key)
        if answer is None:
            return None
        limit = self._negative_max_age if answer.record is None else self._max_age
        return answer if self._stopwatch.age(answer.asked_at) < limit else None

    def last(self, key: OperatorKey) -> OperatorRecord | None:
        """
        The record to use while the directory cannot be had, if there is one. That there was no such operator
        is nothing to go by then.
        """
        answer = self._answers.get(key)
        if answer is None:
            return None
        limit = self._max_age + self._max_stale
        is_usable = limit > 0 and self._stopwatch.age(answer.asked_at) <= limit
        return answer.record if is_usable else None

    def put(self, key: OperatorKey, answer: Answer) -> None:
        """
        Keep *answer*, unless there is one of a look-up that began later, on another event loop.
        """
        before = self._answers.get(key)
        if before is None or before.number < answer.number:
            self._answers[key] = answer

    def discard(self, key: OperatorKey) -> None:
        """
        Forget what was said about *key*, if anything was.
        """
        self._answers.pop(key, None)
