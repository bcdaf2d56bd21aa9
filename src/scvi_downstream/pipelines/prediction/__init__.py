"""What cells would express in another condition: predicted from cells, scored against what is measured."""
