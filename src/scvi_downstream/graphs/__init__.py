"""Neighbours graphs and what is read off them: communities, label transfer."""
