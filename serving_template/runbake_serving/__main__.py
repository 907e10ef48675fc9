"""`python -m runbake_serving`: serve, batch, predict, provenance.

The only place that reads the environment and the command line.
"""

from __future__ import annotations

import os
import sys

from runbake_serving.commands import main

sys.exit(main(sys.argv[1:], os.environ))
