"""In place of matplotlib.pyplot: nothing is drawn."""
