"""Picture files and tar shards: found, decoded, encoded."""
