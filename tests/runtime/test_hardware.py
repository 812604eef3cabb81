"""Limits of containers are read where the kernel keeps them."""

import json
import os

import pytest

from saccade.runtime import hardware


def tree(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu:/x\n0::/\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "25000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            0.25,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/../..\n", "sys/fs/cgroup/cpu.max": "broken"}, None),
    ],
)
def test_the_tightest_quota_counts(tmp_path, files, quota):
    root = tree(tmp_path, files)
    assert hardware.cpu_quota(root) == quota
    allowed = len(os.sched_getaffinity(0))
    expected = allowed if quota is None else max(1, min(allowed, -int(-quota // 1)))
    assert hardware.cores(root) == expected


def test_memory_limits_above_the_machines_are_none(tmp_path):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1048576\n"})
    assert hardware.memory_limit(root) == 1 << 20
    (root / "sys/fs/cgroup/a/memory.max").write_text(str(1 << 62))
    assert hardware.memory_limit(root) is None
    (root / "sys/fs/cgroup/a/memory.max").write_text("max")
    assert hardware.memory_limit(root) is None


def test_the_machine_is_told_without_names_of_hosts_or_folders():
    told = json.dumps(hardware.machine())
    assert hardware.machine()["cores"] >= 1
    assert os.uname().nodename not in told
    assert "/home" not in told


def smt(root, pairs):
    """The folders of a machine on which each pair of threads shares a core."""
    files = {}
    for a, b in pairs:
        files |= {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{a},{b}\n" for n in (a, b)}
    return tree(root, files)


@pytest.mark.parametrize(
    ("allowed", "quota", "physical", "counts"),
    [
        ({0, 1, 2, 3, 4, 5, 6, 7}, None, 4, (8, 4, 1)),
        ({0, 1, 2, 3}, None, 4, (4, 1)),  # one thread of each core
        ({0, 4}, None, 1, (2, 1)),  # both threads of one core
        ({0, 1, 2, 3, 4, 5, 6, 7}, 3.0, 4, (3, 1)),
        ({0, 1, 2, 3, 4, 5, 6, 7}, 0.5, 4, (1,)),
        ({5}, None, 1, (1,)),
        ({90, 91}, None, 2, (2, 1)),  # nothing known of them
    ],
)
def test_threads_worth_trying(tmp_path, monkeypatch, allowed, quota, physical, counts):
    root = smt(tmp_path, [(n, n + 4) for n in range(4)])
    if quota:
        tree(root, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{int(quota * 1e5)} 100000\n"})
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: allowed)
    assert hardware.physical_cores(root) == physical
    assert hardware.thread_counts(root) == counts
