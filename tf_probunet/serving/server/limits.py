"""What one request and all together may ask of a server."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds beyond which a request is refused before it costs memory.

    Args:
        message_bytes: of one request or reply. Features of 16 images of 512x512 with 32 channels are 512 MiB.
        json_bytes: of one JSON body, which takes many times the memory while it is read.
        pixels: B x H x W of one request.
        samples: M of one request; ask again with other noise for more, the trunk's features need not be sent for it.
        sample_pixels: B x M x H x W of one request: what its reply is made of.
        batch_rows: rows that requests which wait together are merged to.
        concurrent_requests: requests that a replica works on, those that wait for a batch included.
        queued_requests: that wait for a replica; what comes then is told RESOURCE_EXHAUSTED and may be sent again.
        seconds: for one request, where its caller set no shorter deadline.
    """

    message_bytes: int = 512 * 2**20
    json_bytes: int = 64 * 2**20
    pixels: int = 4 * 2**20
    samples: int = 1024
    sample_pixels: int = 32 * 2**20
    batch_rows: int = 16
    concurrent_requests: int = 64
    queued_requests: int = 256
    seconds: float = 60.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"The limit {field.name} must be above 0. Received: {value}.")
        if self.message_bytes >= 2**31:
            raise ValueError(f"gRPC carries messages below 2 GiB. Received: message_bytes={self.message_bytes}.")
