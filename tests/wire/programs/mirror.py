"""A UDF that sends every point back as it came, for tests and measurements."""

import sys

from kapacitor.udf import udf_pb2
from kapacitor.udf.agent import Agent, Handler


class Mirror(Handler):
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def info(self) -> udf_pb2.Response:
        response = udf_pb2.Response()
        response.info.wants = udf_pb2.STREAM
        response.info.provides = udf_pb2.STREAM
        return response

    def init(self, init_req: udf_pb2.InitRequest) -> udf_pb2.Response:
        return udf_pb2.Response(init=udf_pb2.InitResponse(success=True))

    def snapshot(self) -> udf_pb2.Response:
        return udf_pb2.Response(snapshot=udf_pb2.SnapshotResponse())

    def restore(self, restore_req: udf_pb2.RestoreRequest) -> udf_pb2.Response:
        return udf_pb2.Response(restore=udf_pb2.RestoreResponse(success=True))

    def point(self, point: udf_pb2.Point) -> None:
        self._agent.write_response(udf_pb2.Response(point=point))


if __name__ == "__main__":
    agent = Agent()
    agent.handler = Mirror(agent)
    agent.start()
    agent.wait()
    sys.exit(0)
