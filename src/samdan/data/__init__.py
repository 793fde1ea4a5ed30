"""From files to training shards: reading, cleaning, deduplication, selection, mixing."""
