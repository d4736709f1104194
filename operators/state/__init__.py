"""The states of many keys as rows of arrays: found by key, merged, and as bytes."""
