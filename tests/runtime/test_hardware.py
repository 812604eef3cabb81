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
