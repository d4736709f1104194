"""What readers over HTTP do to the lag of a worker that is half as busy as it can be."""
