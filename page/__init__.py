"""The live page: the path of the points, the signals, the alerts and the tasks, in a browser."""
