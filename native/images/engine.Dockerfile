# The binaries of one engine and nothing else: kapacitor/Dockerfile and telegraf/Dockerfile copy them out,
# as they do from the official image.
FROM scratch
COPY . /usr/bin/
