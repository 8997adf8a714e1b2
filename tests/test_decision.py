"""
The decision in force: for one declaration, in one context.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import pytest
from frameworks import ORDERS, decision, endpoint

from guardrail import Operator, current_operator
from guardrail._decision import enter
from guardrail._declaration import declaration_of
from guardrail._operator import ANONYMOUS
from guardrail.errors import MiddlewareMissingError

ALICE = Operator(
    operator_id="https://login.example.com#alice",
    kind="user",
    issuer="https://login.example.com",
    subject="alice",
)


def test_without_a_decision_nothing_is_allowed() -> None:
    """
    Outside a guarded request no declaration is allowed, and neither is the absence of one.
    """
    assert not enter(declaration_of(ORDERS.requires()(endpoint([], "read_orders"))))
    assert not enter(None)


def test_a_decision_allows_its_own_declaration_only() -> None:
    """
    Declarations are compared by identity: an equal requirement elsewhere is another one.
    """
    requirement = ORDERS.requires("orders:read")
    own = declaration_of(requirement(endpoint([], "own")))
    other = declaration_of(requirement(endpoint([], "own")))

    with decision(own):
        allowed = enter(own), enter(other)

    assert allowed == (True, False)
    assert not enter(own)


def test_the_operator_is_that_of_the_request() -> None:
    """
    `current_operator` is the operator the decision was made for.
    """
    with decision(None, ALICE):
        operator = current_operator()

    assert operator is ALICE


def test_the_operator_of_a_public_route_is_anonymous() -> None:
    """
    On a public route `current_operator` is the anonymous operator, not an error.
    """
    with decision(None):
        operator = current_operator()

    assert operator is ANONYMOUS
    assert not operator.is_authenticated


def test_outside_a_request_there_is_no_operator() -> None:
    """
    `current_operator` raises where no guarded request is served, instead of inventing somebody.
    """
    with pytest.raises(MiddlewareMissingError, match="outside a guarded request"):
        current_operator()


@pytest.mark.anyio
async def test_tasks_and_threads_of_a_handler_see_its_operator() -> None:
    """
    The decision goes along into tasks and into the worker threads of the framework.
    """

    async def task() -> Operator:
        await asyncio.sleep(0)
        return current_operator()

    with decision(None, ALICE):
        in_task = asyncio.create_task(task())
        in_thread = await anyio.to_thread.run_sync(current_operator)

    assert in_thread is ALICE
    assert await in_task is ALICE


def test_a_thread_of_its_own_has_no_operator() -> None:
    """
    A pool that copies no context never sees the operator of whoever used it last.
    """
    with decision(None, ALICE), ThreadPoolExecutor(1) as pool:
        future = pool.submit(current_operator)

        with pytest.raises(MiddlewareMissingError):
            future.result()
