"""What an event costs in each operator: over a key's lifetime, and beside a Python loop over the events."""
