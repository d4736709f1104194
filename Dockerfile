# The pipeline alone: give it a configuration (see docker-compose.yml). Kafka is elsewhere, so there is no Java here.
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY operators operators
COPY pipeline pipeline
# The lock's versions as constraints: it also pins what only development needs.
RUN python -m venv /opt/streamfold \
 && grep -v '^ *\(--hash\|#\)' requirements.lock | sed 's/ *\\$//' > /tmp/constraints.txt \
 && /opt/streamfold/bin/pip install --no-cache-dir --constraint /tmp/constraints.txt .

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 streamfold
COPY --from=build /opt/streamfold /opt/streamfold
COPY examples /examples
ENV PATH=/opt/streamfold/bin:$PATH PYTHONUNBUFFERED=1
USER streamfold
EXPOSE 6066
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:6066/livez', timeout=2)"]
# TERM drains and commits before the worker ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamfold"]
CMD ["--help"]
