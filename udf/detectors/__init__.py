"""The algorithms: pure Python and numpy, one file each, no protobuf and no I/O."""
