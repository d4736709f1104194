"""What all events of a key come down to: counts, sums, moments, extremes, quantiles."""
