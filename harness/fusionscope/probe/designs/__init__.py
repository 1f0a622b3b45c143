"""Designs: where p(y | image) and p(y | question) come from."""

from fusionscope.probe.designs.base import Design, PairDesign, Sampling, chosen_pairs, get_design, known_designs

__all__ = ["Design", "PairDesign", "Sampling", "chosen_pairs", "get_design", "known_designs"]
