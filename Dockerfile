# Two targets from one set of libraries: `ray`, the default, for Ray's heads and workers and for
# `vigil` in a container, and `mlflow`. Built by BuildKit (Docker 20.10 on), buildah or podman.
#
# BASE: a Debian image whose user is root, with CPython first on its PATH; Python's minor version
# must be the same for all that speak to one Ray cluster. Not one of rayproject/ray: it brings a
# Ray of its own, which would lie unused beside the locked one.
#
# Behind a mirror: --build-arg INDEX_URL=https://HOST/simple, its login by --secret
# id=netrc,src=FILE and its certificates by --secret id=certificates,src=FILE (PEM). No layer keeps
# them. Libraries are fetched by name and hash: the addresses in uv.lock are never asked.
ARG BASE=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

FROM ${BASE} AS tools
# pip and uv take an empty index for none, and then ask their own configuration, or PyPI.
ARG INDEX_URL=""
ENV PIP_INDEX_URL=${INDEX_URL} UV_DEFAULT_INDEX=${INDEX_URL} \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH UV_LINK_MODE=copy UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY infra/image-tools.txt ./
RUN --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    pip install --no-cache-dir --require-hashes --requirement image-tools.txt

FROM tools AS requirements
COPY pyproject.toml uv.lock ./
# Not asked for by anything that runs here: makers of environments for Ray's runtime_env, what
# Google's cloud is asked with, and a second HTTP server for MLflow.
RUN uv export --quiet --frozen --no-default-groups --group image --no-emit-project \
      --no-emit-package virtualenv --no-emit-package distlib --no-emit-package python-discovery \
      --no-emit-package google-api-core --no-emit-package google-auth \
      --no-emit-package proto-plus --no-emit-package pyasn1 --no-emit-package pyasn1-modules \
      --no-emit-package gunicorn \
      --no-header --no-annotate --output-file requirements.txt

# Cached by what it installs: neither code nor a line of pyproject.toml makes this layer anew.
# What never runs here is taken out before there is bytecode of it: infra/trim_libraries.py says what.
FROM tools AS libraries
COPY --from=requirements /build/requirements.txt ./
COPY infra/trim_libraries.py ./
RUN --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    uv venv --quiet /opt/vigil && \
    uv pip sync --python /opt/vigil/bin/python --require-hashes --only-binary :all: \
      requirements.txt && \
    python trim_libraries.py /opt/vigil && \
    /opt/vigil/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/vigil/lib

FROM libraries AS code
COPY pyproject.toml README.md LICENSE ./
COPY vigil vigil
COPY train train
COPY serve serve
COPY drift drift
COPY infra infra
RUN uv build --quiet --offline --no-build-isolation --wheel --out-dir dist && \
    uv pip install --python /opt/vigil/bin/python --prefix /code --offline --no-deps \
      --compile-bytecode dist/*.whl

FROM ${BASE} AS runtime
# The number counts; a name for it is not needed where the base has one already.
RUN if ! getent passwd 1000; then \
      useradd --uid 1000 --user-group --home-dir /tmp --no-create-home vigil; \
    fi && \
    install --directory --owner=1000 --group=1000 /var/lib/vigil && \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/(site-packages|tests?|idlelib|turtledemo)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=libraries /opt/vigil /opt/vigil
COPY --from=code /code /opt/vigil
# VIGIL_HOME is where a volume belongs; /tmp must be writable too. Ray's workers use this
# interpreter, not a `uv run` of their own.
ENV PATH=/opt/vigil/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba \
    VIGIL_HOME=/var/lib/vigil RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
WORKDIR /var/lib/vigil
USER 1000:1000
# As process 1 it reaps orphans and hands signals on. Kubernetes' `command` takes its place.
ENTRYPOINT ["dumb-init", "--single-child", "--"]
# Last, for it is new with every commit: it makes no layer.
ARG REVISION=""
ENV VIGIL_TRAIN_REVISION=${REVISION}
LABEL org.opencontainers.image.title="vigil" \
      org.opencontainers.image.description="Real-time anomaly detection on Ray" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS mlflow
# Nothing uses MLflow's job runner, and it takes more memory than the rest.
ENV MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
EXPOSE 5000
HEALTHCHECK --start-period=60s --timeout=10s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--workers", "2", \
     "--backend-store-uri", "sqlite:////var/lib/vigil/mlflow.db", \
     "--artifacts-destination", "/var/lib/vigil/artifacts"]

FROM runtime AS ray
# Reached from outside the container, it asks for a key: `vigil keys`.
ENV VIGIL_SERVE_HOST=0.0.0.0
EXPOSE 8000
# Of `vigil up` the service is asked, of `ray start` its raylet; Kubernetes has probes of its own.
HEALTHCHECK --start-period=180s --timeout=10s CMD ["python", "-m", "serve.local.healthcheck"]
CMD ["vigil", "--help"]
