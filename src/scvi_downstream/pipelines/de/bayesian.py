"""Bayesian differential expression with scvi-tools' own test."""

from scvi_downstream.bayesian_expression import COLUMNS, compare_bayesian

__all__ = ["COLUMNS", "compare_bayesian"]
