"""Samples compared by MrVI: distances, effects of conditions, abundance, counterfactual expression."""
