"""Getting batches to the API: what is sent when, and what each answer means for the rows."""
