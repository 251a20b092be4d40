"""Welch's t-test as a plain handler, the way UDFs were always written.

It runs unchanged on Kapacitor's own Python agent and on the SDK of this repository; which one
is a matter of PYTHONPATH.
"""

import argparse
import math

from scipy import stats

from kapacitor.udf import udf_pb2
from kapacitor.udf.agent import Agent, Handler


class Moments:
    """Mean and variance of the newest values; of all of them with a size of 0."""

    def __init__(self, size):
        self.size = size
        self.values = []
        self.oldest = 0
        self.n = 0
        self.mean = 0.0
        self.sum = 0.0

    def add(self, value):
        self.n += 1
        off = value - self.mean
        self.mean += off / self.n
        self.sum += off * (value - self.mean)
        if not self.size or len(self.values) < self.size:
            self.values.append(value)
            return
        old = self.values[self.oldest]
        self.values[self.oldest] = value
        self.oldest = (self.oldest + 1) % self.size
        before = (self.n * self.mean - old) / (self.n - 1)
        self.sum -= (old - self.mean) * (old - before)
        self.mean = before
        self.n -= 1

    def deviation(self):
        return math.sqrt(max(self.sum, 0.0) / (self.n - 1)) if self.n > 1 else 0.0


class TTest(Handler):
    def __init__(self, agent, count):
        self._agent = agent
        self._count = count
        self._fields = []
        self._size = 0
        self._alpha = 0.0
        self._history = []
        self._window = []

    def info(self):
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.BATCH
        response.info.provides = udf_pb2.STREAM
        response.info.options["field"].valueTypes.extend([udf_pb2.STRING] * self._count)
        response.info.options["size"].valueTypes.append(udf_pb2.INT)
        response.info.options["alpha"].valueTypes.append(udf_pb2.DOUBLE)
        return response

    def init(self, init_req):
        for option in init_req.options:
            if option.name == "field":
                self._fields = [value.stringValue for value in option.values]
            elif option.name == "size":
                self._size = option.values[0].intValue
            elif option.name == "alpha":
                self._alpha = option.values[0].doubleValue
        self._history = [Moments(self._size) for _ in self._fields]
        response = udf_pb2.Response()
        response.init.success = bool(self._fields and self._size > 1 and self._alpha > 0)
        if not response.init.success:
            response.init.error = "give field, size of at least 2, and alpha above 0"
        return response

    def snapshot(self):
        response = udf_pb2.Response()
        response.snapshot.snapshot = b""
        return response

    def restore(self, restore_req):
        response = udf_pb2.Response()
        response.restore.success = False
        response.restore.error = "keeps no state between lives"
        return response

    def begin_batch(self, begin_req):
        self._window = [Moments(0) for _ in self._fields]

    def point(self, point):
        for field, window in zip(self._fields, self._window, strict=True):
            window.add(point.fieldsDouble[field])

    def end_batch(self, end_req):
        response = udf_pb2.Response()
        response.point.time = end_req.tmax
        response.point.name = end_req.name
        response.point.group = end_req.group
        response.point.tags.update(end_req.tags)
        for field, history, window in zip(self._fields, self._history, self._window, strict=True):
            t, pvalue = 0.0, 1.0
            if history.n:
                t, pvalue = stats.ttest_ind_from_stats(
                    history.mean, history.deviation(), history.n,
                    window.mean, window.deviation(), window.n,
                    equal_var=False,
                )  # fmt: skip
            suffix = "_" + field if len(self._fields) > 1 else ""
            response.point.fieldsDouble["t" + suffix] = t
            response.point.fieldsDouble["pvalue" + suffix] = pvalue
            if pvalue > self._alpha:
                for value in window.values:
                    history.add(value)
        self._agent.write_response(response)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", type=int, default=1)
    agent = Agent()
    agent.handler = TTest(agent, parser.parse_args().fields)
    agent.start()
    agent.wait()
