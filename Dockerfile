# syntax=docker/dockerfile:1
# The image of every pod of Vigil: Ray's head and workers, and the MLflow servers. Python's minor version must be the same for all
# that speak to one Ray cluster.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/vigil/.venv UV_NO_CACHE=1
RUN pip install --no-cache-dir "uv==0.9.*"
WORKDIR /opt/vigil
COPY pyproject.toml uv.lock ./
# Libraries first: a change of the code does not download them again.
RUN uv sync --frozen --no-default-groups --group runtime --no-install-project
COPY README.md vigil.py ./
COPY train train
COPY serve serve
COPY drift drift
COPY infra infra
RUN uv sync --frozen --no-default-groups --group runtime

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="vigil" \
      org.opencontainers.image.description="Real-time anomaly detection on Ray" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home vigil
COPY --from=build /opt/vigil /opt/vigil
# Workers use this interpreter, not a `uv run` of their own.
ENV PATH=/opt/vigil/.venv/bin:$PATH RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 PYTHONUNBUFFERED=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /opt/vigil
USER 1000:1000
CMD ["vigil", "--help"]
