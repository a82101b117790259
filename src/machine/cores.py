"""How many CPU cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def count_cores() -> int:
    """The cores that affinity and the quotas of Linux's control groups allow, at least 1.

    os.cpu_count() counts the machine's: in a container or a job of a cluster, often many more.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, find_quotas(GROUPS, MOUNT))]))


def find_quotas(groups: Path, mount: Path) -> Iterator[float]:
    """The quotas of this process's control groups and those above them, in cores.

    Version 2 has `cpu.max` with quota and period in microseconds; version 1 has a file for each.
    """
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mount / "cpu" if controllers else mount
        folder = top / path.lstrip("/")
        for here in (folder, *folder.parents):
            if here.is_relative_to(top):
                yield from read_quota(here)


def read_quota(folder: Path) -> list[float]:
    """The quota of one control group in cores, if it has one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
        return [float(quota) / float(period)] if float(quota) > 0 else []
    except (OSError, ValueError):  # no such file, or "max": no limit
        return []
