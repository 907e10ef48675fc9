"""`python -m runbake`, where the script is not on PATH."""

from runbake.cli import main

main()
