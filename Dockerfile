# One image for every process of docmill; docker-compose.yml says which container is which.

FROM python:3.13.16-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The installed packages need no pip.
RUN python -m venv --without-pip /opt/docmill
# The dependencies first: they take longest and change least.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        extras = project['optional-dependencies']; \
        print(*project['dependencies'], *extras['flower'], *extras['otel'], sep='\n')" \
        > requirements.txt \
    && pip --python /opt/docmill/bin/python install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY docmill docmill
COPY worker worker
COPY tasks tasks
COPY schema schema
COPY embedded embedded
COPY examples/console examples/console
RUN pip --python /opt/docmill/bin/python install --no-deps . \
    && pip --python /opt/docmill/bin/python check


FROM python:3.13.16-slim-trixie

LABEL org.opencontainers.image.title="docmill" \
      org.opencontainers.image.description="Turns files in Supabase Storage into searchable vectors" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin docmill
COPY --from=build /opt/docmill /opt/docmill
ENV PATH=/opt/docmill/bin:$PATH \
    # The root file system is read-only, so Python cannot write compiled files.
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["docmill"]
CMD ["--help"]
