"""Fits: predicted counts, likelihoods, minimisers, and what they find."""
