"""
A status page for people: what the guard decided and why, how its keys stand, what calls of ours have tokens.

A `StatusBoard` listens and counts; `status_app` shows it, as one HTML page or as JSON; `status_page` is the
page with nothing on it yet, which asks for a token where a person cannot send one. All of one process: each
worker has its own.
"""

from ._app import status_app, status_page
from ._board import StatusBoard

__all__ = ["StatusBoard", "status_app", "status_page"]
