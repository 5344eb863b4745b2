"""Models as they come in: formats, safe loading, and their signature."""
