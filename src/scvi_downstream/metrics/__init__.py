"""Numbers that say how well batches mix and cell types stay apart."""
