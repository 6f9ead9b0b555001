"""Models of sources: parameters, spectra, positions and shapes, and their files."""
