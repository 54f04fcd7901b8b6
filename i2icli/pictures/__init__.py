"""Picture files and tar shards: listed, decoded, encoded."""
