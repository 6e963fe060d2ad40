# Builds the wheel in one stage and installs it into a clean one that runs as an ordinary user.
#   docker build -t link-assistant/router .
#   docker run -d -p 127.0.0.1:8080:8080 -v "$HOME/.claude:/data/claude:ro" -v router-data:/data/router link-assistant/router
#   docker exec CONTAINER link-assistant-router tokens issue --label alice

ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/router && /opt/router/bin/pip install --no-cache-dir ".[uvloop]"

FROM python:${PYTHON_VERSION}-slim
ARG ROUTER_UID=1000
RUN useradd --uid ${ROUTER_UID} --no-create-home --home-dir /data --shell /usr/sbin/nologin router \
    && install --directory --owner router --group router --mode 0700 /data /data/claude /data/router
COPY --from=build /opt/router /opt/router

# A mounted credential folder is read with the permissions of this user; build with ROUTER_UID to match its owner.
USER router
WORKDIR /data
ENV PATH=/opt/router/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    ROUTER_HOST=0.0.0.0 \
    ROUTER_PORT=8080 \
    CLAUDE_CODE_HOME=/data/claude \
    DATA_DIR=/data/router

# Issued tokens stay valid only as long as the signing secret, which lives here when TOKEN_SECRET is not set.
VOLUME /data/router
EXPOSE 8080
# SIGTERM drains: streams under way are finished before the process ends.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['ROUTER_PORT']}/health\", timeout=2)"]
ENTRYPOINT ["link-assistant-router"]
