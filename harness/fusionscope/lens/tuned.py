"""The tuned lens: one affine translator per layer before the model's own norm and head.

An early layer writes in another basis than the last one; the logit lens reads it as if it did not. A translator is
trained so that what is read there comes closest to what the model answers in the end.

Shapes: N positions, D width, V vocabulary, L decoder layers.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.lens.compare import divergence, divergence_of_logits
from fusionscope.lens.logit import LogitLens

FORMAT = "fusionscope-tuned-lens-2"
_TRAIN = "train one and save it"


class TunedLens(nn.Module):
    """Translators of layers 0 to L - 1; the last layer is read as the model reads it.

    Args:
        lens: The model's norm and head; they are used, not owned or trained.
        n_layers: L.
        width: D.

    Reference:
        Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens", arXiv 2303.08112.
    """

    def __init__(self, lens: LogitLens, n_layers: int, width: int) -> None:
        super().__init__()
        # Not as modules: the model's own weights are no part of the lens.
        self.lens = lens
        self.n_layers, self.width = n_layers, width
        self.scale = nn.Parameter(torch.zeros(n_layers, width, width, dtype=torch.float32))
        self.shift = nn.Parameter(torch.zeros(n_layers, width, dtype=torch.float32))
        self._name: str | None = None

    @property
    def name(self) -> str:
        """``tuned-`` and the beginning of a hash of the translators."""
        if self._name is None:
            digest = hashlib.blake2b(digest_size=4)
            for value in (self.scale, self.shift):
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
            self._name = f"tuned-{digest.hexdigest()}"
        return self._name

    def translate(self, hidden: Tensor, layer: int) -> Tensor:
        """Hidden states [..., D] of a layer as the last layer would have written them."""
        if layer >= self.n_layers:
            return hidden
        return _translated(hidden, self.scale[layer].to(hidden.device), self.shift[layer].to(hidden.device))

    def forward(self, hidden: Tensor, layer: int) -> Tensor:
        """Hidden states [..., D] of a layer to logits [..., V]."""
        return self.lens(self.translate(hidden, layer), layer)

    def fit(
        self, batches: Iterable[Mapping[int, Tensor]], *, learning_rate: float = 1e-3, weight_decay: float = 1e-3
    ) -> list[float]:
        """Train the translators on hidden states; the model stays as it is.

        Args:
            batches: One step each: hidden states [N, D] of layers 0 to L at the same positions.
            learning_rate: Of AdamW, the same at every step.
            weight_decay: Pulls translators towards the logit lens.

        Returns:
            The loss of each step: mean Kullback-Leibler divergence of the lens from the model's answer, in bits, over
            layers and positions.
        """
        self._name = None
        optimizer = torch.optim.AdamW([self.scale, self.shift], lr=learning_rate, weight_decay=weight_decay)
        self.scale.grad, self.shift.grad = torch.zeros_like(self.scale), torch.zeros_like(self.shift)
        losses = []
        for hidden in batches:
            losses.append(self._descend(hidden, self.scale.grad, self.shift.grad))
            optimizer.step()
        self.scale.grad = self.shift.grad = None
        return torch.stack(losses).tolist() if losses else []

    def _descend(self, hidden: Mapping[int, Tensor], scale_grad: Tensor, shift_grad: Tensor) -> Tensor:
        """Write the gradients of a batch's loss, and return the loss; the graph of one layer is alive at a time."""
        final, losses = self._answer(hidden), []
        for layer in range(self.n_layers):
            where = hidden[layer].device
            weights = [value[layer].detach().to(where).requires_grad_() for value in (self.scale, self.shift)]
            with torch.enable_grad():
                loss = (
                    divergence_of_logits(self.lens(_translated(hidden[layer], *weights), layer), final) / self.n_layers
                )
            for into, gradient in zip((scale_grad, shift_grad), torch.autograd.grad(loss, weights), strict=True):
                into[layer].copy_(gradient)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def loss(self, hidden: Mapping[int, Tensor]) -> Tensor:
        """Mean divergence of the lens at layers 0 to L - 1 from the model's own answer, in bits."""
        return divergence(self, self.lens, hidden, range(self.n_layers))

    @torch.no_grad()
    def _answer(self, hidden: Mapping[int, Tensor]) -> Tensor:
        """Log-probabilities [N, V] of the model's own answer."""
        return self.lens(hidden[self.n_layers], self.n_layers).float().log_softmax(-1)

    def save(self, path: str | Path, fingerprint: str) -> None:
        """Write the translators as safetensors.

        Args:
            path: The file.
            fingerprint: Hash of the weights that the lens was trained for.
        """
        from safetensors.torch import save_file

        tensors = {"scale": self.scale.detach().contiguous(), "shift": self.shift.detach().contiguous()}
        save_file(tensors, str(path), metadata={"format": FORMAT, "base": fingerprint, "name": self.name})

    @classmethod
    def load(cls, path: str | Path, lens: LogitLens, fingerprint: str) -> "TunedLens":
        """Read translators and check that they belong to this model.

        Args:
            path: The file.
            lens: The model's norm and head.
            fingerprint: Hash of the model's weights.

        Raises:
            InputError: The file is no tuned lens, is damaged, or was trained for other weights.
        """
        with _opened(path) as file:
            notes = file.metadata()
            if notes["base"] != fingerprint:
                raise InputError(
                    f"{path} was trained for other weights",
                    f"it is for {notes['base'][:12]}, the model is {fingerprint[:12]}",
                    "train a lens for this checkpoint",
                )
            scale, shift = file.get_tensor("scale"), file.get_tensor("shift")
        tuned = cls(lens, *shift.shape)
        with torch.no_grad():
            tuned.scale.copy_(scale)
            tuned.shift.copy_(shift)
        if tuned.name != notes["name"]:
            raise InputError(f"{path} is damaged", f"it says {notes['name']} and holds {tuned.name}", _TRAIN)
        return tuned


def name_in(path: str | Path) -> str:
    """The name of the lens that a file holds, without reading its translators.

    Args:
        path: A file written by `TunedLens.save`.

    Raises:
        InputError: The file is no tuned lens.
    """
    with _opened(path) as file:
        return str(file.metadata()["name"])


def _opened(path: str | Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no tuned lens", f"it does not open: {error}", _TRAIN) from error
    notes: dict[str, str] = file.metadata() or {}  # type: ignore[no-untyped-call]
    if notes.get("format") != FORMAT:
        raise InputError(f"{path} is no tuned lens", f"its format is {notes.get('format')!r}", _TRAIN)
    return file


def _translated(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return hidden + (hidden.to(scale.dtype) @ scale.T + shift).to(hidden.dtype)
