"""Why a request is not answered, in the words of gRPC's status codes."""


class Refusal(Exception):
    """A request that gets an error instead of a reply.

    Args:
        code: name of the canonical status code, such as "INVALID_ARGUMENT".
        message: for the caller: what was wrong, what was received, what was expected.
    """

    def __init__(self, code: str, message: str):
        super().__init__(code, message)  # both, or it could not be pickled on its way between processes
        self.code, self.message = code, message

    def __str__(self):
        return self.message
