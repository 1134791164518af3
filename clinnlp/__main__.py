"""`python -m clinnlp`."""

from clinnlp.cli import main

raise SystemExit(main())
