"""Neighbours graphs and what is read off them: communities, layouts, label transfer."""
