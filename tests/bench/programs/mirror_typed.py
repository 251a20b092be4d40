"""Sends every point back as it came, as a typed UDF."""

from kapacitor.udf.typed import Point, StreamUDF


class Mirror(StreamUDF):
    """Adds nothing."""

    def point(self, point: Point, state: None) -> dict[str, float]:
        return {}


if __name__ == "__main__":
    Mirror.main()
