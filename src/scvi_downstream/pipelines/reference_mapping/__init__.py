"""The study's cells mapped onto a reference model by scArches surgery."""
