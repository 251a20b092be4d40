"""The commands behind the Makefile: build the engines, run the stack, run its main job."""
