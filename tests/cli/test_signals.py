"""A process that is asked to stop: what it prints, what it waits for, and what it exits with."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

DEFERRED = """
import sys, time
from fusionscope.cli.signals import StopRequest
request = StopRequest().listen()
request.obey_parent()
if "defer" in sys.argv:
    request.defer()
print("ready", flush=True)
while not request:
    time.sleep(0.01)
print("saved", flush=True)
time.sleep(60 if "linger" in sys.argv else 0)
sys.exit(75)
"""
PARENT = """
import sys
from fusionscope.cli.signals import Child, StopRequest
request = StopRequest().listen()
status = Child([sys.executable, "-u", "-c", sys.argv[1], "defer", *sys.argv[2:]], request).wait()
print("child", status, flush=True)
sys.exit(status)
"""


def start(*arguments, **environment):
    """The process, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)],
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_first_signal_lets_the_step_finish_and_a_second_leaves_at_once(number):
    process = start(DEFERRED, "defer")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (75, "saved\n")
    assert f"{number.name}: stops after this step and saves" in err
    assert "Traceback" not in err

    process = start(DEFERRED, "defer", "linger")
    process.send_signal(number)
    assert process.stdout.readline() == "saved\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in err


def test_before_training_there_is_nothing_to_save():
    process = start(DEFERRED)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (75, "")


def test_usr1_is_a_request_under_slurm_alone(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for environment, status in (({"SLURM_JOB_ID": "1"}, 75), ({}, -signal.SIGUSR1)):
        process = start(DEFERRED, "defer", **environment)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=20) == status


def test_what_nohup_ignores_stays_ignored():
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + DEFERRED
    process = start(code, "defer")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75


@pytest.mark.parametrize("everyone", [False, True])
def test_a_parent_passes_a_request_on_once_and_waits(everyone):
    """Also where the child gets the same signal from the terminal: two ways of asking once are one request."""
    process = start(PARENT, DEFERRED)
    if everyone:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (75, "saved\nchild 75\n"), err
    assert "Traceback" not in err


def test_a_second_signal_ends_parent_and_child():
    process = start(PARENT, DEFERRED, "linger")
    process.terminate()
    assert process.stdout.readline() == "saved\n"
    process.terminate()
    process.communicate(timeout=20)  # both have closed it
    assert process.returncode == 128 + signal.SIGTERM


def test_a_child_whose_parent_is_killed_stops_by_itself():
    process = start(PARENT, DEFERRED)
    process.kill()
    out, _ = process.communicate(timeout=20)  # the child holds the pipe until it ends
    assert out == "saved\n"
