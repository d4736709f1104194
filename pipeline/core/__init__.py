"""The engine without a network: configuration, decoding, keyed state, its changelog, what one task folds."""
