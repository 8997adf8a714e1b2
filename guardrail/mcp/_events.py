"""
What is kept of the streams of sessions, kept apart by principal.
"""

import json

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import principal_components
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

__all__ = ["BoundEventStore"]


class BoundEventStore(EventStore):
    """
    Binds the events of an event store to the principal of their session: nobody resumes another one's stream.

    The SDK hands one event store to all sessions, and does not tell it whose an event is: without this, who
    knows an event ID reads on from there, in a session of their own. Put it around the store::

        app = server.streamable_http_app(event_store=BoundEventStore(store))

    It does **not** keep sessions of one principal apart, which nothing in the SDK tells it either; FastMCP
    does both by itself. It keeps nothing: the names of streams in *store* begin with the principal.

    Args:
        store: An event store whose `replay_events_after` returns the stream that it replayed.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """
        Keep an event of the caller's.
        """
        return await self._store.store_event(_owner() + stream_id, message)

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        """
        Send what came after an event of the caller's; another one's is as good as none.
        """
        events: list[EventMessage] = []  # whose they are is known at the end

        async def hold(event: EventMessage) -> None:
            events.append(event)

        stream_id = await self._store.replay_events_after(last_event_id, hold)
        owner = _owner()
        if stream_id is None or not stream_id.startswith(owner):
            return None
        for event in events:
            await send_callback(event)
        return stream_id.removeprefix(owner)


def _owner() -> str:
    """
    The principal of the request in whose context this runs, or of the one that opened the session. As JSON,
    it is no beginning of another one's.
    """
    token = get_access_token()
    return json.dumps(None if token is None else principal_components(token))
