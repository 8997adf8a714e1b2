"""
`docs/keys.md` says what is true.
"""

import re
from pathlib import Path

import pytest

from guardrail import Fetching, Issuer, events

PAGE = (Path(__file__).parents[2] / "docs" / "keys.md").read_text("utf-8")


def test_the_code_runs() -> None:
    """
    The page's Python runs as printed, one block after the other.
    """
    namespace: dict[str, object] = {}

    for source in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(source, "docs/keys.md", "exec"), namespace)  # noqa: S102 - it is our own page

    issuer = namespace["issuer"]
    assert isinstance(issuer, Issuer)
    assert issuer.fetching == Fetching(lifetime=300.0, timeout=2.0)


@pytest.mark.parametrize(
    ("says", "value", "unit"),
    [
        pytest.param("**Lifetime**: 10 minutes", Fetching().lifetime, 600.0, id="lifetime"),
        pytest.param(
            "between 1 minute\n  and 24 hours", Fetching().max_age_bounds, (60.0, 86_400.0), id="max-age"
        ),
        pytest.param("older than lifetime and 24 h", Fetching().max_stale, 86_400.0, id="stale"),
        pytest.param("slower than 5 seconds", Fetching().timeout, 5.0, id="timeout"),
        pytest.param("at least 1 and at most 30", Fetching().backoff_bounds, (1.0, 30.0), id="pauses"),
        pytest.param("at most 2 such fetches", Fetching().max_refetches, 2, id="refetches"),
        pytest.param("in 30 seconds", Fetching().refetch_window, 30.0, id="window"),
        pytest.param("remembered for 60 seconds", Fetching().unknown_key_age, 60.0, id="unknown-age"),
        pytest.param("(1,024 of them)", Fetching().max_unknown_keys, 1_024, id="unknown-size"),
        pytest.param("larger than 512 KiB", Fetching().max_body_bytes, 512 * 1_024, id="body"),
    ],
)
def test_the_numbers_are_the_defaults(says: str, value: object, unit: object) -> None:
    """
    Each number that the page names is the default it describes.
    """
    assert says in PAGE
    assert value == unit


def test_every_event_about_keys_is_listed() -> None:
    """
    The page's last table has each event that tells of keys, and none that does not exist.
    """
    listed = set(re.findall(r"^\| `(guardrail\.\w+)` \|", PAGE, re.MULTILINE))

    about_keys = {
        event.name
        for event in (getattr(events, name) for name in events.__all__ if name not in {"Event", "Listener"})
        if not event.name.startswith(
            ("guardrail.token_", "guardrail.plain_", "guardrail.directory_", "guardrail.client.")
        )
    }
    assert listed == about_keys
