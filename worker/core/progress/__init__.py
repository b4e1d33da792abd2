"""How far each partition is, how much is held, and the account of every record."""
