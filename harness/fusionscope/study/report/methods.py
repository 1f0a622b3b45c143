"""How the numbers of a report came about, in words: design, estimator, sample sizes, versions, sources."""

from collections.abc import Sequence

from fusionscope.pid.estimators import get_estimator, known_estimators
from fusionscope.probe import get_design, known_designs
from fusionscope.records import Record, Run

_LAWS = {
    "uniform": "Under the uniform law images and questions are independent: the numbers are interventional.",
    "natural": "Under the natural law pairs count as they occur: the numbers are observational.",
}
SOURCES = (
    "L. Xiu, X. Luo, H. Nakayama. A Comprehensive Information-Decomposition Analysis of Large Vision-Language Models. "
    "ICLR 2026, arXiv:2603.29676.",
    "N. Bertschinger, J. Rauh, E. Olbrich, J. Jost, N. Ay. Quantifying Unique Information. Entropy 16 (2014).",
    "P. P. Liang et al. Quantifying & Modeling Multimodal Interactions: An Information Decomposition Framework. "
    "NeurIPS 2023, arXiv:2302.12247.",
    "nostalgebraist. Interpreting GPT: the logit lens. 2020.",
    "R. E. Barlow, D. J. Bartholomew, J. M. Bremner, H. D. Brunk. Statistical Inference under Order Restrictions. "
    "Wiley 1972.",
)


def sentences(records: Sequence[Record], journey: Run | None = None) -> list[str]:
    """The methods paragraph of a report."""
    found = [*dict.fromkeys(_design_sentence(record) for record in records)]
    laws = {record.law for record in records if record.design == "crossed"}
    found += [text for name, text in _LAWS.items() if name in laws]
    found += [*dict.fromkeys(_estimator_sentence(record) for record in records)]
    found.append(
        "Redundancy, unique vision, unique language and synergy add up to I(vision, language; answer), in bits; they "
        "are signed and never clamped. Layers are read at the last position with "
        f"{' or '.join(_lenses(records))}."
    )
    found += _samples(records)
    if any(record.standard_errors for record in records):
        found.append(
            "Bands and bars are 95 % intervals (Student's t, asymmetric where the error changes with the atom), ± are "
            "standard errors, both over the axes that are samples, not whole populations."
        )
    else:
        found.append("These records carry no standard errors.")
    found.append(
        "An onset is the first probe from which an atom stays above the level before its main rise, if a permutation "
        "test of the probes' order is significant at 1 %, each curve by itself; its interval is a parametric bootstrap."
    )
    if journey is not None:
        seed = "that of the recipe" if journey.seed is None else str(journey.seed)
        found.append(f"Recipe {journey.recipe} ({journey.digest[:12]}), seed: {seed}.")
    found.append(f"Models: {', '.join(sorted({r.model for r in records if r.model})) or 'not recorded'}.")
    found.append(f"Versions: {_versions(records)}.")
    return found


def _design_sentence(record: Record) -> str:
    if record.design not in known_designs():
        return f"The unimodal posteriors follow design {record.design!r}, whose package is not installed here."
    return get_design(record.design, record.spec.get("design_options")).sentence


def _estimator_sentence(record: Record) -> str:
    if record.estimator not in known_estimators():
        return f"The estimator is {record.estimator!r}, whose package is not installed here."
    return get_estimator(record.estimator, **record.spec.get("estimator_options", {})).sentence


def _lenses(records: Sequence[Record]) -> list[str]:
    names = sorted({str(record.spec.get("lens", "logit")) for record in records})
    return ["the logit lens" if name == "logit" else f"the lens {name}" for name in names]


def _samples(records: Sequence[Record]) -> list[str]:
    sizes = sorted({(r.task, r.n_images, r.n_questions) for r in records})
    texts = [f"{task}: {images:,} images, {questions:,} questions" for task, images, questions in sizes]
    return [f"Held-out samples: {'; '.join(texts)}."]


def _versions(records: Sequence[Record]) -> str:
    found = sorted({f"{name} {version}" for record in records for name, version in record.versions.items()})
    return ", ".join(found) or "not recorded"
