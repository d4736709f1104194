"""What the newest events of a key come down to, so many of them or those of so much event time."""
