"""Training of reference models and of JSCC pairs."""
