"""The loss on assistant text: a sum over supervised tokens, so that any batch can be averaged exactly.

Shape legend: B samples, T tokens, V vocabulary, P kept positions.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.errors import FusionscopeError
from fusionscope.lvlm import PACKED_TOKENS
from fusionscope.parallel import local

IGNORE = -100


class NonFiniteLossError(FusionscopeError, ArithmeticError):
    """The loss is infinite or not a number; raised before the weights are updated."""


def non_finite(which: str, model: nn.Module) -> NonFiniteLossError:
    """The error, which tells a bad batch from weights that an earlier update has ruined.

    Args:
        which: Which loss it is, and its value.
        model: The model; only this process's part of its weights is looked at.
    """
    weights = [local(p) for p in model.parameters() if p.requires_grad]
    if all(bool(torch.isfinite(weight).all()) for weight in weights):
        return NonFiniteLossError(
            f"the loss of {which}",
            "an update with it would ruin every weight; nothing was updated",
            "lower the learning rate, clip gradients (trainer.gradient_clip_val) or look at this batch",
        )
    return NonFiniteLossError(
        f"the loss of {which}",
        "trained weights are not finite: an earlier update had a finite loss, but infinite gradients",
        "continue from a checkpoint before it, with a lower learning rate or bf16-mixed precision",
    )


def summed_loss(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Sum of the cross entropies of the supervised tokens, and their number.

    The head runs only where some sample of the batch has a supervised next token: image and user tokens cost no logits.

    Args:
        model: A Hugging Face vision-language model.
        batch: Model inputs and ``labels`` int64 [B, T], `IGNORE` where a token is not supervised; packed or padded.

    Returns:
        The sum in nats, a float32 scalar with gradient, and the number of supervised tokens, a float32 scalar.
    """
    inputs: dict[str, Any] = {key: value for key, value in batch.items() if key not in ("labels", PACKED_TOKENS)}
    targets_BT = batch["labels"][:, 1:]
    kept_P = (targets_BT != IGNORE).any(0).nonzero().flatten()
    targets_BP = targets_BT[:, kept_P]
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits_BPV = model(**inputs, logits_to_keep=kept_P, use_cache=False).logits
    else:
        logits_BPV = model(**inputs, use_cache=False).logits[:, :-1][:, kept_P]
    loss = nn.functional.cross_entropy(
        logits_BPV.flatten(0, 1).float(), targets_BP.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return loss, (targets_BP != IGNORE).sum().to(torch.float32)


def tokens_seen(batch: dict[str, Any]) -> Tensor:
    """Tokens of a batch without padding, a float32 scalar.

    Args:
        batch: Model inputs, packed (`fusionscope.data.packing`) or padded.
    """
    tokens: Tensor = batch[PACKED_TOKENS] if PACKED_TOKENS in batch else batch["attention_mask"].sum()
    return tokens.to(torch.float32)
