"""The search index: columns of values, in memory."""
