"""Being asked to stop: by a signal, by the `fusionscope run` that started this process, or by its death.

Light enough to be the first thing that a command does, before torch is imported.

Exit codes of ``fusionscope run`` and ``fusionscope fit``:

==== =========================================================================================================
0    finished
2    an error of ours, which says what, why and how to fix it
75   asked to stop (TERM, INT, HUP; USR1 under SLURM): the step was finished and saved, the same command goes on
129  asked twice, by HUP; 130 by INT, 138 by USR1, 143 by TERM: left at once, what was saved before is whole
==== =========================================================================================================
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""
_CONTROL = "FUSIONSCOPE_CONTROL"
"""Process id of the `fusionscope run` that started a stage, and the descriptor on which it speaks."""
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
_POLL_SECONDS = 0.5


class StopRequest:
    """Whether this process was asked to stop, and by what.

    Until `defer` is called the first request ends the process at once: there is nothing to save yet.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.requeue = False
        self._signals = 0
        self._deferred = False
        self._has_parent = False
        self._then: Callable[[bool], None] = _nothing

    def __bool__(self) -> bool:
        return bool(self.reason)

    def listen(self) -> "StopRequest":
        """Handle the signals, but those that whoever started this process has set to be ignored (nohup, ``&``)."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._on_signal)
        return self

    def defer(self) -> None:
        """From now on a first request is only noted; whoever trains looks at it after every step."""
        self._deferred = True

    @property
    def has_parent(self) -> bool:
        """Whether a `fusionscope run` that looks after the run directory started this process."""
        return self._has_parent

    def pass_on(self, then: Callable[[bool], None]) -> None:
        """Call a function at every signal, with whether it is not the first; a first one no longer ends this process.

        Args:
            then: What to call.
        """
        self._deferred = True
        self._then = then

    def ask(self, reason: str) -> None:
        """Note a request.

        Args:
            reason: By what, for messages.
        """
        first = not self.reason
        self.reason = self.reason or reason
        if first and not self._deferred:
            _say(f"stopped by {reason} before training began")
            sys.stdout.flush()
            os._exit(STOPPED)
        if first and not self._has_parent:
            _say(f"{reason}: stops after this step and saves; once more to leave at once")

    def obey_parent(self) -> None:
        """Stop when the process that started this one says so, or is gone; ranks that it leaves behind end at once."""
        if sys.platform == "win32":
            return
        parent, _, descriptor = os.environ.get(_CONTROL, "").partition(":")
        if parent == str(os.getppid()):
            self._has_parent = True
            threading.Thread(target=self._read, args=(int(descriptor),), daemon=True).start()
        elif int(os.environ.get("LOCAL_RANK", "0")) > 0:
            threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self.requeue = self.requeue or number == getattr(signal, "SIGUSR1", None)
        self._then(self._signals > 1)
        if self._signals > 1:
            _say(f"{signal.Signals(number).name} again: leaves at once")
            sys.stdout.flush()
            os._exit(128 + number)
        self.ask(signal.Signals(number).name)

    def _read(self, descriptor: int) -> None:
        self.ask("fusionscope run" if os.read(descriptor, 1) else "the end of the process that started it")


class Child:
    """A process that is asked to stop when this one is, and that stops when this one is gone.

    Args:
        command: The command.
        request: This process's request.
        keep_open: Descriptors that it inherits.
    """

    def __init__(self, command: list[str], request: StopRequest, keep_open: tuple[int, ...] = ()) -> None:
        reading, self._writing = os.pipe()
        environment = os.environ | {_CONTROL: f"{os.getpid()}:{reading}"}
        self._process = subprocess.Popen(command, env=environment, pass_fds=(reading, *keep_open))
        os.close(reading)
        self._request = request
        request.pass_on(self._stop)
        if request:
            self._stop(False)

    def wait(self) -> int:
        """Wait for its end and return its exit status, 128 and the signal's number where one has ended it."""
        status = self._process.wait()
        self._request.pass_on(_nothing)
        os.close(self._writing)
        return status if status >= 0 else 128 - status

    def _stop(self, again: bool) -> None:
        if again:
            self._process.kill()
            return
        with suppress(BrokenPipeError):  # it has ended by itself
            os.write(self._writing, b"s")


def requeue() -> None:
    """Put the SLURM job that this process belongs to back into the queue."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    _say(f"SLURM job {job} requeued" if done.returncode == 0 else f"scontrol requeue {job} failed: {done.stderr}")


def _nothing(again: bool) -> None:
    pass


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    _say("the process that started this rank is gone: leaves at once")
    os._exit(1)


def _say(text: str) -> None:
    print(f"\nfusionscope: {text}", file=sys.stderr, flush=True)
