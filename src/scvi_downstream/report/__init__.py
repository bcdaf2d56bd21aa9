"""What sections of the report are made of: figures, tables, references, words."""
