# The pipeline alone: give it a configuration (see docker-compose.yml). Kafka is elsewhere, so there is no Java here.
FROM python:3.13.9-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY deploy/docker/build.lock deploy/docker/run.lock ./
# What runs, and what builds it, is locked by version and hash.
RUN python -m venv --without-pip /opt/build \
 && pip --python /opt/build/bin/python install --require-hashes --requirement build.lock \
 && python -m venv --without-pip /opt/streamfold \
 && pip --python /opt/streamfold/bin/python install --require-hashes --requirement run.lock
COPY pyproject.toml README.md LICENSE ./
COPY operators operators
COPY pipeline pipeline
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /opt/streamfold/bin/python install --no-deps --no-index /dist/*.whl

FROM python:3.13.9-slim-trixie
LABEL org.opencontainers.image.title="streamfold" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 streamfold \
 && useradd --system --no-create-home --uid 10001 --gid 10001 streamfold
COPY --from=build /opt/streamfold /opt/streamfold
COPY examples /examples
# Nothing is written: the root file system may be read-only.
ENV PATH=/opt/streamfold/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
EXPOSE 6066
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:6066/livez', timeout=2)"]
# TERM drains and commits before the worker ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamfold"]
CMD ["--help"]
