"""The formats of a record's value: each turns the values of a batch into columns, and tells the bad ones apart."""
