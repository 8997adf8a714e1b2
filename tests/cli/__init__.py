"""
The command line, as a newcomer would use it.
"""
