"""How well a model describes cells that were held out, fold by fold and batch by batch."""
