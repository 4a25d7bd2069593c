"""Steps over REST, blocking (urllib3) and for asyncio (aiohttp)."""

import asyncio
import ssl
import time

import urllib3

from tf_probunet.serving import rest_messages
from tf_probunet.serving.connection import parse_address
from tf_probunet.serving.errors import failure

HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
PIECE = 2**20  # bytes that are read at once
CONNECTIONS = 16  # that are kept open for threads that share a client


class RestTransport:
    """Connections to one server; threads may share it. Proxies of the environment are not asked.

    Args:
        address: HOST:PORT.
        tls: `tf_probunet.serving.connection.Tls`, or None for a connection that is not encrypted.
        max_message_bytes: of replies.
    """

    def __init__(self, address, tls, max_message_bytes):
        self._address, self._max_message_bytes = address, max_message_bytes
        host, port = parse_address(address)
        options = {"maxsize": CONNECTIONS, "retries": False, "headers": HEADERS}
        if tls is None:
            self._pool = urllib3.HTTPConnectionPool(host, port, **options)
        else:
            self._pool = urllib3.HTTPSConnectionPool(host, port, ssl_context=tls.context(), **options)

    def perform(self, step, timeout: float):
        """Asks once; a `ServingError` where there is no answer within `timeout` seconds, or a refusal."""
        end = time.monotonic() + timeout
        method, path, body = rest_messages.request(step)
        where = f"{step.spec} at {self._address}"
        late = failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.3g} s", where)
        reply = None
        try:
            reply = self._pool.urlopen(method, path, body, redirect=False, preload_content=False,
                                       timeout=urllib3.Timeout(total=max(end - time.monotonic(), 1e-3)))
            content = bytearray()
            while piece := reply.read1(PIECE):  # what is there: a reply that trickles in must not outlast the deadline
                content += piece
                if len(content) > self._max_message_bytes:
                    raise rest_messages.too_large(step, self._address, self._max_message_bytes)
                if time.monotonic() > end:
                    raise late
            whole, reply = reply, None
            whole.release_conn()
        except urllib3.exceptions.NewConnectionError as error:  # a kind of ConnectTimeoutError to urllib3
            raise failure("UNAVAILABLE", str(error), where) from error
        except urllib3.exceptions.TimeoutError as error:
            raise late from error
        except (urllib3.exceptions.SSLError, ssl.SSLError) as error:
            raise failure("UNAUTHENTICATED", str(error), where) from error
        except (urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise failure("UNAVAILABLE", str(error), where) from error
        finally:
            if reply is not None:
                reply.close()  # half read: of no use to the next request
        return rest_messages.answer(step, whole.status, bytes(content), self._address)

    def close(self):
        """Ends the connections."""
        self._pool.close()


class AsyncRestTransport:
    """The same for asyncio; belongs to the event loop in which it is first used.

    Raises:
        ImportError: aiohttp is not installed.
    """

    def __init__(self, address, tls, max_message_bytes):
        try:
            import aiohttp
        except ImportError as error:
            raise ImportError("AsyncClient over REST needs aiohttp: pip install 'tf_probunet[async-rest]'. Over gRPC "
                              "it needs nothing more.") from error
        self._library = aiohttp
        self._address, self._max_message_bytes = address, max_message_bytes
        self._base = f"{'http' if tls is None else 'https'}://{address}"
        self._context = True if tls is None else tls.context()
        self._session = None

    async def perform(self, step, timeout: float):
        """See `RestTransport.perform`."""
        if self._session is None:
            self._session = self._library.ClientSession(headers=HEADERS)
        where = f"{step.spec} at {self._address}"
        end = time.monotonic() + timeout
        # Numbers become text and back apart from the loop, which has others to serve.
        method, path, body = await asyncio.to_thread(rest_messages.request, step)
        limit = self._library.ClientTimeout(total=max(end - time.monotonic(), 1e-3))  # 0 would mean no limit
        try:
            async with self._session.request(method, self._base + path, data=body, ssl=self._context, timeout=limit,
                                             allow_redirects=False) as reply:
                content = bytearray()
                async for piece in reply.content.iter_chunked(PIECE):
                    content += piece
                    if len(content) > self._max_message_bytes:
                        raise rest_messages.too_large(step, self._address, self._max_message_bytes)
        except TimeoutError as error:
            raise failure("DEADLINE_EXCEEDED", f"no answer within {timeout:.3g} s", where) from error
        except self._library.ClientSSLError as error:
            raise failure("UNAUTHENTICATED", str(error), where) from error
        except self._library.ClientError as error:
            raise failure("UNAVAILABLE", str(error), where) from error
        return await asyncio.to_thread(rest_messages.answer, step, reply.status, bytes(content), self._address)

    async def close(self):
        """Ends the connections."""
        if self._session is not None:
            await self._session.close()
