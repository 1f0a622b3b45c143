"""What importing the callbacks costs: nothing of what comes after training, nothing that draws."""

import subprocess
import sys

import pytest

HEAVY = ("fusionscope.study", "fusionscope.stages", "peft", "matplotlib", "tensorboard")
LIST = "import sys; print('\\n'.join(sys.modules))"


def loaded(statement: str) -> set[str]:
    """The modules that a fresh process has after a statement."""
    done = subprocess.run([sys.executable, "-c", f"{statement}\n{LIST}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def of(modules: set[str], packages: tuple[str, ...]) -> set[str]:
    return {name for name in modules if any(name == p or name.startswith(f"{p}.") for p in packages)}


def test_importing_the_callbacks_loads_no_trainer_and_nothing_that_draws():
    modules = loaded("import fusionscope.callbacks")
    assert "fusionscope.callbacks" in modules
    assert of(modules, (*HEAVY, "lightning", "torchmetrics", "torch", "transformers")) == set()


@pytest.mark.parametrize(
    ("statement", "trainer", "never"),
    [
        ("from fusionscope.callbacks import PIDCallback, ScheduledCheckpoint", "import lightning.pytorch", ()),
        ("from fusionscope.callbacks import PIDTrainerCallback", "from transformers import Trainer", ("lightning",)),
    ],
)
def test_a_trainers_callbacks_load_nothing_heavy_that_the_trainer_does_not(statement, trainer, never):
    """Lightning loads torchmetrics, which loads matplotlib where it is installed; transformers' Trainer loads peft."""
    ours = loaded(statement) - loaded(trainer)
    assert "fusionscope.callbacks.monitor" in ours
    assert of(ours, (*HEAVY, *never)) == set()
