"""The metadata store of record: schema, recording, graph walks."""
