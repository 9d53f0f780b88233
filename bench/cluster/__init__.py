"""A run on several machines: parts of it are measured at sites, and one coordinator decides, keeps the records and goes on.

coordinator   sites.py      which sites there are, and which may take part
              units.py      units of work that go to sites, until all are done
              parts.py      parts of a stage as units; probes.py: what types are chosen by; importance.py: sums of the calibration text;
                            building.py: files
              setup.py      what sites are handed, and what they must be like
site          site.py       what a site does with its own cache; digits.py: whether it agrees
              answering.py  what it can be asked
              worker.py     its process
between       protocol.py   what crosses, as data; connection.py: what carries it, in general
              dask.py       what carries it
to begin      address.py, opened.py, local.py, ssh.py
"""
