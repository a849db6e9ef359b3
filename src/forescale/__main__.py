"""`python -m forescale`."""

from forescale.cli import main

main()
