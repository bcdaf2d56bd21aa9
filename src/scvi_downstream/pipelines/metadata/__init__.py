"""What annotations of cells and samples go together with: embedding, composition, expression."""
