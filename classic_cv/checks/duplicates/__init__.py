"""Copies among images: perceptual hashes, a search that compares few pairs, and proof by comparing details."""
