"""
The middleware against an authorization server that somebody else wrote, over real HTTP.

Needs Node and, once, ``npm ci`` in this directory; without them the tests skip and say so.
"""
