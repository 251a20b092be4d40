# A stand-in for the official influxdb image at sites without a registry: the same user, paths and entry point.
ARG PYTHON_BASE_IMAGE
FROM ${PYTHON_BASE_IMAGE}
COPY influxd influx /usr/bin/
COPY influxdb-entrypoint.sh /entrypoint.sh
RUN groupadd --gid 1500 influxdb \
    && useradd --uid 1500 --gid influxdb --home-dir /var/lib/influxdb influxdb \
    && install -d -o influxdb -g influxdb /var/lib/influxdb
USER influxdb
VOLUME /var/lib/influxdb
EXPOSE 8086
ENTRYPOINT ["/entrypoint.sh"]
CMD ["influxd"]
