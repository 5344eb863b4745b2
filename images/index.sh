# Sourced before packages are fetched. Where the package index is, and whom to trust, is the builder's
# own affair: it comes as build secrets, which are in no layer.
if [ -f /run/secrets/index ]; then
  set -a
  . /run/secrets/index
  set +a
fi
if [ -f /run/secrets/ca ]; then
  export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca
fi
