"""Everything that a report states, put together from published folders."""
