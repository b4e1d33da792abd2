# The worker's image: the locked dependencies and the package, nothing to build with.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
RUN python -m venv /opt/worker
COPY requirements.lock ./
RUN /opt/worker/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock \
 && /opt/worker/bin/pip check
# hatchling builds the wheel here and stays behind in this stage.
COPY pyproject.toml README.md LICENSE ./
COPY worker ./worker
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/worker/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:${PYTHON_VERSION}-slim
# Give freed memory back instead of keeping it in arenas: a buffer that has drained must show in the container's figure.
ENV PATH=/opt/worker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=131072
RUN useradd --system --uid 10001 --no-create-home worker
COPY --from=build /opt/worker /opt/worker
USER 10001
EXPOSE 9090
# Exec form: the worker is process 1 and gets SIGTERM itself.
ENTRYPOINT ["appmetrica-worker"]
CMD ["run", "--config", "/etc/appmetrica-worker/config.yaml"]
