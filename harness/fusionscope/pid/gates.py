"""A zoo of named distributions whose atoms are known in closed form: ground truth for every estimator.

Names follow the literature (Griffith and Koch 2014; Bertschinger et al. 2014; Ince 2017) and the bivariate
zoo of `dit` (James et al. 2018). Every atom is a closed formula in entropies, in bits.

Shapes: A values of the first source (vision), B of the second (language), K of the target (answer).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.errors import UnknownNameError

__all__ = ["Gate", "gate", "names", "zoo"]

Outcome = tuple[int, int, int, float]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A small joint distribution with its known atoms, in bits (BROJA, Bertschinger et al. 2014).

    Args:
        name: The upper-case name.
        outcomes: Quadruples (x1, x2, y, probability) with a positive probability.
        redundancy: Information about the target that is in either source.
        unique_vision: Information that is in the first source alone.
        unique_language: Information that is in the second source alone.
        synergy: Information that is in both together alone.
        about: One line: what the gate is.
    """

    name: str
    outcomes: tuple[Outcome, ...]
    redundancy: float
    unique_vision: float
    unique_language: float
    synergy: float
    about: str

    @property
    def joint(self) -> Tensor:
        """The joint distribution p(x1, x2, y): float64 [A, B, K], sums to 1."""
        shape = [1 + max(int(outcome[axis]) for outcome in self.outcomes) for axis in range(3)]
        p_ABK = torch.zeros(shape, dtype=torch.float64)
        for x1, x2, y, probability in self.outcomes:
            p_ABK[x1, x2, y] += probability
        return p_ABK

    @property
    def union(self) -> float:
        """The union information I*, in bits: everything but the synergy."""
        return self.redundancy + self.unique_vision + self.unique_language

    @property
    def total(self) -> float:
        """I(X1, X2; Y), in bits."""
        return self.union + self.synergy

    @property
    def nonregular(self) -> bool:
        """Whether an atom of the zoo's unique information is zero, so that I* may have a kink there."""
        return min(self.unique_vision, self.unique_language) < 1e-12

    def atoms(self) -> dict[str, float]:
        """The four atoms by name, in bits."""
        fields = ("redundancy", "unique_vision", "unique_language", "synergy")
        return {field: getattr(self, field) for field in fields}


def names() -> tuple[str, ...]:
    """The names of all gates, sorted.

    >>> names()[:4]
    ('AND', 'BEC', 'BOOM', 'BSC')
    """
    return tuple(sorted(_GATES))


def gate(name: str) -> Gate:
    """Load a gate by its name; case, spaces, hyphens and underscores do not matter.

    Args:
        name: For example "XOR", "reduced or", "rdn-xor".

    Returns:
        The gate.

    Raises:
        UnknownNameError: No gate has this name; the message lists the known ones.

    >>> gate("and").synergy
    0.5
    """
    key = name.upper().replace(" ", "_").replace("-", "_")
    if key not in _GATES:
        raise UnknownNameError(f"gate {name!r}", "no gate has this name", f"use one of {', '.join(names())}")
    return _GATES[key]


def zoo() -> Iterator[Gate]:
    """All gates, in the order of their names.

    >>> max(abs(float(g.joint.sum()) - 1) for g in zoo()) < 1e-12
    True
    """
    return (_GATES[name] for name in names())


def _h(*weights: float) -> float:
    """Entropy in bits of a distribution; one weight p means the pair (p, 1 - p)."""
    weights = (weights[0], 1 - weights[0]) if len(weights) == 1 else weights
    return -sum(p * math.log2(p) for p in weights if p > 0)


def _uniform(*words: str) -> tuple[Outcome, ...]:
    """Equally likely outcomes, one three-digit word (x1, x2, y) each."""
    return tuple((int(w[0]), int(w[1]), int(w[2]), 1 / len(words)) for w in words)


def _weighted(**weights: float) -> tuple[Outcome, ...]:
    """Outcomes with probabilities, each key a three-digit word after an underscore."""
    return tuple((int(w[1]), int(w[2]), int(w[3]), p) for w, p in weights.items())


def _channels(first: list[list[float]], second: list[list[float]]) -> tuple[Outcome, ...]:
    """A fair bit Y observed through two conditionally independent channels p(x | y), rows indexed by y."""
    return tuple(
        (a, b, y, 0.5 * p1 * p2)
        for y in (0, 1)
        for a, p1 in enumerate(first[y])
        for b, p2 in enumerate(second[y])
        if p1 * p2 > 0
    )


def _rdn_unq_xor() -> tuple[Outcome, ...]:
    """A shared bit r, a private bit of each source (u, v), and an exclusive-or of two more (s, t)."""
    bits = [tuple(index >> shift & 1 for shift in range(5)) for index in range(32)]
    return tuple(
        (4 * r + 2 * u + s, 4 * r + 2 * v + t, 8 * r + 4 * u + 2 * v + (s ^ t), 1 / 32) for r, u, v, s, t in bits
    )


def _make(name: str, outcomes: tuple[Outcome, ...], r: float, u1: float, u2: float, s: float, about: str) -> Gate:
    return Gate(
        name=name,
        outcomes=outcomes,
        redundancy=r,
        unique_vision=u1,
        unique_language=u2,
        synergy=s,
        about=about,
    )


_AND = _h(1 / 4) - 1 / 2
_W = _h(1 / 3) - 2 / 3
_PROB_1 = _h(2 / 5) - 3 / 5 * _h(1 / 3) - 2 / 5
_IMPERFECT = 1 - 0.501 * _h(0.001 / 0.501)
# Two independent binary symmetric channels, flips .1 and .2: entropy of the four (x1, x2) cells.
_BSC_JOINT = _h(0.37, 0.37, 0.13, 0.13) - _h(0.1) - _h(0.2)

_GATES = {
    g.name: g
    for g in (
        _make("XOR", _uniform("000", "011", "101", "110"), 0, 0, 0, 1, "exclusive or of two fair bits"),
        _make("AND", _uniform("000", "010", "100", "111"), _AND, 0, 0, 0.5, "and of two fair bits"),
        _make("OR", _uniform("000", "011", "101", "111"), _AND, 0, 0, 0.5, "or of two fair bits"),
        _make("COPY", _uniform("000", "011", "102", "113"), 0, 1, 1, 0, "both fair bits, side by side"),
        _make("UNQ", _uniform("000", "010", "101", "111"), 0, 1, 0, 0, "the first of two fair bits"),
        _make("UNQ2", _uniform("000", "011", "100", "111"), 0, 0, 1, 0, "the second bit (dit: unq1)"),
        _make("RDN", _uniform("000", "111"), 1, 0, 0, 0, "one bit, copied to both sources"),
        _make(
            "RDNXOR",
            _uniform("000", "011", "101", "110", "222", "233", "323", "332"),
            1,
            0,
            0,
            1,
            "a shared bit beside an exclusive or",
        ),
        _make("RDNUNQXOR", _rdn_unq_xor(), 1, 1, 1, 1, "a shared bit, two private bits, an exclusive or"),
        _make("SUM", _uniform("000", "011", "101", "112"), 0.5, 0, 0, 1, "sum of two fair bits"),
        _make(
            "RAND",
            _weighted(_000=1 / 4, _010=1 / 8, _011=1 / 8, _100=1 / 8, _101=1 / 8, _111=1 / 4),
            1 - _h(1 / 4),
            0,
            0,
            _h(1 / 4) - 0.5,
            "one of the two bits, picked at random",
        ),
        _make(
            "REDUCED_OR",
            _weighted(_000=1 / 2, _011=1 / 4, _101=1 / 4),
            1 - 3 / 4 * _h(1 / 3),
            0,
            0,
            3 / 4 * _h(1 / 3),
            "or of two bits that are never both one",
        ),
        _make(
            "IMPERFECT_RDN",
            _weighted(_000=0.499, _010=0.001, _111=0.5),
            _IMPERFECT,
            1 - _IMPERFECT,
            0,
            0,
            "a shared bit, with rare errors in the second source",
        ),
        _make(
            "SIMPLE",
            _weighted(_000=1 / 2, _110=1 / 4, _111=1 / 4),
            _AND,
            0,
            0,
            0,
            "equal sources that sometimes decide the target",
        ),
        _make("DUP", _uniform("000", "001", "111", "112"), 0.5, 0, 0, 0, "equal sources: the redundancy in SUM"),
        _make(
            "UNIFORM",
            _uniform("000", "001", "010", "011", "100", "101", "110", "111"),
            0,
            0,
            0,
            0,
            "three unrelated bits",
        ),
        _make("NULL", _uniform("000", "001", "110", "111"), 0, 0, 0, 0, "equal sources, unrelated target"),
        _make(
            "DIFF",
            _uniform("000", "001", "010", "101"),
            2 * _AND - 0.5,
            0.5 - _AND,
            0.5 - _AND,
            0,
            "tells BROJA from the projected-information measure",
        ),
        _make("W", _uniform("001", "010", "100"), _W, 0, 0, 2 / 3, "exactly one of three bits is one"),
        _make(
            "NOT_TWO",
            _uniform("000", "001", "010", "100", "111"),
            _PROB_1,
            0,
            0,
            _h(2 / 5) - 2 / 5 - _PROB_1,
            "every triple of bits but those with two ones",
        ),
        _make("F1", _uniform("002", "010", "102", "111"), 0, 0.5, 1, 0, "the first bit, where the second allows"),
        _make(
            "WB_1",
            _uniform("000", "011", "102"),
            2 * _h(1 / 3) - math.log2(3),
            2 / 3,
            2 / 3,
            0,
            "Williams and Beer's first: a copy of dependent sources",
        ),
        _make("WB_2", _uniform("000", "011", "102", "111"), 0, 0.5, 1, 0, "Williams and Beer's second"),
        _make(
            "WB_3",
            _uniform("000", "110", "011", "111", "012", "102"),
            0,
            0,
            _W,
            2 / 3,
            "Ince's variant of Williams and Beer's second",
        ),
        _make(
            "PROB_1",
            _uniform("000", "001", "010", "011", "100"),
            _PROB_1,
            _h(2 / 5) - 4 / 5 - _PROB_1,
            0,
            0,
            "hard for dependency-based measures",
        ),
        _make(
            "PROB_2",
            _uniform("000", "010", "021", "101"),
            _AND,
            0,
            0.5 - _AND,
            0.5,
            "hard for the intrinsic information",
        ),
        _make(
            "BOOM",
            _uniform("001", "002", "020", "121", "202", "212"),
            1 / 3,
            1 / 3,
            1 / 3,
            _h(1 / 6, 2 / 6, 3 / 6) - 4 / 3,
            "separates four measures; all atoms positive",
        ),
        _make(
            "GBAND",
            _uniform("000", "010", "100", "111", "222", "232", "322", "333"),
            1 + _AND,
            0,
            0,
            0.5,
            "a shared bit beside an and",
        ),
        _make("PWU", _uniform("011", "101", "022", "202"), 0.5, 0, 0, 0.5, "pointwise unique: one source is silent"),
        _make(
            "ERASE",
            _weighted(
                _000=1 / 16,
                _002=1 / 16,
                _020=1 / 16,
                _022=1 / 16,
                _111=1 / 16,
                _112=1 / 16,
                _121=1 / 16,
                _122=1 / 16,
                _200=1 / 16,
                _202=1 / 16,
                _220=1 / 16,
                _211=1 / 16,
                _212=1 / 16,
                _221=1 / 16,
                _222=1 / 8,
            ),
            1 / 4,
            0,
            0,
            1 / 8,
            "three copies of a bit, each erased with probability one half",
        ),
        _make(
            "COPY_DEPENDENT",
            _weighted(_000=0.4, _011=0.1, _102=0.1, _113=0.4),
            1 - _h(0.2),
            _h(0.2),
            _h(0.2),
            0,
            "a copy of two dependent bits: what they share is redundant",
        ),
        _make(
            "BSC",
            _channels([[0.9, 0.1], [0.1, 0.9]], [[0.8, 0.2], [0.2, 0.8]]),
            1 - _h(0.2),
            _h(0.2) - _h(0.1),
            0,
            _BSC_JOINT - (1 - _h(0.1)),
            "two symmetric channels, the second noisier",
        ),
        _make(
            "BEC",
            _channels([[0.75, 0, 0.25], [0, 0.75, 0.25]], [[0.5, 0, 0.5], [0, 0.5, 0.5]]),
            0.5,
            0.25,
            0,
            0.125,
            "two erasure channels, the second noisier",
        ),
    )
}
