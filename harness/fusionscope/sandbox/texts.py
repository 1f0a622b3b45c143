"""Batches of stage 0: texts with labels on the answers, and images with dense labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusionscope.data.loader import ResumableLoader
from fusionscope.data.resumable import ResumableData
from fusionscope.data.sampler import ResumableBatchSampler
from fusionscope.errors import ConfigError
from fusionscope.sandbox import language
from fusionscope.sandbox.language import Example
from fusionscope.sandbox.model import build_processor
from fusionscope.sandbox.world import Scene, render, split
from fusionscope.stages.loss import IGNORE

FAMILIES = ("synergy", "background", "knowledge")
IMAGE_KEYS = ("shapes", "colours", "background")
_QUESTIONS = {"synergy": language.synergy, "background": language.background, "knowledge": language.knowledge}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text, and an image that has nothing to do with it.

    Args:
        example: The text.
        image: The scene to render.
        family: Index into `FAMILIES`, or -1 for a text of the mix.
    """

    example: Example
    image: Scene
    family: int = -1


class Mixture(Dataset[Sample]):
    """Texts of the language and images, drawn anew for every index.

    Args:
        scenes: Scenes to draw from.
        n: How many samples.
        seed: Sample ``i`` depends on this seed and on ``i`` alone.
    """

    def __init__(self, scenes: Sequence[Scene], n: int, seed: int) -> None:
        self.scenes = scenes
        self.n = n
        self.seed = seed

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.n:
            raise IndexError(index)
        rng = Random(f"{self.seed} {index}")
        return Sample(example=language.sample(self.scenes, 1, rng)[0], image=rng.choice(self.scenes))


class Exam(Dataset[Sample]):
    """One question of each family about each scene, and its image.

    Args:
        scenes: The scenes.
        seed: Seed of the wording.
    """

    def __init__(self, scenes: Sequence[Scene], seed: int) -> None:
        self.scenes = scenes
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes) * len(FAMILIES)

    def __getitem__(self, index: int) -> Sample:
        family, place = divmod(index, len(self.scenes))
        scene = self.scenes[place]
        example = _QUESTIONS[FAMILIES[family]](scene, Random(f"{self.seed} {index}"))
        return Sample(example=example, image=scene, family=family)


class Collate:
    """Samples to a batch, right padded."""

    def __init__(self) -> None:
        self.processor = build_processor()

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Tokenize the texts and render the images.

        Args:
            samples: B samples.

        Returns:
            ``input_ids``, ``attention_mask``, ``labels`` int64 [B, T] (every word of a statement, else the answer);
            ``pixel_values`` [B, 3, 32, 32], ``shapes`` and ``colours`` int64 [B, 4], ``background`` and ``family``
            int64 [B].
        """
        images = [sample.image for sample in samples]
        pixels = self.processor.image_processor([render(scene) for scene in images], return_tensors="pt")
        return {
            **self._texts([sample.example for sample in samples]),
            "pixel_values": pixels["pixel_values"],
            **{key: torch.tensor([getattr(scene, key) for scene in images]) for key in IMAGE_KEYS},
            "family": torch.tensor([sample.family for sample in samples]),
        }

    def _texts(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        prompts = [f"user : {example.prompt} assistant :" if example.prompt else "" for example in examples]
        texts = [f"{head} {example.answer} </s>" for head, example in zip(prompts, examples, strict=True)]
        batch = self.processor.tokenizer(texts, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORE)
        for i, head in enumerate(prompts):
            labels[i, : len(head.split())] = IGNORE
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}


class UnimodalData(ResumableData):
    """Data of stage 0.

    Args:
        steps: Batches of an epoch; with ``max_epochs: 1``, the optimizer steps of the stage.
        batch_size: Texts, and images, of a batch.
        exam_scenes: Held-out scenes that the validation asks about.
        seed: Seed of the data; None takes the global seed (``seed_everything``).
    """

    def __init__(self, steps: int = 300, batch_size: int = 64, exam_scenes: int = 288, seed: int | None = None) -> None:
        super().__init__()
        self.steps = steps
        self.batch_size = batch_size
        self.exam_scenes = exam_scenes
        self.seed = torch.initial_seed() if seed is None else seed
        self.collate = Collate()

    def training_loader(self) -> ResumableLoader:
        """The mix; unshuffled, since every sample is drawn by chance already.

        Raises:
            ConfigError: Several processes, which would all train on the same samples.
        """
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ConfigError(
                f"stage 0 of the sandbox on {self.trainer.world_size} processes",
                "each would train on the same samples: the model is too small to be shared out",
                "set trainer.devices to 1",
            )
        return self._loader(Mixture(split()[0], self.steps * self.batch_size, self.seed), self.batch_size)

    def val_dataloader(self) -> ResumableLoader:
        """Questions about held-out scenes given as text, and their images."""
        held_out = split()[1]
        chosen = held_out[:: max(1, len(held_out) // self.exam_scenes)][: self.exam_scenes]
        return self._loader(Exam(chosen, self.seed), 192)

    def _loader(self, dataset: Mixture | Exam, batch_size: int) -> ResumableLoader:
        sampler = ResumableBatchSampler(
            len(dataset), batch_size, seed=0, shuffle=False, rank=0, ranks=1, drop_last=False
        )
        return ResumableLoader(dataset, sampler, collate_fn=self.collate)
