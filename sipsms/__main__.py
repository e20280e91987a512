"""`python -m sipsms`."""

from sipsms.cli import main

main()
