# An image with dkvb in it, for the nodes of a cluster (docs/cluster.md). In a checkout:
#
#     docker build -t registry.example.com/dkvb:0.1.0-ray2.60.0 .
#     docker build --build-arg KIND=cpu -t registry.example.com/dkvb:0.1.0-ray2.60.0-cpu .
#
# The version of Ray is in the tag, so that `dkvb cluster check` can compare it.
# KIND is gpu (with CUDA) or cpu. A build is given no git folder to read a version from: VERSION is that of the code.
ARG RAY=2.60.0
ARG KIND=gpu
FROM rayproject/ray:${RAY}-py312-${KIND}

# What dkvb needs comes first: a changed line of its code installs none of it again.
COPY --chown=ray cluster/files/templates/requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --requirement /tmp/requirements.txt

COPY --chown=ray . /home/ray/dkvb
ARG VERSION=0.1.0
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_DKVB_UNLEARNING=${VERSION} \
    pip install --no-cache-dir "/home/ray/dkvb[cluster,s3,gcs,sign]"
