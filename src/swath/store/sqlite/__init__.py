"""The ledger in one SQLite database."""
