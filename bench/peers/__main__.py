"""`python -m bench.peers`, behind `nox -s peers`."""

from bench.peers.peers import main

main()
