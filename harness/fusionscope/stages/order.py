"""Whether the training data can go on where a resumed run stopped."""

import warnings
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import CombinedLoader

from fusionscope.errors import DataError
from fusionscope.parallel import is_main

_FIX = (
    "use fusionscope.data.LlavaDataModule, torchdata's StatefulDataLoader, or give the loader `state_dict` and "
    "`load_state_dict`"
)


@runtime_checkable
class Stateful(Protocol):
    """A loader that says how far it has come, and continues from there."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def check_order(trainer: Trainer) -> None:
    """Refuse to go on in the middle of an epoch with a loader that would begin it again; warn of one that would.

    Args:
        trainer: A trainer that is about to train, its loops restored.

    Raises:
        DataError: The run is resumed within an epoch, and a training loader keeps no state.
    """
    loaders = CombinedLoader(trainer.train_dataloader).flattened
    forgetful = sorted({type(loader).__name__ for loader in loaders if not isinstance(loader, Stateful)})
    if not forgetful:
        return
    names = f"the training data ({', '.join(forgetful)})"
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    if 0 < done < trainer.num_training_batches:
        raise DataError(
            f"the run stopped after {done} batches of an epoch; {names} keeps no state",
            f"it would train on the first {done} batches again and never on as many others",
            f"{_FIX}; or resume from a checkpoint of an epoch's end",
        )
    if is_main():
        warnings.warn(
            f"{names} keeps no state: a run that stops within an epoch cannot go on from there. To be able to, {_FIX}",
            stacklevel=2,
        )
