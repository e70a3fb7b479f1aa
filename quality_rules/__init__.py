"""What a rule can say of a row or a table, the split of rows by it, and the results as data."""
