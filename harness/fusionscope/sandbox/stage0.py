"""Stage 0: what real vision-language models start from, a trained vision tower and a trained language model.

The two learn side by side and apart from each other: the language model from texts, the vision tower from dense labels
of images through linear heads that are thrown away. The projector between them stays as it was initialised.

Shape legend: B samples, T tokens, C cells of a scene (4).
"""

from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.lvlm import LVLM
from fusionscope.parallel import total
from fusionscope.sandbox.model import VISION_WIDTH, build_model, build_processor
from fusionscope.sandbox.texts import FAMILIES, IMAGE_KEYS
from fusionscope.stages import PartConfig, VLMStage
from fusionscope.stages.loss import IGNORE


class UnimodalPretraining(VLMStage):
    """Pretrain the vision tower and the language model of the sandbox's tiny LLaVA.

    Logs, besides what every stage logs, ``train/vision_loss`` (nats, sum over shape, colour and background) and, at
    validation on held-out scenes, ``val/accuracy/synergy`` and ``val/accuracy/background`` (scenes as text),
    ``val/accuracy/knowledge`` and ``val/accuracy/vision``.

    Args:
        vision_tower: How the vision tower is trained.
        language_model: How the language model is trained.
        seed: Seed of the initial weights; None takes the global seed (``seed_everything``). Either way they are drawn
            from a generator of their own.
        **settings: The other settings of `VLMStage`.
    """

    def __init__(
        self,
        vision_tower: PartConfig = PartConfig(tune="full", lr=2e-3),  # noqa: B008 (frozen)
        language_model: PartConfig = PartConfig(tune="full", lr=3e-3),  # noqa: B008 (frozen)
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        seed = torch.initial_seed() if seed is None else seed
        super().__init__(f"fusionscope.sandbox seed {seed}", vision_tower, PartConfig(), language_model, **settings)
        self.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.heads = nn.ModuleDict({name: nn.Linear(VISION_WIDTH, 4) for name in IMAGE_KEYS})

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments; the seed is the one that was taken."""
        return super().settings() | {"seed": self.seed}

    def configure_model(self) -> None:
        """Build the model from its config; does nothing when that is done."""
        if not hasattr(self, "network"):
            self.base_hash = f"seed:{self.seed}"
            self.attach(LVLM.wrap(build_model(self.seed), build_processor()))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The groups of every stage, and the vision tower's heads."""
        heads = {"name": "vision_heads", "params": list(self.heads.parameters()), "weight_decay": 0.0}
        return [*super().parameter_groups(), {**heads, "lr": self.parts["vision_tower"].lr}]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Sum of the text's token losses, and the vision loss in proportion: both are averaged before the update."""
        text = _text(batch)
        loss = super().training_step(text, batch_idx)
        vision = torch.stack(list(self._vision(batch)[0].values())).sum()
        self.log("train/vision_loss", vision.detach())
        return loss + vision * (text["labels"][:, 1:] != IGNORE).sum()

    def on_validation_epoch_start(self) -> None:
        """Begin new means."""
        super().on_validation_epoch_start()
        self._right = torch.zeros(len(FAMILIES) + 1, 2, device=self.device)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add the batch's token losses and right answers, by family."""
        text = _text(batch)
        super().validation_step(text, batch_idx)
        right_B = self._answered(text)
        for i in range(len(FAMILIES)):
            mine = right_B[batch["family"] == i]
            self._right[i] += torch.stack((mine.sum(), mine.new_tensor(mine.numel())))
        for right in self._vision(batch)[1].values():
            self._right[-1] += torch.stack((right.sum(), right.new_tensor(right.numel())))

    def on_validation_epoch_end(self) -> None:
        """Log accuracies, and what every stage logs."""
        super().on_validation_epoch_end()
        right, asked = total(self.trainer.strategy, self._right).T.tolist()
        for name, a, b in zip((*FAMILIES, "vision"), right, asked, strict=True):
            if b:
                self.log(f"val/accuracy/{name}", a / b)

    def _answered(self, text: dict[str, Tensor]) -> Tensor:
        """Whether the first answer token of each text is the likeliest, float [B]."""
        inputs = {key: value for key, value in text.items() if key != "labels"}
        logits_BTV = self.network(**inputs, use_cache=False).logits
        first_B = (text["labels"] != IGNORE).float().argmax(1)
        rows_B = torch.arange(len(first_B), device=first_B.device)
        said_B: Tensor = logits_BTV[rows_B, first_B - 1].argmax(-1)
        return (said_B == text["labels"][rows_B, first_B]).float()

    def _vision(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses (nats) and right answers: patches tell shape and colour, the class token the background."""
        tower = self.network.get_submodule("model.vision_tower")
        states = tower(pixel_values=batch["pixel_values"]).last_hidden_state
        losses, right = {}, {}
        for name, head in self.heads.items():
            logits = head(states[:, :1] if name == "background" else states[:, 1:]).flatten(0, 1)
            losses[name] = nn.functional.cross_entropy(logits, batch[name].flatten())
            right[name] = (logits.argmax(-1) == batch[name].flatten()).float()
        return losses, right


def _text(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}
