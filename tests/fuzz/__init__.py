"""A mutation loop over everything that samdan is given by strangers: ``make fuzz``."""
