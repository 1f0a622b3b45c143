"""A data module whose training goes on where a resumed run stopped."""

from abc import abstractmethod

import lightning as L

from fusionscope.data.loader import CountingLoader


class ResumableData(L.LightningDataModule):
    """Passes the state of its training loader on.

    Lightning restores a loader's own state only where the loader was not yet built; whoever asks for the number of
    optimizer steps before (a schedule, a callback) has built it by then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._training: CountingLoader | None = None
        self._resume: dict[str, int] = {}

    @abstractmethod
    def training_loader(self) -> CountingLoader:
        """Batches of this process, from the first."""

    def train_dataloader(self) -> CountingLoader:
        """Batches of this process, from where a resumed run stopped."""
        loader = self.training_loader()
        if self._resume:
            loader.load_state_dict(self._resume)
        self._training = loader
        self._resume = {}
        return loader

    def state_dict(self) -> dict[str, int]:
        """How far the training data has come."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from there.

        Args:
            state_dict: See `state_dict`.
        """
        if self._training is None:
            self._resume = state_dict
        else:
            self._training.load_state_dict(state_dict)
