"""Readers of what people have: one file a tool, each turning its store into a table with one row a run."""
