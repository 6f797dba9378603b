"""In place of matplotlib, which finn_plus_driver.overlays imports for an overlay that sizes FIFOs and is not used here."""
