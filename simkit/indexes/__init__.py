"""Similarity indexes: the rows of the paper's Table 1 and their kin, registered through ``simkit.indexes`` entry points."""

from simkit.indexes.canonical_ridge import CanonicalRidge
from simkit.indexes.cca import CCA, PWCCA, SVCCA
from simkit.indexes.cka import CKA
from simkit.indexes.cknna import CKNNA
from simkit.indexes.distance_correlation import DistanceCorrelation
from simkit.indexes.eigenspace_overlap import EigenspaceOverlap
from simkit.indexes.gulp import GULP
from simkit.indexes.hsic import HSIC
from simkit.indexes.jaccard import Jaccard
from simkit.indexes.matching import BipartiteMatch, SemiMatch
from simkit.indexes.maximum_match import MaximumMatch
from simkit.indexes.mmd import MMD
from simkit.indexes.mutual_information import MutualInformation
from simkit.indexes.mutual_knn import MutualKNN
from simkit.indexes.procrustes import Procrustes
from simkit.indexes.regression import LinearRegression
from simkit.indexes.ridge_predictivity import RidgePredictivity
from simkit.indexes.rsa import RSA
from simkit.indexes.rsm_norm import RSMNorm
from simkit.indexes.soft_match import SoftMatch

__all__ = [
    "CCA",
    "CKA",
    "CKNNA",
    "GULP",
    "HSIC",
    "MMD",
    "PWCCA",
    "RSA",
    "SVCCA",
    "BipartiteMatch",
    "CanonicalRidge",
    "DistanceCorrelation",
    "EigenspaceOverlap",
    "Jaccard",
    "LinearRegression",
    "MaximumMatch",
    "MutualInformation",
    "MutualKNN",
    "Procrustes",
    "RSMNorm",
    "RidgePredictivity",
    "SemiMatch",
    "SoftMatch",
]
