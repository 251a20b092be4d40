"""TICKscripts tested by cases: a folder each, recorded and replayed in a real Kapacitor."""
