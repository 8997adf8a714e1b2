"""
The operator directory: a team's own record of who may do what, asked about each caller and kept for a while.

A directory is any object with ``async def resolve(key)``. `guardrail.GuardrailMiddleware` takes it as
``directory=`` and keeps what it says by `CachedDirectory`.
"""

from ._cached import CachedDirectory
from ._records import OperatorDirectory, OperatorKey, OperatorRecord

__all__ = ["CachedDirectory", "OperatorDirectory", "OperatorKey", "OperatorRecord"]
