"""`python -m bench`, which is `dynamicgate-bench`."""

from bench.cli.app import main

main()
