"""One owner per run directory, told from one that has died."""

import subprocess
import sys
import time

import pytest

from fusionscope.errors import RunDirectoryError
from fusionscope.records.lock import RunLock

HOLD = """
import sys, time
from fusionscope.records.lock import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_owner_is_refused_with_the_first_one_named(holder, tmp_path):
    with pytest.raises(RunDirectoryError, match=rf"in use by process {holder.pid} on [\s\S]*--run-dir"):
        RunLock(tmp_path).__enter__()


def test_an_owner_that_died_leaves_no_lock_but_its_name(holder, tmp_path):
    holder.kill()
    holder.wait()
    with RunLock(tmp_path) as lock:
        assert lock.left_by.startswith(f"process {holder.pid} on ")
    with RunLock(tmp_path) as lock:
        assert lock.left_by == ""


def test_a_child_that_inherited_it_keeps_it(tmp_path):
    with RunLock(tmp_path) as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor])
    try:
        with pytest.raises(RunDirectoryError, match="in use by another process"):
            RunLock(tmp_path).__enter__()
    finally:
        child.communicate(b"\n")
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with RunLock(tmp_path):
                return
        except RunDirectoryError:
            time.sleep(0.01)
    pytest.fail("the lock outlived its last holder")
