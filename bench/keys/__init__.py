"""What very many keys take in one worker: memory, time to restore, and what a limit does when they are too many."""
