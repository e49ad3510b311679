"""Cores and memory are those that a container leaves to its processes, by either kind of control groups."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neuralrank import machine
from neuralrank.machine import available_cores, available_memory_bytes, total_memory_bytes

MB = 1 << 20
Groups = Callable[[str, dict[str, str]], None]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Write down which groups this process is in, and what their files say."""
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_MEMORY", tmp_path / "meminfo")
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * 1024 * MB // 4096}.__getitem__)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {50 * MB} kB\n")

    def write(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def seen() -> tuple[int, int, int]:
    return available_cores(), total_memory_bytes() // MB, available_memory_bytes() // MB


def test_without_limits_all_of_the_machine_is_there(groups: Groups) -> None:
    assert seen() == (16, 64 * 1024, 50 * 1024)
    groups("0::/\n", {"cgroup.controllers": "cpu memory\n"})
    assert seen() == (16, 64 * 1024, 50 * 1024)
    groups("0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n", "a/cpu.max": "max 100000\n"})
    assert seen() == (16, 64 * 1024, 50 * 1024)


def test_groups_of_version_2_limit_with_all_above_them(groups: Groups) -> None:
    files = {
        "cgroup.controllers": "cpu memory\n",
        "pod/memory.max": f"{4096 * MB}\n",
        "pod/memory.current": f"{1024 * MB}\n",
        "pod/memory.stat": f"anon 5\ninactive_file {256 * MB}\nactive_file 7\n",
        "pod/cpu.max": "250000 100000\n",
        "pod/one/memory.max": f"{8192 * MB}\n",
        "pod/one/memory.current": f"{512 * MB}\n",
        "pod/one/cpu.max": "max 100000\n",
    }
    groups("0::/pod/one\n", files)
    assert seen() == (3, 4096, 4096 - 1024 + 256)


def test_inside_a_container_the_root_is_its_own_group(groups: Groups) -> None:
    files = {"cgroup.controllers": "", "memory.max": str(2048 * MB), "memory.current": "0", "cpu.max": "50000 100000"}
    groups("0::/docker/0123\n", files)
    assert seen() == (1, 2048, 2048)


def test_groups_of_version_1_have_a_tree_for_each_kind(groups: Groups) -> None:
    files = {
        "memory/box/memory.limit_in_bytes": str(1024 * MB),
        "memory/box/memory.usage_in_bytes": str(2000 * MB),
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "1",
        "cpu/box/cpu.cfs_quota_us": "400000\n",
        "cpu/box/cpu.cfs_period_us": "100000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    groups("5:memory:/box\n4:cpu,cpuacct:/box\n3:pids:/\n0::/box\n", files)
    assert seen() == (4, 1024, 0)


def test_where_the_system_tells_nothing_a_half_counts_as_free(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MEMORY", Path("/nowhere"))
    assert seen() == (16, 64 * 1024, 32 * 1024)
