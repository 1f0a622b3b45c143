"""How the numbers of a report came about, in words: design, law, estimator, sample sizes, versions, sources."""

from collections.abc import Sequence

from fusionscope.pid.estimators import get_estimator, known_estimators
from fusionscope.probe import get_design, known_designs
from fusionscope.records import Record, Run

_LAWS = {
    "uniform": "Under the uniform law images and questions are independent: the numbers are interventional.",
    "natural": "Under the natural law pairs count as they occur: the numbers are observational.",
    "benchmark": (
        "Under the benchmark law an image's own list of questions is the law: the images are a sample of the "
        "benchmark's, each with all of its questions, and the numbers describe the benchmark alone."
    ),
    "population": (
        "Under the population law the questions of an image are a sample of those that could be asked of it: what "
        "few questions an image do not identify is left open."
    ),
}
_SAID_ELSEWHERE = {"design", "design_options", "estimator", "estimator_options", "laws", "layers", "lens"}
SOURCES = (
    "L. Xiu, X. Luo, H. Nakayama. A Comprehensive Information-Decomposition Analysis of Large Vision-Language Models. "
    "ICLR 2026, arXiv:2603.29676.",
    "N. Bertschinger, J. Rauh, E. Olbrich, J. Jost, N. Ay. Quantifying Unique Information. Entropy 16 (2014).",
    "P. P. Liang et al. Quantifying & Modeling Multimodal Interactions: An Information Decomposition Framework. "
    "NeurIPS 2023, arXiv:2302.12247.",
    "nostalgebraist. Interpreting GPT: the logit lens. 2020.",
    "J. Bai. Estimation of a Change Point in Multiple Regression Models. Review of Economics and Statistics 79 (1997).",
    "S. Holm. A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6 (1979).",
)


def sentences(records: Sequence[Record], run: Run | None = None) -> list[str]:
    """The methods paragraph of a report.

    Args:
        records: All records that the report is about.
        run: The run, where it has stages.
    """
    texts = [*dict.fromkeys(_design_sentence(record) for record in records)]
    texts += [*dict.fromkeys(_law_sentence(record.law) for record in records)]
    texts += [*dict.fromkeys(_estimator_sentence(record) for record in records)]
    texts.append(
        "Redundancy, unique vision, unique language and synergy add up to I(vision, language; answer), in bits; they "
        "are signed and never clamped. Layers are read at the last position with "
        f"{' or '.join(_lenses(records))}."
    )
    texts += _other_settings(records)
    texts += _samples(records)
    if any(record.standard_errors for record in records):
        texts.append(
            "Bands and bars are 95 % intervals, each by itself (Student's t, asymmetric where the error changes with "
            "the atom), ± are standard errors, both over the axes that are samples, not whole populations."
        )
    if any(record.identified for record in records):
        texts.append(
            "Bars without a point, and ≤, ≥ and 'to' in tables, are identified intervals: every value in them is "
            "compatible with the pairs that were run; sampling error at 95 % is included."
        )
    if not any(record.standard_errors or record.identified for record in records):
        texts.append("These records carry no standard errors.")
    texts.append(
        "An onset is the first probe from which an atom stays above the level before its main rise, if a likelihood "
        "ratio test of that rise against noise stands, whose probes may correlate up to 0.9 with their neighbours and "
        "whose size is taken from the curve; its interval holds the places that explain the curve nearly as well as "
        "the best. Onsets, their intervals, dots on heatmaps (the atom is above zero) and first layers hold together "
        "at 95 % over the whole page (Bonferroni, Holm). During training an onset is reported in at most 5 % of the "
        "runs in which nothing rises."
    )
    if run is not None and run.recipe:
        seed = "that of the recipe" if run.seed is None else str(run.seed)
        texts.append(f"Recipe {run.recipe} ({run.digest[:12]}), seed: {seed}.")
    texts.append(f"Models: {', '.join(sorted({r.model for r in records if r.model})) or 'not recorded'}.")
    texts.append(f"Versions: {_versions(records)}.")
    return texts


def _design_sentence(record: Record) -> str:
    if record.design not in known_designs():
        return f"The unimodal posteriors follow design {record.design!r}, whose package is not installed here."
    return get_design(record.design, record.spec.get("design_options")).sentence


def _law_sentence(law: str) -> str:
    return _LAWS.get(law, f"Under the law {law!r} pairs have the weights that the task gives them under this name.")


def _estimator_sentence(record: Record) -> str:
    if record.estimator not in known_estimators():
        return f"The estimator is {record.estimator!r}, whose package is not installed here."
    return get_estimator(record.estimator, **record.spec.get("estimator_options", {})).sentence


def _lenses(records: Sequence[Record]) -> list[str]:
    names = sorted({str(record.spec.get("lens", "logit")) for record in records})
    return ["the logit lens" if name == "logit" else f"the lens {name}" for name in names]


def _other_settings(records: Sequence[Record]) -> list[str]:
    changed = sorted(
        {
            f"{name.replace('_', ' ')} {value}"
            for record in records
            for name, value in record.spec.items()
            if name not in _SAID_ELSEWHERE
        }
    )
    return [f"Settings other than the defaults: {', '.join(changed)}."] if changed else []


def _samples(records: Sequence[Record]) -> list[str]:
    sizes = sorted({(r.task, r.n_images, r.n_questions) for r in records})
    texts = [f"{task}: {images:,} images, {questions:,} questions" for task, images, questions in sizes]
    return [f"Held-out samples: {'; '.join(texts)}."]


def _versions(records: Sequence[Record]) -> str:
    versions = sorted({f"{name} {version}" for record in records for name, version in record.versions.items()})
    return ", ".join(versions) or "not recorded"
