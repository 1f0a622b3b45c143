"""Training data for any stage as a LightningDataModule."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from fusionscope.data.collate import Collator
from fusionscope.data.loader import CountingLoader, ResumableLoader, StreamLoader
from fusionscope.data.marked import Filled, Filling
from fusionscope.data.packing import Packing
from fusionscope.data.resumable import ResumableData
from fusionscope.data.sampler import ResumableBatchSampler
from fusionscope.data.stream import LlavaStream, StreamedBatches
from fusionscope.data.templates import TemplateName
from fusionscope.errors import ConfigError, DataError
from fusionscope.lvlm import LVLM, Family, family_of_checkpoint, load_processor, packed_rows


class LlavaDataModule(ResumableData):
    """Conversations in LLaVA's format, rendered, tokenized and masked for the stage's model.

    Args:
        train: Dataset of LLaVA rows: `fusionscope.data.LlavaJson`, or any class with ``len`` and
            ``[i] -> {"id", "image": PIL image, list or None, "conversations": [...]}``; or a
            `fusionscope.data.LlavaStream`.
        validation: The same, for the loss on held-out conversations.
        template: ``"plain"`` (captions), ``"v1"`` (Vicuna's dialogue) or ``"chat"`` (the model's own chat template).
        batch_size: Samples per process and micro-batch.
        validation_batch_size: The same for validation; ``batch_size`` by default.
        max_length: Longest sample in tokens.
        packing: Lay the samples of a micro-batch side by side in the rows of the language model, none wider than
            ``max_length`` (all in one row with flash attention), in place of padding each to the longest. Loss and
            gradients stay the same; saved are the computations on padding (`fusionscope.data.packing`), of which
            ``group_by_length`` leaves less. Refused where the model cannot keep samples of one row apart.
        pad_to_square: Pad images to squares first (LLaVA-1.5's stage 2).
        shuffle: Draw a new order for each epoch.
        seed: Seed of the order.
        drop_last: Leave out an uneven last batch.
        group_by_length: Put samples of one modality and similar length together, as LLaVA does in stage 2; the dataset
            needs a method ``lengths()``, as `LlavaJson` has.
        max_bad_images: Maximum number of images, on each process, that are missing, cannot be read, or are refused by
            the model's processor; each is named in a warning and its sample skipped.
        max_bad_samples: Maximum number of samples without a supervised token, on each process, such as those whose
            first answer begins after ``max_length``; each is named in a warning and skipped.
        num_workers: Worker processes that prepare batches.
        model: Whose processor to use, directory or hub name; the stage's model by default.
    """

    def __init__(
        self,
        train: Dataset | LlavaStream,  # type: ignore[type-arg]  # jsonargparse finds no arguments behind Dataset[...]
        validation: Dataset | LlavaStream | None = None,  # type: ignore[type-arg]
        template: TemplateName = "chat",
        batch_size: int = 16,
        validation_batch_size: int | None = None,
        max_length: int = 2048,
        packing: bool = False,
        pad_to_square: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        group_by_length: bool = False,
        max_bad_images: int = 0,
        max_bad_samples: int = 0,
        num_workers: int = 0,
        model: str | None = None,
    ) -> None:
        super().__init__()
        self.train = train
        self.validation = validation
        self.template = template
        self.batch_size = batch_size
        self.validation_batch_size = validation_batch_size or batch_size
        self.max_length = max_length
        self.packing = packing
        self.pad_to_square = pad_to_square
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.group_by_length = group_by_length
        self.max_bad_images = max_bad_images
        self.max_bad_samples = max_bad_samples
        self.num_workers = num_workers
        self.model = model
        self.skipped: list[str] = []
        self.unfit: list[str] = []

    def training_loader(self) -> CountingLoader:
        """Batches of this process, from the first."""
        return self._loader(self.train, self.batch_size, shuffle=self.shuffle, drop_last=self.drop_last)

    def val_dataloader(self) -> CountingLoader | list[Any]:
        """Held-out batches in the dataset's order, none twice."""
        if self.validation is None:
            return []
        return self._loader(self.validation, self.validation_batch_size, shuffle=False, drop_last=False)

    def _loader(self, dataset: Any, batch_size: int, *, shuffle: bool, drop_last: bool) -> CountingLoader:
        rank = self.trainer.global_rank if self.trainer is not None else 0
        ranks = self.trainer.world_size if self.trainer is not None else 1
        collate = self._collate(require_image=ranks > 1 or self._language_model_is_frozen())
        if isinstance(dataset, LlavaStream):
            if shuffle and self.group_by_length:
                raise ConfigError(
                    "group_by_length with a stream",
                    "its lengths aren't known beforehand",
                    "use LlavaJson, or set it off",
                )
            stream = StreamedBatches(
                dataset,
                batch_size,
                seed=self.seed if shuffle else None,
                rank=rank,
                ranks=ranks,
                drop_last=drop_last,
                skip_bad=self.max_bad_images > 0,
            )
            return StreamLoader(stream, collate_fn=collate, num_workers=self.num_workers)
        sampler = ResumableBatchSampler(
            len(dataset),
            batch_size,
            seed=self.seed,
            shuffle=shuffle,
            lengths=dataset.lengths() if shuffle and self.group_by_length else None,
            rank=rank,
            ranks=ranks,
            drop_last=drop_last,
        )
        return ResumableLoader(
            Filled(dataset, skip_bad=self.max_bad_images > 0),
            sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def _collate(self, require_image: bool) -> Filling | Packing:
        collator = Collator(
            self.processor(),
            self.template,
            self.max_length,
            self.pad_to_square,
            require_image=require_image,
            family=self._family(),
        )
        collate = Filling(collator, skip_unfit=self.max_bad_samples > 0, skip_bad=self.max_bad_images > 0)
        if not self.packing:
            return collate
        lvlm = self._lvlm()
        if lvlm is None:
            raise ConfigError(
                "packing without a stage",
                "whether samples may share a row is a question to its model",
                "call trainer.fit(stage, datamodule=data), or set packing to false",
            )
        return Packing(collate, packed_rows(lvlm.adapter), self.max_length)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Name the samples that were skipped, and stop when they are too many; place packed ones.

        Raises:
            DataError: More bad images than `max_bad_images`, or samples than `max_bad_samples`, on this process.
        """
        skipped, unfit = batch.pop("skipped", ()), batch.pop("unfit", ())
        _report(skipped, self.skipped, "bad images", "max_bad_images", self.max_bad_images)
        _report(unfit, self.unfit, "samples without supervised tokens", "max_bad_samples", self.max_bad_samples)
        lvlm = self._lvlm()
        if self.packing and lvlm is not None:
            batch["position_ids"] = lvlm.adapter.packed_positions(batch)
        return batch

    def processor(self) -> Any:
        """The processor of the stage's model, or of `model`.

        Raises:
            ConfigError: There is neither.
        """
        if self.model is not None:
            return load_processor(self.model)
        lvlm = self._lvlm()
        if lvlm is None:
            raise self._no_model()
        return lvlm.processor

    def _family(self) -> Family:
        """The family of the stage's model, or of `model`.

        Raises:
            ConfigError: There is neither.
        """
        lvlm = self._lvlm()
        if lvlm is not None:
            return lvlm.family
        if self.model is None:
            raise self._no_model()
        return family_of_checkpoint(self.model)

    @staticmethod
    def _no_model() -> ConfigError:
        return ConfigError(
            "the data module has no processor",
            "it takes the one of the stage that it trains (lightning_module.lvlm.processor)",
            "set data.model to a Hugging Face directory or hub name",
        )

    def _lvlm(self) -> LVLM | None:
        """The stage's model, where there is a stage."""
        return getattr(getattr(self.trainer, "lightning_module", None), "lvlm", None)

    def _language_model_is_frozen(self) -> bool:
        """Whether the stage freezes the language model: a batch of texts alone has no gradient then."""
        lvlm = self._lvlm()
        return lvlm is not None and not any(
            parameter.requires_grad for layer in lvlm.adapter.layers for parameter in layer.parameters()
        )


def _report(messages: Sequence[str], known: list[str], what: str, setting: str, allowed: int) -> None:
    """Warn of each sample once, in whatever epoch and validation it comes again, and stop when there are too many."""
    for message in messages:
        if message not in known:
            known.append(message)
            warnings.warn(f"sample skipped ({len(known)} of {allowed} allowed): {message}", stacklevel=3)
    if len(known) > allowed:
        raise DataError(
            f"{len(known)} {what}, the last: {known[-1]}",
            f"{setting}={allowed} are allowed",
            f"correct the data, or raise data.{setting}",
        )
