# Two images: `service` (gateway, dispatcher, launcher, ingest; no torch) and `worker` (scoring, training), see `make images`.
# BASE is a Debian with Python 3.11 or newer, venv and certificates. The secret `index` may name a package index and its
# certificates: lines such as UV_DEFAULT_INDEX=https://...; it leaves no trace in an image.
ARG BASE=docker.io/library/python:3.12.8-slim-bookworm

# The pinned uv, for one step: it stays in no image. Not mounted from a stage, which buildah before 1.29 loses once it is cached.
ARG UV="python3 -m venv /tmp/uv && /tmp/uv/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /opt/requirements/uv.txt"

FROM ${BASE} AS shelver
ARG UV
ENV UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/shelver
WORKDIR /src
COPY requirements/uv.txt requirements/dev.txt /opt/requirements/
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY workers workers
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; PATH=/tmp/uv/bin:$PATH; eval "$UV" \
    && uv build --wheel --require-hashes --build-constraints /opt/requirements/dev.txt --out-dir /dist \
    && uv venv --python python3 /opt/shelver && uv pip install --no-deps --offline /dist/*.whl

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="Shelver" \
      org.opencontainers.image.description="Sorts product photographs into a shop's category tree" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/shelver/shelver"
RUN groupadd --gid 10001 shelver && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/shelver shelver
ENV PATH=/opt/shelver/bin:$PATH HOME=/home/shelver SHELVER_HOME=/home/shelver PYTHONUNBUFFERED=1
WORKDIR /home/shelver
ENTRYPOINT ["shelver"]

# dependencies are a layer of their own, made where they stay: it is large, and the next Shelver does not change it
FROM runtime AS service
ARG UV
COPY requirements/uv.txt requirements/services.txt /opt/requirements/
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; PATH=/tmp/uv/bin:$PATH; eval "$UV" \
    && export UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/shelver \
    && uv venv --python python3 /opt/shelver && uv pip sync --require-hashes /opt/requirements/services.txt && rm -r /tmp/uv
COPY --from=shelver /opt/shelver /opt/shelver
USER 10001:10001

FROM runtime AS worker
ARG UV
# what torch.compile makes kernels with; their caches lie in /tmp and in the home
RUN apt-get update \
    && headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))') \
    && apt-get install --yes --no-install-recommends g++ $(test -f "$headers/Python.h" || echo python3-dev) \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/uv.txt requirements/workers.txt /opt/requirements/
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; PATH=/tmp/uv/bin:$PATH; eval "$UV" \
    && export UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/shelver \
    && uv venv --python python3 /opt/shelver && uv pip sync --require-hashes /opt/requirements/workers.txt && rm -r /tmp/uv
COPY --from=shelver /opt/shelver /opt/shelver
USER 10001:10001
