"""Ways to programs outside Python: processes of their own, files in, files out."""
