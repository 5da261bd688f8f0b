# syntax=docker/dockerfile:1
# The project in a container, run by a user without rights.
#
#   docker build -t ssml .                                     everything; also for a GPU, by `docker run --gpus all`
#   docker build -t ssml-data --build-arg SETUP=setup-data .   the data stages alone, without torch
#   docker build -t ssml-cuda --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg TOOLS="make python3 python3-venv" .
#
#   docker run --rm -v ssml-data:/project/data -v ssml-manifests:/project/manifests ssml-data make dataset
#
# torch's wheels bring CUDA's libraries, so the default base is enough for a GPU: the host needs its driver and the container
# toolkit. An nvidia/cuda base is for tools that need more of CUDA, such as profilers. Python is 3.11 to 3.13 in any base.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG TOOLS="make"
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${TOOLS} \
    && rm -rf /var/lib/apt/lists/*

ARG USER_ID=1000
RUN useradd --create-home --non-unique --uid "${USER_ID}" student && install -d -o "${USER_ID}" /project
USER ${USER_ID}
WORKDIR /project

# The packages first: this layer is kept while only the code changes.
ARG SETUP=setup
COPY --chown=${USER_ID} requirements.txt requirements-data.txt ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir "$(grep '^uv==' requirements-data.txt)" \
    && .venv/bin/uv pip install --no-cache --no-deps --python .venv/bin/python \
        -r "$(if [ "${SETUP}" = setup-data ]; then echo requirements-data.txt; else echo requirements.txt; fi)"

COPY --chown=${USER_ID} . .
# DVC needs no git here; volumes take the owner of the folders that they are mounted on.
RUN make "${SETUP}" \
    && .venv/bin/dvc config --local core.no_scm true \
    && mkdir -p data checkpoints metrics plots reports logs \
    && ./run pipeline --help > /dev/null
ENV PATH=/project/.venv/bin:${PATH}
CMD ["make", "help"]
