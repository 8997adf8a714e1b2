"""
Tokens for the calls we make: fetched, kept, renewed and put on requests.

`AuthenticationProfile` is an `httpx.Auth`: ``httpx.AsyncClient(auth=profile)`` and
``httpx.Client(auth=profile)`` are all there is to write. ``docs/outbound.md`` says what happens when.
"""

from ._profile import AuthenticationProfile

__all__ = ["AuthenticationProfile"]
