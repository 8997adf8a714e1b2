"""
Tests of the embedded issuer.
"""
