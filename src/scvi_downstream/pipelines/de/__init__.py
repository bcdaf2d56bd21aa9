"""Differential expression: Bayesian, Wilcoxon and pseudobulk, side by side."""
