"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""
