"""
``docs/outbound.md`` says what is so.
"""

import ast
import re
from pathlib import Path
from typing import Any

from guardrail import events
from guardrail.client import AuthenticationProfile, _failures
from guardrail.events import Event

PAGE = (Path(__file__).parents[2] / "docs" / "outbound.md").read_text("utf-8")


def test_the_code_of_the_page_runs() -> None:
    """
    Its blocks make a profile, and functions that would use it.
    """
    namespace: dict[str, Any] = {}

    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(ast.parse(block), "outbound.md", "exec"), namespace)  # noqa: S102 - it is our own page

    assert isinstance(namespace["billing"], AuthenticationProfile)
    assert callable(namespace["invoices_or_none"])


def test_every_event_of_the_client_is_listed() -> None:
    """
    The table of events has each one, and none that does not exist.
    """
    listed = set(re.findall(r"^\| `(guardrail\.client\.\w+)` \|", PAGE, re.MULTILINE))

    found = [getattr(events, name) for name in events.__all__ if name != "Listener"]
    assert listed == {
        one.name for one in found if issubclass(one, Event) and one.name.startswith("guardrail.client.")
    }


def test_every_error_of_ours_is_named() -> None:
    """
    The page has the errors that are not an authorization server's.
    """
    ours = {
        "http_4xx",
        "http_5xx",
        "timeout",
        "connect",
        "redirect",
        "bad_response",
        "credentials",
        "not_stored",
    }

    assert all(f"`{one}`" in PAGE for one in ours)
    assert ours.isdisjoint(_failures.OAUTH_ERRORS)
