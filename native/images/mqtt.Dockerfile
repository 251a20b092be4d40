# A stand-in for the official eclipse-mosquitto image at sites without a registry: Debian's Mosquitto, with the
# same user, folders and programs.
ARG PYTHON_BASE_IMAGE
FROM ${PYTHON_BASE_IMAGE}
RUN groupadd --system --gid 1883 mosquitto \
    && useradd --system --uid 1883 --gid mosquitto --home-dir /mosquitto mosquitto \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o mosquitto -g mosquitto /mosquitto/data
VOLUME /mosquitto/data
EXPOSE 1883
CMD ["mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]
