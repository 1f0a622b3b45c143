"""What importing the room costs."""

import subprocess
import sys

import pytest

import fusionscope.pid


def test_importing_the_room_pulls_in_no_trainer_and_no_model_library():
    code = (
        "import sys, fusionscope.pid as pid; pid.pid_from_joint, pid.pid_crossed, pid.pid_from_posteriors;"
        "print([m for m in ('lightning', 'transformers', 'torchmetrics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="pid_crossed"):
        fusionscope.pid.nothing  # noqa: B018
