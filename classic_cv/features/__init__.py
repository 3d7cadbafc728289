"""Feature extractors: images to float32 (n_samples, n_features)."""
