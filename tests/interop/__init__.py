"""
The middleware against authorization servers that somebody else wrote, over real HTTP: their tokens, their
rotations, and their outages, by way of a proxy that fails on demand.

One needs Node and, once, ``npm ci`` in this directory, the other Debian's *glewlwyd*; without them the tests
skip and say so.
"""
