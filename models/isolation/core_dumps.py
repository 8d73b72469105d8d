"""Disables core dumps, because the memory of a process contains customers' values, keys and passwords."""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # from <linux/prctl.h>


def forbid_core_dumps() -> None:
    """Disable core dumps of this process, and core files of its child processes, which inherit the limit.

    The limit alone is not enough: Linux ignores it if `core_pattern` names a program, such as systemd-coredump, which
    then receives the memory. A process that is not dumpable is dumped in neither case, and other processes of the same
    user cannot read its memory. Executing a program resets this property, so every program of the server calls this
    function.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
