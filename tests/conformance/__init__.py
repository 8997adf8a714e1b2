"""
The conformance suite: the public documents, requirement by requirement, from outside.
"""
