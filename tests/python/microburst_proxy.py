"""microburst, with the Content-Length of the server's replies, and with replies that are lost whole.

microburst 0.10 takes the length away, as if it belonged to a single hop; S3 clients such as object_store and boto3 rely on it.
And `response: {abort_bytes: 0}` still sends the status and the headers, from which a client of PutObject knows all that it needs:
here nothing is sent. Run by the Python of microburst's own environment, with microburst's own arguments.
"""

import sys

from aiohttp import web
from microburst import cli, forward

LENGTH = "content-length"
outbound = forward.Upstream._outbound_headers


def without_length(self, request):
    """What goes to the server: the length is set by the client that sends it on."""
    return {name: value for name, value in outbound(self, request).items() if name.lower() != LENGTH}


forward.Upstream._outbound_headers = without_length
forward.HOP_BY_HOP = forward.HOP_BY_HOP - {LENGTH}

stream_to_client = forward._stream_to_client


async def unless_lost(request, status, headers, mutator, chunks):
    if mutator is None or mutator.abort_bytes != 0:
        return await stream_to_client(request, status, headers, mutator, chunks)
    # The server has done what it was asked.
    async for _ in chunks:
        pass
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=status)


forward._stream_to_client = unless_lost

if __name__ == "__main__":
    sys.exit(cli.main())
