"""microburst, with the Content-Length of the server's replies.

microburst 0.10 takes it away, as if it belonged to a single hop; S3 clients such as object_store and boto3 rely on it. Run by the
Python of microburst's own environment, with microburst's own arguments.
"""

import sys

from microburst import cli, forward

LENGTH = "content-length"
outbound = forward.Upstream._outbound_headers


def without_length(self, request):
    """What goes to the server: the length is set by the client that sends it on."""
    return {name: value for name, value in outbound(self, request).items() if name.lower() != LENGTH}


forward.Upstream._outbound_headers = without_length
forward.HOP_BY_HOP = forward.HOP_BY_HOP - {LENGTH}

if __name__ == "__main__":
    sys.exit(cli.main())
