"""Distributions over named classes: parsing, printing, comparing, drawing. NumPy only."""

from distok.distribution.measures import compare, js, kl, mean, spearman
from distok.distribution.priors import PRIORS, dirichlet, sample_prior
from distok.distribution.simplex import MAX_CLASSES, Distribution

__all__ = ["MAX_CLASSES", "PRIORS", "Distribution", "compare", "dirichlet", "js", "kl", "mean", "sample_prior", "spearman"]
