"""Distributions over named classes: parsing, printing, comparing, drawing. NumPy only."""

from distok.distribution.measures import compare, js, kl, mean, spearman
from distok.distribution.priors import MIXTURE, PRIORS, SURPRISES, check_surprise, dirichlet, random_mixes, sample_prior
from distok.distribution.simplex import MAX_CLASSES, Distribution

__all__ = [
    "MAX_CLASSES",
    "MIXTURE",
    "PRIORS",
    "SURPRISES",
    "Distribution",
    "check_surprise",
    "compare",
    "dirichlet",
    "js",
    "kl",
    "mean",
    "random_mixes",
    "sample_prior",
    "spearman",
]
