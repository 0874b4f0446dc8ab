"""`python -m distill_offline`."""

from distill_offline.cli import main

main()
