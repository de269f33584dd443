"""Where the catalogue lives: a ledger (the truth) and an index (answers searches), behind two protocols."""
