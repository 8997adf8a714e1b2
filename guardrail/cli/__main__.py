"""
``python -m guardrail.cli``: the command, where scripts are not on the path.
"""

import sys

from . import main

sys.exit(main())
