"""What this process may use of the machine: cores and memory, also where a container allows it only a part.

Containers are limited by control groups, of version 2 (one tree, `memory.max`, `cpu.max`) or 1 (a tree for each kind).
A group counts with all groups above it. See cgroups(7).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _OWN_GROUPS, _MEMORY = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/meminfo")


def available_cores() -> int:
    """Return the number of cores this process may run on; a share of a core counts as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [share for folder in _folders("cpu") if (share := _cpu_share(folder)) is not None]
    return max(1, min([cores, *(math.ceil(share) for share in shares)]))


def total_memory_bytes() -> int:
    """Return the memory this process may use at most, swap left out."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for limit, _ in _memory_limits())])


def available_memory_bytes() -> int:
    """Return how much memory programs can still get without swapping; where that is not told, a half of all."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(_MEMORY), re.MULTILINE)
    free = 1024 * int(found[1]) if found else total_memory_bytes() // 2
    return min([free, *(max(0, limit - used) for limit, used in _memory_limits())])


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield limit and use of each group that has one; files that are only cached are not in use."""
    for folder in _folders("memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            yield limit, max(0, used - (int(cached[1]) if cached else 0))


def _cpu_share(folder: Path) -> float | None:
    """Return how many cores' time a group may use, None if it has no limit."""
    told = _text(folder / "cpu.max").split() or [
        _text(folder / "cpu.cfs_quota_us").strip(),
        _text(folder / "cpu.cfs_period_us").strip(),
    ]
    if len(told) != 2 or not all(part.isdecimal() for part in told) or int(told[1]) == 0:  # "max", or -1
        return None
    return int(told[0]) / int(told[1])


def _folders(kind: str) -> Iterator[Path]:
    """Yield the folders of the groups this process is in, its own first; a container does not show those above it."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, kinds, place = line.split(":", 2)
        if kinds == "":
            root = _GROUPS if (_GROUPS / "cgroup.controllers").exists() else _GROUPS / "unified"
        elif kind in kinds.split(","):
            root = _GROUPS / kind
        else:
            continue
        inner = root / place.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_dir():
                yield folder
            if folder == root:
                break


def _number(*files: Path) -> int | None:
    """Return the number in the first of the files that there is, None if it is none."""
    text = next((text for file in files if (text := _text(file))), "").strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
