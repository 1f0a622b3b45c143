"""A DataLoader that says how far it has come and continues from there."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from fusionscope.data.sampler import ResumableBatchSampler
from fusionscope.data.stream import StreamedBatches
from fusionscope.errors import DataError


class CountingLoader(DataLoader[Any]):
    """Lightning saves its state with every checkpoint and restores it before the first batch.

    It counts batches that were handed out, not those that workers have prepared, draws nothing from the global random
    stream, and begins to iterate only when the first batch is asked for: a state may be loaded until then.

    Args:
        dataset: What `torch.utils.data.DataLoader` takes; its items are batches.
        batches: What decides the batches: it has a length, ``n_samples``, ``size`` (over all ranks), ``epoch``,
            ``set_epoch`` and ``start``.
        **settings: Passed to `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: Any, batches: ResumableBatchSampler | StreamedBatches, **settings: Any) -> None:
        super().__init__(dataset, batch_size=None, generator=torch.Generator().manual_seed(0), **settings)
        self._batches = batches
        self._epoch = self._handed_out = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator counts what it hands out
        self._epoch = self._batches.epoch
        self._handed_out = self._batches.start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, number of its batches that were handed out, and what these were cut from."""
        return {"epoch": self._epoch, "batches": self._handed_out, **self._cut()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches of the state; after a whole epoch that is the next epoch's start.

        Raises:
            DataError: The state counts batches of another size, or of other data, or does not say of which.
        """
        if not self._cut().keys() <= state.keys():
            raise DataError(
                f"the checkpoint says {', '.join(sorted(state))} of its data, and not what its batches were cut from",
                "without their size and the number of samples it is not known which samples come next",
                "resume with the version of fusionscope that wrote it, or start anew",
            )
        before = {name: state[name] for name in self._cut()}
        if state["batches"] and before != self._cut():
            raise DataError(
                f"the checkpoint is {state['batches']} batches of {before['size']} of {before['samples']} samples on, "
                f"this run makes batches of {self._cut()['size']} of {self._cut()['samples']} (over all processes)",
                "to continue there would leave samples out, or show some twice, without a word",
                "resume with the data, and with the product of devices and data.batch_size, that it was saved with",
            )
        more, start = divmod(state["batches"], len(self._batches))
        self._batches.set_epoch(state["epoch"] + more)
        self._batches.start = start

    def _cut(self) -> dict[str, int]:
        return {"size": self._batches.size, "samples": self._batches.n_samples}


class ResumableLoader(CountingLoader):
    """Batches of rows that any index finds.

    Args:
        dataset: Maps an index to a row.
        sampler: The batches; Lightning sets its epoch.
        **settings: Passed to `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: Any, sampler: ResumableBatchSampler, **settings: Any) -> None:
        super().__init__(_Batches(dataset), sampler, sampler=sampler, **settings)


class StreamLoader(CountingLoader):
    """Batches of a stream, which begins its next epoch by itself.

    Args:
        stream: The batches.
        **settings: Passed to `torch.utils.data.DataLoader`.
    """

    def __init__(self, stream: StreamedBatches, **settings: Any) -> None:
        super().__init__(stream, stream, **settings)
        self._begun = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._begun:  # and perhaps not come to its end: limit_train_batches
            self._batches.set_epoch(self._epoch + 1)
        self._begun = True
        yield from super().__iter__()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches of the state; see `CountingLoader`."""
        super().load_state_dict(state)
        self._begun = False


class _Batches(Dataset[list[Any]]):
    """Rows by the batch.

    Args:
        rows: Maps an index to a row.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __getitem__(self, indices: Sequence[int]) -> list[Any]:
        return [self.rows[index] for index in indices]
