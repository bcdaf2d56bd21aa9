"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""
