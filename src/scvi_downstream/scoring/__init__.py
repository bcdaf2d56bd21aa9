"""How good a model or an embedding is: held-out likelihood, bio conservation, batch correction."""
