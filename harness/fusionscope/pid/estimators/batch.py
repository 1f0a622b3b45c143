"""BATCH: the neural estimator of Liang et al. (2023), as Xiu et al. (2026) adapt it.

Kept for comparison and reproduction; the exact estimator is cheaper and certified. All layers and all seeds
train as one batched model.

Legend: L layers (all leading dimensions), S seeds, N samples, D features, K answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.pid.estimators._alignment import Minibatch, align, flow, initial_parameters
from fusionscope.pid.estimators.base import Estimator
from fusionscope.pid.estimators.exact import ExactEstimator
from fusionscope.pid.estimators.sample import PairSample, Sample
from fusionscope.pid.result import ATOMS, PIDResult
from fusionscope.pid.validate import check_count, check_fraction

__all__ = ["BatchEstimator"]

_Marginal = Literal["train", "all"]
# The maximum number of elements of one alignment tensor (layers x seeds x answers x batch x batch) held at once.
_MOST_ELEMENTS = 2**25


@dataclass(frozen=True, kw_only=True)
class BatchEstimator(Estimator[PairSample]):
    """The BATCH estimator: the original's network and training, with label masses balanced before scaling.

    As in stage 3 of Xiu et al. (2026): networks on pooled embeddings, p(y) of the training part, minibatches and test
    batches of 256 with the rest left out, atoms clipped (if at all) after the mean over seeds.
    `BatchEstimator(balance=False, sinkhorn_tolerance=0.01, clip=True)` is their arithmetic. Balanced, every
    scaling converges, which costs far less and gives the same atoms within seed noise, but only with a tighter
    tolerance: at 0.01 it stops after half a round, and the training then misses couplings (RAND: a unique information
    of 0.14 bits where the truth and the original are at 0 and 0.04).

    Assumes that p(y|x1) and p(y|x2) share one label marginal. Where they do not (masked designs), no coupling exists,
    and the atoms of this estimator are not those of any distribution: compare `diagnostics` of the exact one. Its
    error is about the sampling error of two thousand samples, largest where the two sources are equally informative
    (AND), because the network's couplings are smooth.

    Args:
        hidden_size: Width of the two networks.
        hidden_layers: Hidden layers after the first.
        embedding_size: Numbers in the embedding of one sample and label.
        epochs: Passes over the training part.
        batch_size: Samples in a minibatch and in a test batch.
        learning_rate: Of Adam.
        sinkhorn_rounds: The most rounds of scaling a label.
        sinkhorn_tolerance: Largest absolute error of a margin at which scaling stops; the original's is 0.01.
        test_fraction: Fraction of the samples, drawn at random for each seed, on which the atoms are evaluated.
        answer_marginal: Where p(y) comes from: "train", the training part of each seed, as in the original, or "all".
        whole_batches: Evaluate whole test batches and leave out the rest, as the original does; of fewer test samples
            than a batch holds, all are one batch. False for batches of nearly equal size in which every sample counts.
        balance: Give both margins of a label one common mass before scaling. The original does not; its scaling then
            seldom converges and runs to its round limit.
        standardize: Centre and scale each feature before it enters a network. The original does not.
        clip: Report negative atoms as zero, as the paper does. The atoms then no longer sum to the total; diagnostic
            ``clipped`` says by how many bits.
        plug_in: Report the exact plug-in estimate on the same test samples in `diagnostics`.
        seeds: Each gives a split, an initialisation and an order of samples, the same for every layer. The atoms are
            means over the seeds.

    Example:
        >>> from fusionscope.pid import gates
        >>> p = gates.gate("unq").joint
        >>> generator = torch.Generator().manual_seed(0)
        >>> cell = torch.multinomial(p.sum(-1).flatten(), 400, replacement=True, generator=generator)
        >>> x1, x2 = cell // 2, cell % 2
        >>> one_hot = lambda x: torch.nn.functional.one_hot(x, 2).double()
        >>> estimator = BatchEstimator(epochs=2, plug_in=False)
        >>> flat = torch.full((400, 2), 0.5).double()
        >>> result = estimator.estimate(one_hot(x1), one_hot(x2), one_hot(x1), one_hot(x1), flat)
        >>> bool((result.unique_vision - 1).abs() < 0.05)
        True

    Reference:
        Liang, Cheng, Fan, et al. (2023), Quantifying & modeling multimodal interactions, arXiv 2302.12247.
        Xiu, Luo, Nakayama (2026), arXiv 2603.29676.
    """

    name: ClassVar[str] = "batch"
    takes: ClassVar[tuple[type[Sample], ...]] = (PairSample,)
    needs_features: ClassVar[bool] = True

    hidden_size: int = 32
    hidden_layers: int = 3
    embedding_size: int = 10
    epochs: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    sinkhorn_rounds: int = 500
    sinkhorn_tolerance: float = 1e-4
    test_fraction: float = 0.25
    answer_marginal: _Marginal = "train"
    whole_batches: bool = True
    balance: bool = True
    standardize: bool = False
    clip: bool = False
    plug_in: bool = True
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        for name in ("hidden_size", "epochs", "batch_size", "sinkhorn_rounds"):
            check_count(name, getattr(self, name))
        check_count("hidden_layers", self.hidden_layers, least=0)
        check_count("embedding_size", self.embedding_size, least=2)  # it is standardised over its numbers
        check_fraction("test_fraction", self.test_fraction)
        for name in ("learning_rate", "sinkhorn_tolerance"):
            check_fraction(name, getattr(self, name), most=math.inf)
        if self.answer_marginal not in get_args(_Marginal):
            raise InputError(
                f"answer_marginal={self.answer_marginal!r}",
                "p(y) is that of the training part or of all samples",
                f"pass one of {', '.join(map(repr, get_args(_Marginal)))}",
            )
        if not len(self.seeds):
            raise InputError("seeds=()", "at least one seed is needed", "pass seeds=(0,)")
        object.__setattr__(self, "seeds", tuple(self.seeds))
        for seed in self.seeds:
            check_count("seeds", seed, least=0)

    @property
    def sentence(self) -> str:
        return (
            "The decomposition is estimated by the BATCH network of Liang et al. (2023) as Xiu et al. (2026) use it on "
            f"held-out samples, the mean of {len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}; nothing certifies it."
        )

    def estimate(
        self,
        features_vision: Tensor,
        features_language: Tensor,
        joint: Tensor,
        vision: Tensor,
        language: Tensor,
        *,
        seeds: Sequence[int] | None = None,
    ) -> PIDResult:
        """Fit the couplings and evaluate the atoms.

        Args:
            features_vision: Input of the first network: [N, D1], or [..., N, D1] for each layer.
            features_language: Input of the second network: [N, D2], or [..., N, D2].
            joint: p(y|x1,x2), [..., N, K].
            vision: p(y|x1), [..., N, K].
            language: p(y|x2), [..., N, K].
            seeds: In place of the estimator's own.

        Returns:
            As :meth:`decompose`.

        Raises:
            InputError: Shapes that do not match, posteriors that are not distributions, fewer than four
                samples, or no seed.
        """
        sample = PairSample(
            joint=joint,
            vision=vision,
            language=language,
            features_vision=features_vision,
            features_language=features_language,
        )
        return (self if seeds is None else replace(self, seeds=seeds)).decompose(sample)

    def decompose(self, sample: PairSample, *, standard_errors: bool = False) -> PIDResult:
        """Fit the couplings and evaluate the atoms.

        Args:
            sample: Pairs with features; weights are refused, since minibatches count every pair once.
            standard_errors: It has none; see ``seed_std_<atom>``.

        Returns:
            The result, signed (unless `clip`). BATCH certifies nothing: `union_lower` and `union_upper` are
            NaN; `converged` says that every label's scaling on the test samples stopped by tolerance.
            Diagnostics: for each atom `seed_std_<atom>` (with two seeds or more) and `plug_in_<atom>` (where
            requested); `sinkhorn_converged`, the fraction of scalings that stopped by tolerance; `evaluated`, the
            number of test samples.

        Raises:
            ConfigError: No features.
            InputError: Weights, shapes that do not match, posteriors that are not distributions, or fewer than four
                samples.
        """
        self.check_sample(sample)
        p_LNK = _checked_posteriors(sample)
        n_layers, n_samples, n_answers = p_LNK[0].shape
        x = [
            self._checked_features(name, getattr(sample, name), n_layers, n_samples)
            for name in ("features_vision", "features_language")
        ]
        orders = torch.stack([torch.randperm(n_samples, generator=_generator(seed)) for seed in self.seeds])
        n_test = min(max(round(self.test_fraction * n_samples), 2), n_samples - 2)
        orders = orders.to(p_LNK[0].device)
        split = (orders[:, : n_samples - n_test], orders[:, n_samples - n_test :])

        chunk = max(1, _MOST_ELEMENTS // (len(self.seeds) * n_answers * min(self.batch_size, n_samples) ** 2))
        parts = []
        for start in range(0, n_layers, chunk):
            some = slice(start, start + chunk)
            x_some = [given if given.ndim == 2 else given[some] for given in x]
            parts.append(self._fit_and_evaluate(x_some, [p[some].float() for p in p_LNK[1:]], split))
        flow_LS, stopped_LS = (torch.cat(part) for part in zip(*parts, strict=True))
        return self._result(flow_LS, stopped_LS, p_LNK, split, sample.leading)

    def _checked_features(self, name: str, x: Tensor, n_layers: int, n_samples: int) -> Tensor:
        """float32 [N, D], or [L, N, D] where each layer has its own."""
        if not isinstance(x, Tensor):
            raise InputError(f"{name} is a {type(x).__name__}", "features are a tensor", f"torch.as_tensor({name})")
        if x.ndim < 2 or x.shape[-2] != n_samples or (x.ndim > 2 and x[..., 0, 0].numel() != n_layers):
            raise InputError(
                f"{name} has shape {tuple(x.shape)}",
                f"there are {n_samples} samples and {n_layers} layers: it must be [N, D] or [..., N, D]",
                f"reshape {name}",
            )
        if not bool(torch.isfinite(x).all()):
            raise InputError(f"{name} holds a NaN or an infinity", "a network learns from it", "drop those samples")
        x = x.detach().float() if x.ndim == 2 else x.detach().float().flatten(0, -3)
        if self.standardize:
            x = (x - x.mean(-2, keepdim=True)) / x.std(-2, keepdim=True).clamp_min(1e-8)
        return x

    def _fit_and_evaluate(self, x: list[Tensor], p: list[Tensor], split: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The test part's I_Q(X2; Y | X1) in nats, and the fraction of converged scalings, [L, S] each."""
        train_SN, test_SN = split
        generators = [_generator(seed) for seed in self.seeds]
        hidden = [self.hidden_size] * (self.hidden_layers + 1)
        out = self.embedding_size * p[0].shape[-1]
        first, second = (
            initial_parameters([source.shape[-1], *hidden, out], p[0].shape[0], generators, p[0]) for source in x
        )
        networks = (first, second)
        optimizer = torch.optim.Adam([*first, *second], lr=self.learning_rate)
        size = min(self.batch_size, train_SN.shape[1])
        for _ in range(self.epochs):
            order = torch.stack([torch.randperm(train_SN.shape[1], generator=g) for g in generators])
            shuffled_SN = train_SN.gather(1, order.to(train_SN.device))
            # A short last minibatch is left out, as in the original: the next epoch has another order.
            for start in range(0, train_SN.shape[1] - size + 1, size):
                loss, _ = self._evaluate(x, p, shuffled_SN[:, start : start + size], networks)
                optimizer.zero_grad(set_to_none=True)
                # Models have no parameters in common, so the gradient of the sum is that of each.
                loss.sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return self._evaluate_all(x, p, test_SN, networks)

    @torch.no_grad()
    def _evaluate_all(
        self, x: list[Tensor], p: list[Tensor], test_SN: Tensor, networks: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Means over batches of the test part, weighted by their size."""
        batches = self._test_batches(test_SN)
        n_test = sum(batch.shape[1] for batch in batches)
        values = [(*self._evaluate(x, p, batch, networks), batch.shape[1] / n_test) for batch in batches]
        flow_LS = sum((flow_ * fraction for flow_, _, fraction in values), torch.zeros(()))
        stopped_LS = sum((stopped * fraction for _, stopped, fraction in values), torch.zeros(()))
        return flow_LS, stopped_LS

    def _test_batches(self, test_SN: Tensor) -> Sequence[Tensor]:
        n_test = test_SN.shape[1]
        if self.whole_batches and n_test >= self.batch_size:
            whole = n_test - n_test % self.batch_size
            return torch.split(test_SN[:, :whole], self.batch_size, dim=1)
        return test_SN.tensor_split(math.ceil(n_test / self.batch_size), dim=1)

    def _evaluate(
        self, x: list[Tensor], p: list[Tensor], index_SB: Tensor, networks: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        x1, x2 = (given[..., index_SB, :] for given in x)
        batch = Minibatch(x1=x1, x2=x2, p1=p[0][:, index_SB], p2=p[1][:, index_SB])
        q_LSKAB, stopped_LS = align(
            batch,
            networks,
            balance=self.balance,
            rounds=self.sinkhorn_rounds,
            tolerance=self.sinkhorn_tolerance,
        )
        return flow(q_LSKAB, batch.p1), stopped_LS

    def _result(
        self, flow_LS: Tensor, stopped_LS: Tensor, p_LNK: list[Tensor], split: Sequence[Tensor], shape: torch.Size
    ) -> PIDResult:
        train_SN, test_SN = split[0], torch.cat(tuple(self._test_batches(split[1])), 1)
        joint_LNK = p_LNK[0]
        by_train = self.answer_marginal == "train"
        py_LSK = joint_LNK[:, train_SN].mean(2) if by_train else joint_LNK.mean(1, keepdim=True)
        total, i1, i2 = (_divergence(p[:, test_SN], py_LSK[:, :, None]) for p in p_LNK)
        flow_bits = flow_LS.double() / math.log(2)
        # I_Q(X1, X2; Y) is I(X1; Y) + I_Q(X2; Y | X1): the original's anchor is the first source.
        values = dict(zip(ATOMS, (i2 - flow_bits, i1 - i2 + flow_bits, flow_bits, total - i1 - flow_bits), strict=True))
        diagnostics = {
            "sinkhorn_converged": stopped_LS.double().mean(1),
            "evaluated": torch.full_like(stopped_LS[:, 0].double(), test_SN.shape[1]),
        }
        if flow_LS.shape[1] > 1:
            diagnostics |= {f"seed_std_{name}": value.std(1) for name, value in values.items()}
        if self.plug_in:
            diagnostics |= _plug_in([p[:, test_SN] for p in p_LNK])
        atoms = {name: value.mean(1).reshape(shape) for name, value in values.items()}
        unknown = torch.full_like(atoms["synergy"], float("nan"))
        if self.clip:
            diagnostics["clipped"] = torch.stack([atom.clamp_max(0).abs() for atom in atoms.values()]).sum(0)
            atoms = {name: atom.clamp_min(0) for name, atom in atoms.items()}
        return PIDResult(
            redundancy=atoms["redundancy"],
            unique_vision=atoms["unique_vision"],
            unique_language=atoms["unique_language"],
            synergy=atoms["synergy"],
            total=total.mean(1).reshape(shape),
            information_vision=i1.mean(1).reshape(shape),
            information_language=i2.mean(1).reshape(shape),
            union_lower=unknown,
            union_upper=unknown,
            converged=(stopped_LS.min(1).values >= 1 - 1e-6).reshape(shape),
            n=p_LNK[0].shape[1],
            estimator=self.name,
            diagnostics={name: value.reshape(shape) for name, value in diagnostics.items()},
        )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _checked_posteriors(sample: PairSample) -> list[Tensor]:
    """Joint, vision and language posteriors, float64 [L, N, K], without gradients."""
    if sample.weights is not None:
        raise InputError(
            "weights of pairs for estimator 'batch'",
            "its minibatches count every pair once",
            "draw pairs by their weights and pass weights=None, or use estimator='exact'",
        )
    *posteriors, _ = sample.flat()
    if posteriors[0].shape[1] < 4:
        raise InputError(
            f"joint has {posteriors[0].shape[1]} samples",
            "training and test part need two each",
            "pass four or more",
        )
    return [p.detach() for p in posteriors]


def _divergence(p_LSNK: Tensor, p_y: Tensor) -> Tensor:
    """The mean over samples of D(p(y|x) || p(y)) in bits, [L, S]."""
    nats = torch.special.xlogy(p_LSNK, p_LSNK) - torch.special.xlogy(p_LSNK, p_y)
    return nats.sum(-1).mean(-1) / math.log(2)


def _plug_in(p_LSNK: list[Tensor]) -> dict[str, Tensor]:
    """The exact atoms on the test samples, means over the seeds."""
    joint, vision, language = p_LSNK
    exact = ExactEstimator().decompose(PairSample(joint=joint, vision=vision, language=language))
    return {f"plug_in_{name}": value.mean(1) for name, value in exact.atoms().items()}
