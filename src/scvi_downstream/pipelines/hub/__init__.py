"""One fitted model as a folder for scvi-hub."""
