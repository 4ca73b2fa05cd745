"""Similarity indexes: the rows of the paper's Table 1 and their kin, registered through ``simkit.indexes`` entry points."""

from simkit.indexes.cca import CCA, PWCCA, SVCCA
from simkit.indexes.cka import CKA
from simkit.indexes.distance_correlation import DistanceCorrelation
from simkit.indexes.hsic import HSIC
from simkit.indexes.matching import BipartiteMatch, SemiMatch
from simkit.indexes.procrustes import Procrustes
from simkit.indexes.regression import LinearRegression

__all__ = [
    "CCA",
    "CKA",
    "HSIC",
    "PWCCA",
    "SVCCA",
    "BipartiteMatch",
    "DistanceCorrelation",
    "LinearRegression",
    "Procrustes",
    "SemiMatch",
]
