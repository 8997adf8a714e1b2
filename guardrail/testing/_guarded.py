"""
`assert_guarded`: one line in a test suite that fails when a route is left open.
"""

from .._inspection import survey
from ..errors import PolicyError


def assert_guarded(app: object) -> None:
    """
    Check that `guardrail.GuardrailMiddleware` guards *app*, innermost, and that every route is declared.

    Args:
        app: A Starlette or FastAPI application it was added to, or the middleware around any application.

    Raises:
        AssertionError: It does not; the message lists every undeclared route, or says what is wrong.
    """
    try:
        table = survey(app)
    except PolicyError as exc:
        raise AssertionError(str(exc)) from exc
    undeclared = [f"  {row}" for row in table.rows if row.declaration is None]
    if undeclared:
        raise AssertionError("undeclared routes:\n" + "\n".join(undeclared))
