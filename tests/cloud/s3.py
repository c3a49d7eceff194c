"""A server of S3: moto's, without its dispatch among all services of AWS. Run with a port.

For each request moto's own program lists its folder of services, and logs it; each is a connection.
"""

from __future__ import annotations

import logging
import sys

from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class Handler(MotoRequestHandler):
    """One connection, of many requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_backend_app("s3")
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Handler)
