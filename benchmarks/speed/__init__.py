"""How fast a model streams on a machine, and what makes it so."""
