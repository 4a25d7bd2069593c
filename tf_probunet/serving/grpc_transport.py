"""Steps over gRPC, blocking and for asyncio."""

import grpc

from tf_probunet.serving import grpc_messages
from tf_probunet.serving.errors import failure


class GrpcTransport:
    """A channel to one server; threads may share it.

    Args:
        address: HOST:PORT.
        tls: `tf_probunet.serving.connection.Tls`, or None for a connection that is not encrypted.
        max_message_bytes: of requests and replies.
    """

    def __init__(self, address, tls, max_message_bytes):
        self._address = address
        self._channel = _open(grpc, address, tls, max_message_bytes)
        self._methods = grpc_messages.methods(self._channel)

    def perform(self, step, timeout: float):
        """Asks once; a `ServingError` where there is no answer within `timeout` seconds, or a refusal."""
        request = grpc_messages.request(step)
        try:
            reply = self._methods[type(step)](request, timeout=timeout)
        except grpc.RpcError as error:
            raise _failure(error, step, self._address) from error
        return grpc_messages.answer(step, reply)

    def close(self):
        """Ends the connection."""
        self._channel.close()


class AsyncGrpcTransport:
    """The same for asyncio; belongs to the event loop in which it is first used."""

    def __init__(self, address, tls, max_message_bytes):
        self._address, self._tls, self._max_message_bytes = address, tls, max_message_bytes
        self._channel = None

    async def perform(self, step, timeout: float):
        """See `GrpcTransport.perform`."""
        if self._channel is None:
            self._channel = _open(grpc.aio, self._address, self._tls, self._max_message_bytes)
            self._methods = grpc_messages.methods(self._channel)
        request = grpc_messages.request(step)
        try:
            reply = await self._methods[type(step)](request, timeout=timeout)
        except grpc.RpcError as error:
            raise _failure(error, step, self._address) from error
        return grpc_messages.answer(step, reply)

    async def close(self):
        """Ends the connection."""
        if self._channel is not None:
            await self._channel.close()


def _open(library, address, tls, max_message_bytes):
    options = grpc_messages.channel_options(max_message_bytes)
    if tls is None:
        return library.insecure_channel(address, options)
    return library.secure_channel(address, grpc.ssl_channel_credentials(**tls.read()), options)


def _failure(error, step, address):
    return failure(error.code().name, error.details() or "", f"{step.spec} at {address}")
