# The worker's image: the locked dependencies and the package, byte-compiled; nothing to build with.
# For reproducible builds pass the base with its digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# A compiler for the fast pass of the intake. Its version is the base's, and it stays behind in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
# With traces: --build-arg REQUIREMENTS=requirements-otel.lock
ARG REQUIREMENTS=requirements.lock
# What builds the package is pinned like what runs it, and stays behind in this stage.
COPY requirements-build.lock ${REQUIREMENTS} ./
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements-build.lock \
 && python3 -m venv --without-pip /opt/worker \
 && /opt/build/bin/pip --python /opt/worker/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
      --requirement "${REQUIREMENTS}" \
 && /opt/build/bin/pip --python /opt/worker/bin/python check
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY worker ./worker
# Byte code that isn't compared with the time of its source: copying a layer may change times.
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/worker/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl \
 && /opt/worker/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/worker/lib \
 && /opt/worker/bin/python -P -c "import worker.core.intake.compiled_pass"

FROM ${PYTHON_IMAGE}
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="appmetrica-worker" \
      org.opencontainers.image.description="Delivers offline events from Kafka to the AppMetrica Post API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# MALLOC_…: give freed memory back instead of keeping it in arenas, so that a buffer that has drained shows in the
# container's memory. SAFEPATH: never import from the working directory.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=131072
# Owned by root: the worker can't change its own code.
COPY --from=build /opt/worker /opt/worker
# A number: runAsNonRoot can check it. Any other user works as well, without an entry in /etc/passwd.
USER 10001:10001
EXPOSE 9090
STOPSIGNAL SIGTERM
# Exec form: the worker is process 1 and gets signals itself.
ENTRYPOINT ["/opt/worker/bin/appmetrica-worker"]
CMD ["run", "--config", "/etc/appmetrica-worker/config.yaml"]
