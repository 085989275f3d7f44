"""How long tests wait for other processes.

The limits end what hangs, and nothing else: each is a hundred times what a machine needs that does
nothing else, so that tests also pass where dozens of processes share two cores.
"""

PROCESS_SECONDS = 1500  # one process; less than pytest's own limit, so that its output is shown
END_SECONDS = 300  # the end of a process that was told to end
