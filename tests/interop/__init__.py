"""
The middleware against an authorization server that somebody else wrote, over real HTTP: its tokens, its
rotations, and its outages, by way of a proxy that fails on demand.

Needs Node and, once, ``npm ci`` in this directory; without them the tests skip and say so.
"""
