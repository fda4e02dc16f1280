"""The artifact store: staging, digests, publishing, read receipts, sweep."""
