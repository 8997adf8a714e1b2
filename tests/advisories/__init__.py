"""
Published attacks on token validation, each tried from outside; `kit` holds what they have in common.
"""
