"""Checks of arguments. Every message names the argument, the value and the rule."""

from numbers import Integral, Real

import torch
from torch import Tensor

from fusionscope.errors import InputError

# How far a row of probabilities may be from summing to 1 before it is refused; within it, rows are renormalised.
_SUM_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}


def check_simplex(name: str, p: Tensor, n_event_dims: int, min_ndim: int) -> Tensor:
    """Checks that the last dimensions of ``p`` are probabilities and returns them as float64, exactly normalised.

    Args:
        name: The argument's name, for messages.
        p: Probabilities [...], any floating dtype.
        n_event_dims: Over how many trailing dimensions ``p`` sums to 1.
        min_ndim: The fewest dimensions that ``p`` may have.

    Returns:
        float64 tensor of the same shape, on the same device, differentiable in ``p``.

    Raises:
        InputError: Not a floating tensor, empty, too few dimensions, NaN or infinite, negative, or not normalised.
    """
    p64 = _check_masses(name, p, min_ndim)
    dims = tuple(range(-n_event_dims, 0))
    sums = p64.sum(dims, keepdim=True)
    worst = float((sums.detach() - 1).abs().max())
    if worst > _SUM_TOLERANCE[p.dtype]:
        off = float(sums.detach().flatten()[(sums.detach() - 1).abs().argmax()])
        rule = f"the last {n_event_dims} dimension(s) must sum to 1 within {_SUM_TOLERANCE[p.dtype]:g} for {p.dtype}"
        raise InputError(f"{name} sums to {off:.6g}", rule, f"normalise {name} before passing it")
    return p64 / sums


def check_weights(name: str, weights: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Checks sample or pair weights, or makes uniform ones; float64, summing to 1 over ``shape``.

    Args:
        name: The argument's name, for messages.
        weights: Weights whose trailing dimensions are ``shape``, or None for uniform ones.
        shape: The trailing shape.
        like: The probabilities that are weighted, one more dimension: device and leading dimensions.

    Returns:
        The weights, expanded to the leading dimensions.

    Raises:
        InputError: As :func:`check_simplex`, or of another shape.
    """
    if weights is None:
        count = torch.Size(shape).numel()
        return torch.full(like.shape[:-1], 1.0 / count, dtype=torch.float64, device=like.device)
    if not isinstance(weights, Tensor) or tuple(weights.shape[weights.ndim - len(shape) :]) != shape:
        got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise InputError(f"{name} is {got}", f"its last dimensions must be {shape}, one weight each", f"reshape {name}")
    checked = check_simplex(name, weights, len(shape), len(shape)).to(like.device)
    leading, wanted = weights.shape[: weights.ndim - len(shape)], like.shape[: like.ndim - len(shape) - 1]
    if len(leading) > len(wanted) or any(
        n not in (1, m) for n, m in zip(reversed(leading), reversed(wanted), strict=False)
    ):
        rule = f"its leading dimensions must be those of the probabilities, {tuple(wanted)}, or none"
        raise InputError(f"{name} is {tuple(weights.shape)}", rule, f"reshape {name}")
    return checked.expand(like.shape[:-1])


def check_tolerance(tolerance: float) -> float:
    """Checks a certified width in bits.

    Raises:
        InputError: Not a positive, finite number.
    """
    if not isinstance(tolerance, Real) or not 0 < tolerance < float("inf"):
        raise InputError(f"tolerance={tolerance!r}", "it is a width in bits, over 0 and finite", "pass 1e-6, say")
    return float(tolerance)


def check_count(name: str, value: int, least: int = 1) -> int:
    """Checks a count.

    Raises:
        InputError: Not an integer, or fewer than ``least``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}={value!r}", f"it is an integer of at least {least}", f"pass {name}={least} or more")
    return int(value)


def check_fraction(name: str, value: float, *, most: float = 1.0, zero: bool = False, top: bool = False) -> float:
    """Checks a number between 0 and ``most``.

    Args:
        name: The argument's name, for messages.
        value: What was given.
        most: The upper end.
        zero: Whether 0 is allowed.
        top: Whether ``most`` is allowed.

    Raises:
        InputError: Not a number, or out of this range.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < most or (zero and value == 0) or (top and value == most)):
        rule = f"it is a number {'from' if zero else 'over'} 0 {'up to' if top else 'and under'} {most:g}"
        raise InputError(f"{name}={value!r}", rule, f"pass {name}={min(0.5, most / 2):g}, say")
    return float(value)


def check_same_shape(first: tuple[str, Tensor], *others: tuple[str, Tensor]) -> None:
    """Raises InputError unless all named tensors have the shape of the first."""
    name, reference = first
    for other, tensor in others:
        if tensor.shape != reference.shape:
            raise InputError(
                f"{other} has shape {tuple(tensor.shape)}, {name} {tuple(reference.shape)}",
                "they describe the same samples and answers, so the shapes must be equal",
                f"pass {name} and {other} of one shape",
            )


def _check_masses(name: str, p: Tensor, min_ndim: int) -> Tensor:
    if not isinstance(p, Tensor):
        raise InputError(f"{name} is a {type(p).__name__}", "it must be a torch tensor", f"torch.as_tensor({name})")
    if p.layout != torch.strided:
        raise InputError(f"{name} has layout {p.layout}", "it must be a dense tensor", f"{name}.to_dense()")
    if p.dtype not in _SUM_TOLERANCE:
        raise InputError(f"{name} has dtype {p.dtype}", "probabilities are floating point", f"{name}.double()")
    if p.ndim < min_ndim:
        rule = f"it needs at least {min_ndim} dimensions"
        raise InputError(f"{name} has shape {tuple(p.shape)}", rule, f"reshape {name}")
    if p.numel() == 0:
        raise InputError(f"{name} has shape {tuple(p.shape)}", "it must not be empty", "pass at least one sample")
    if p.device.type == "mps":
        raise InputError(f"{name} is on {p.device}", "informations need float64, which it has not", f"{name}.cpu()")
    p64 = p.to(torch.float64)
    finite = torch.isfinite(p64.detach())
    if not bool(finite.all()):
        bad = float(p64.detach()[~finite].flatten()[0])
        raise InputError(f"{name} contains {bad}", "probabilities are finite", f"fix or drop those rows of {name}")
    low = float(p64.detach().min())
    if low < 0:
        raise InputError(f"{name} contains {low:.6g}", "probabilities are not negative", f"check how {name} is made")
    return p64
