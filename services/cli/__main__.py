"""`python -m services.cli` is `shelver`."""

from services.cli import main

main()
