# syntax=docker/dockerfile:1
# Two targets from one set of libraries: `ray`, the default, for Ray's heads and workers, and `mlflow`. Python's minor version must
# be the same for all that speak to one Ray cluster. BASE may be another Python image, such as one of rayproject/ray.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/vigil/.venv UV_NO_CACHE=1
RUN pip install --no-cache-dir "uv==0.9.*"
WORKDIR /opt/vigil
COPY pyproject.toml uv.lock ./
# Libraries first: a change of the code does not download them again.
RUN uv sync --frozen --no-default-groups --no-install-project
COPY README.md LICENSE vigil.py ./
COPY train train
COPY serve serve
COPY drift drift
COPY infra infra
RUN uv sync --frozen --no-default-groups

FROM ${BASE} AS runtime
ARG REVISION=""
LABEL org.opencontainers.image.title="vigil" \
      org.opencontainers.image.description="Real-time anomaly detection on Ray" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home vigil
COPY --from=build /opt/vigil /opt/vigil
# Workers use this interpreter, not a `uv run` of their own.
ENV PATH=/opt/vigil/.venv/bin:$PATH RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 PYTHONUNBUFFERED=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba VIGIL_TRAIN_REVISION=${REVISION}
WORKDIR /opt/vigil
USER 1000:1000

FROM runtime AS mlflow
EXPOSE 5000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
CMD ["mlflow", "server", "--host", "0.0.0.0"]

FROM runtime AS ray
# Kubernetes has probes of its own; this one is for a container alone: Ray's agent answers for its raylet.
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=5)"]
CMD ["vigil", "--help"]
