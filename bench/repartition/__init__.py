"""What repartitioning costs: the same table of the same events, directly and through a hop."""
