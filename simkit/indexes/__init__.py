"""Similarity indexes: one file for each row of the paper's Table 1, registered through ``simkit.indexes`` entry points."""

from simkit.indexes.cca import CCA, PWCCA, SVCCA
from simkit.indexes.cka import CKA
from simkit.indexes.hsic import HSIC
from simkit.indexes.regression import LinearRegression

__all__ = ["CCA", "CKA", "HSIC", "PWCCA", "SVCCA", "LinearRegression"]
