"""
`docs/monitoring/status.md` says what is true.
"""

import re
from pathlib import Path
from typing import Any

from guardrail import events
from guardrail.status import StatusBoard
from guardrail.status._board import MAX_ENTRIES, MAX_REFUSALS
from guardrail.status._words import NOTICES
from guardrail.testing import assert_guarded

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring" / "status.md").read_text("utf-8")


def test_the_code_runs() -> None:
    """
    The page's Python makes an application whose routes are all declared, and a board with the default limit.
    """
    namespace: dict[str, Any] = {}

    for source in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(source, "docs/monitoring/status.md", "exec"), namespace)  # noqa: S102 - our own page

    assert_guarded(namespace["app"])
    told, default = namespace["board"].as_dict(), StatusBoard().as_dict()
    assert told["nearly_expired_at"] == default["nearly_expired_at"]


def test_the_numbers_are_those_of_the_board() -> None:
    """
    Bounds and period are as the code has them.
    """
    script = (Path(__file__).parents[2] / "guardrail" / "status" / "page.js").read_text("utf-8")

    assert f"{MAX_REFUSALS} refusals, and {MAX_ENTRIES} each of" in PAGE
    assert "every 5 seconds" in PAGE
    assert "const PERIOD = 5000;" in script


def test_named_events_exist() -> None:
    """
    What a part is made from is the name of an event; each notice is named in words.
    """
    names = {getattr(events, name).name for name in events.__all__ if name != "Listener"}
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
    named = {one for row in rows for one in re.findall(r"`((?:token|keys|directory)_\w+)`", row)}

    assert named == {"token_accepted", "token_refused", "keys_unavailable", "directory_unavailable"}
    assert {f"guardrail.{one}" for one in named} | set(NOTICES) <= names
    assert all(word in PAGE for word in ("plain HTTP", "stale keys", "spent refetches", "directory failures"))
