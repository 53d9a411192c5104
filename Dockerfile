# Two images: `service` (gateway, dispatcher, launcher, ingest; no torch) and `worker` (scoring, training), see `make images`.
# BASE is a Debian with Python 3.11 or newer, venv and certificates. The secret `index` may name a package index and its
# certificates: lines such as UV_DEFAULT_INDEX=https://...; it leaves no trace in an image.
ARG BASE=docker.io/library/python:3.12.8-slim-bookworm

FROM ${BASE} AS packages
WORKDIR /src
ENV PATH=/opt/uv/bin:$PATH UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
COPY requirements/uv.txt requirements/
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; \
    python3 -m venv /opt/uv && pip install --no-cache-dir --require-hashes --requirement requirements/uv.txt \
    && uv venv --python python3 /opt/shelver
ENV VIRTUAL_ENV=/opt/shelver
COPY requirements/services.txt requirements/
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; \
    uv pip sync --require-hashes requirements/services.txt

FROM packages AS worker-packages
COPY requirements/workers.txt requirements/
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; \
    uv pip sync --require-hashes requirements/workers.txt

FROM packages AS wheel
COPY requirements/dev.txt requirements/
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
COPY workers workers
RUN --mount=type=secret,id=index \
    set -a; if [ -f /run/secrets/index ]; then . /run/secrets/index; fi; \
    uv build --wheel --require-hashes --build-constraints requirements/dev.txt --out-dir /dist

FROM packages AS service-installed
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps --offline /dist/*.whl

FROM worker-packages AS worker-installed
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps --offline /dist/*.whl

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="Shelver" \
      org.opencontainers.image.description="Sorts product photographs into a shop's category tree" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/shelver/shelver"
RUN groupadd --gid 10001 shelver && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/shelver shelver
ENV PATH=/opt/shelver/bin:$PATH HOME=/home/shelver SHELVER_HOME=/home/shelver PYTHONUNBUFFERED=1
WORKDIR /home/shelver
ENTRYPOINT ["shelver"]

FROM runtime AS service
COPY --from=service-installed /opt/shelver /opt/shelver
USER 10001:10001

FROM runtime AS worker
# what torch.compile makes kernels with; their caches lie in /tmp and in the home
RUN apt-get update \
    && headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))') \
    && apt-get install --yes --no-install-recommends g++ $(test -f "$headers/Python.h" || echo python3-dev) \
    && rm -rf /var/lib/apt/lists/*
COPY --from=worker-installed /opt/shelver /opt/shelver
USER 10001:10001
