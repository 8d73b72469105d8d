"""Runs the graphs of untrusted bundles in processes of their own, with limits on time, memory and files.

Anybody who can write to the catalog's folder can add a bundle, so a bundle that is not active is untrusted: the server
and the commands never open its graphs in their own process. `processes` starts and ends the other processes, `worker`
is the program that runs in them, `frames` defines the messages that the server and such a process exchange through
pipes, and `core_dumps` prevents core files, which would contain the memory of a process. Import the modules directly.
The package exports no name, because a worker needs only three of the modules and must start quickly.
"""

__all__: list[str] = []
